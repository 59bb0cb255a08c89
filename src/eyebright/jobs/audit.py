"""The audit of a set of images: look at all of them, measure, and write down what is wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.atomic import write_json
from eyebright.config import DataConfig
from eyebright.data.audit.class_names import check_class_names
from eyebright.data.audit.coverage import check_coverage
from eyebright.data.audit.drift import check_drift
from eyebright.data.audit.duplicates import check_duplicates
from eyebright.data.audit.evidence import Evidence, gather_evidence
from eyebright.data.audit.files import check_files
from eyebright.data.audit.findings import Audit, Finding, Suggestion, in_reading_order
from eyebright.data.audit.labels import check_labels
from eyebright.data.audit.near_duplicates import Link, components, find_near_duplicates
from eyebright.data.audit.properties import probe_images
from eyebright.data.audit.shortcuts import check_shortcuts
from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.data.sources.base import tolerating_colliding_class_names
from eyebright.decode import decode_image
from eyebright.errors import DataError, MissingDependencyError, UsageError
from eyebright.export.embedder import Embedder
from eyebright.jobs.environment import versions
from eyebright.jobs.prepare import open_images
from eyebright.progress import Progress, Silent
from eyebright.report.audit_page import write_audit_page
from eyebright.training.device import pick_device

# The finer the better, as long as it takes minutes: side of the embedding's input by number of images.
_SIZES = ((10_000, 224), (30_000, 160))
_SIZE_OF_MANY = 128
AUDIT_FILE, PAGE_FILE, MANIFEST_FILE, CORRECTIONS_FILE = (
    "audit.json",
    "audit.html",
    "manifest.parquet",
    "corrections.csv",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditFolder:
    """What an audit left on the disk.

    Attributes:
        path: the folder.
        audit: what was found.
        source: the images.
    """

    path: Path
    audit: Audit
    source: Source

    @property
    def page(self) -> Path:
        """The page for a person."""
        return self.path / PAGE_FILE

    @property
    def corrections(self) -> Path:
        """Where a review keeps its decisions; it is not there before the first one."""
        return self.path / CORRECTIONS_FILE

    def picture(self, place: str) -> Image.Image:
        """The whole image at a place of the manifest (its column `source`); safe to call from many threads.

        Raises:
            UndecodableImage: it is gone, or cannot be decoded any more.
        """
        return decode_image(self.source.read(place), channels=3)


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 2)
        self._last = now


def audit(
    data: str | Path | Source,
    *,
    output: str | Path = "audits",
    name: str | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> AuditFolder:
    """Look at every image of a source and write `audit.html`, `audit.json` and `manifest.parquet`.

    Args:
        data: the images, labelled or not: whatever `eyebright train` takes, or an opened source.
        output: folder that the audit's folder is made in.
        name: name of that folder; made from the data when left out. An audit of the same data replaces the former one,
            except for its `corrections.csv`.
        device: `auto`, `cpu`, `cuda` or `mps`, for the embeddings.
        seed: of everything that is drawn.
        progress: whom to tell; nobody when left out.

    Raises:
        DataError: there is no image at all.
        UsageError: the folder belongs to an audit of other data.
    """
    progress = progress or Silent()
    source = open_audited(data) if isinstance(data, (str, Path)) else data
    folder = _folder(Path(output), name or _name(source.spec), source.spec)
    found = look(source, device=device, seed=seed, progress=progress)
    write_json(folder / AUDIT_FILE, found.as_dict())
    found.manifest.write(folder / MANIFEST_FILE)
    write_audit_page(folder / PAGE_FILE, found, thumbnails=thumbnails(found.manifest, source))
    return AuditFolder(path=folder, audit=found, source=source)


def open_audited(data: str | Path, *, superclass: str | None = None, consent_download: bool = False) -> Source:
    """Open images for an audit: class names that collide are let through, since the audit reports and merges them.

    Raises:
        EyebrightError: there is nothing that could be opened; see `open_images`.
    """
    with tolerating_colliding_class_names():
        return open_images(str(data), superclass=superclass, consent_download=consent_download)


def look(source: Source, *, device: str = "auto", seed: int = 0, progress: Progress) -> Audit:
    """The audit itself: nothing is written but to the cache."""
    clock, cache = _Clock(), default_cache()
    manifest = Manifest.scan(source, max_pixels=DataConfig().max_pixels, progress=progress)
    clock.lap("read")
    manifest, evidence = _measure(manifest, source, cache, progress)
    clock.lap("measure")
    embedder = Embedder(cache=cache, device=pick_device(device), size=_size(len(set(evidence.ids))))
    vectors, failures = embedder.embed(evidence.ids, evidence.sources, source, progress=progress)
    if failures:
        image, (status, reason) = next(iter(failures.items()))
        raise DataError(
            f"{len(failures)} images were there a moment ago and cannot be read now, such as "
            f"{evidence.sources[evidence.ids.index(image)]}: {status} ({reason})",
            expected="images that stay as they are during an audit",
            remedy="run the audit again when nothing changes them; what was computed is kept",
        )
    evidence = dataclasses.replace(evidence, embeddings=vectors)
    clock.lap("embed")
    links = find_near_duplicates(evidence, source, progress=progress)
    groups = _groups(evidence, links)
    clock.lap("compare")
    findings, suggestions = check_duplicates(evidence, links)
    findings += check_files(evidence)
    not_checked: list[str] = []
    if len(manifest.classes) > 1:
        findings += _check_classes(evidence, groups, seed, suggestions, not_checked)
    else:
        not_checked.append("labels, shortcuts and balance: the images have no labels, or all the same one")
    clock.lap("check labels and shortcuts")
    findings += check_coverage(evidence)
    findings += check_drift(evidence, seed=seed)
    clock.lap("check coverage and drift")
    facts = {
        "network": embedder.network,
        "embedding_size": embedder.size,
        "seconds": clock.seconds,
        "near_duplicate_pairs": len(links),
        "versions": versions(),
    }
    return Audit(
        manifest=manifest,
        findings=in_reading_order(findings),
        suggestions=suggestions,
        not_checked=not_checked,
        facts=facts,
    )


def thumbnails(manifest: Manifest, source: Source) -> Callable[[str], Image.Image]:
    """What gives the picture of a content id; it raises DataError for one that is not in the manifest or is gone."""
    where = dict(zip(manifest.table["id"].to_pylist(), manifest.table["source"].to_pylist(), strict=True))

    def picture(image: str) -> Image.Image:
        if image not in where:
            raise DataError(f"the image {image} is not here")
        return decode_image(source.read(where[image]), channels=3, at_least=256)

    return picture


def _measure(manifest: Manifest, source: Source, cache: Path, progress: Progress) -> tuple[Manifest, Evidence]:
    properties, failures = probe_images(manifest, source, progress=progress, cache=cache)
    manifest = manifest.mark(failures)
    evidence = gather_evidence(manifest, properties)
    if not len(evidence):
        manifest.check(allow_bad=1.0, for_training=False)  # raises when there are no images at all
        raise DataError(
            f"none of the {manifest.table.num_rows} files in {manifest.spec} is an image that can be read",
            expected="images in JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF",
        )
    return manifest, evidence


def _size(images: int) -> int:
    return next((size for most, size in _SIZES if images <= most), _SIZE_OF_MANY)


def _groups(evidence: Evidence, links: list[Link]) -> npt.NDArray[np.int64]:
    """Number of the group of every image: near-duplicates, equal bytes and the user's groups, in chains."""
    pairs = [(link.one, link.other) for link in links]
    first: dict[tuple[str, str], int] = {}
    for index, (image, group) in enumerate(zip(evidence.ids, evidence.groups, strict=True)):
        for key in [("id", image), *([("group", group)] if group is not None else [])]:
            if first.setdefault(key, index) != index:
                pairs.append((first[key], index))
    return components(len(evidence), pairs)


def _check_classes(
    evidence: Evidence,
    groups: npt.NDArray[np.int64],
    seed: int,
    suggestions: list[Suggestion],
    not_checked: list[str],
) -> list[Finding]:
    findings: list[Finding] = []
    counts = {name: int((evidence.labels == name).sum()) for name in evidence.manifest.classes}
    named, merges = check_class_names(list(counts), counts)
    findings += named
    suggestions += merges
    try:
        wrong, relabels = check_labels(evidence, groups, seed=seed)
        findings += wrong
        suggestions += relabels
    except MissingDependencyError as error:
        not_checked.append(f"wrong labels: {error.problem}; {error.remedy}")
    findings += check_shortcuts(evidence, groups=groups.astype(object), seed=seed)
    return findings


def _name(spec: str) -> str:
    path = Path(spec)
    stem = path.resolve().name if path.exists() else spec
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "data"


def _folder(output: Path, name: str, spec: str) -> Path:
    folder = output / name
    try:
        other = json.loads((folder / AUDIT_FILE).read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return folder
    if _place(other) != _place(spec):
        raise UsageError(
            f"{folder} holds the audit of {other}",
            expected=f"a folder of its own for the audit of {spec}",
            remedy="choose another name with --name",
        )
    return folder


def _place(spec: str) -> str:
    return str(Path(spec).resolve()) if Path(spec).exists() else spec
