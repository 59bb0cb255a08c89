"""From what the user named to images that are ready to train on: scan, check, split, pack."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from eyebright.config import TrainConfig
from eyebright.data.audit.findings import Audit
from eyebright.data.batches import PixelSet
from eyebright.data.components import Links
from eyebright.data.manifest import Manifest
from eyebright.data.numbered import Numbered
from eyebright.data.pack import Packed, pack_images
from eyebright.data.sources import Source, open_source
from eyebright.data.sources.address import is_address
from eyebright.data.sources.hierarchy import absolute_rule, with_superclasses
from eyebright.data.sources.pattern import is_pattern
from eyebright.data.sources.shard_names import is_shard_pattern
from eyebright.data.split import assign_splits
from eyebright.data.superclasses import superclasses_of
from eyebright.decode import decode_image
from eyebright.errors import DataError
from eyebright.jobs.first_look import first_look
from eyebright.jobs.streaming import open_store
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress
from eyebright.recipes.base import DataFacts

SPLITS = ("train", "val", "test")
GREY_SAMPLES = 64


def open_images(spec: str, *, superclass: str | None = None, consent_download: bool = False) -> Source:
    """The images that `spec` stands for, with their superclasses where `superclass` says where those come from.

    Raises:
        EyebrightError: there is nothing that could be opened, or the rule is none; see `open_source`.
    """
    rule = absolute_rule(superclass)
    return with_superclasses(open_source(spec, consent_download=consent_download), rule)


def scan(source: Source, config: TrainConfig, progress: Progress) -> tuple[Manifest, Audit | None]:
    """The manifest with its splits, and what the first look at the images found; warns of what a user should know.

    Raises:
        DataError: the images or labels cannot be used for training.
    """
    manifest = Manifest.scan(source, max_pixels=config.data.max_pixels, progress=progress)
    manifest.check(config.data.allow_bad)
    superclasses_of(manifest)  # a contradiction should cost no training
    links: Links = ()
    audit = None
    if config.data.audit == "short":
        manifest, links, audit = first_look(manifest, source, max_pixels=config.data.max_pixels, progress=progress)
        manifest.check(config.data.allow_bad)  # now that every image was decoded
    manifest, notes = assign_splits(manifest, config.data.split, config.seed, links=links)
    for note in notes:
        progress.warn(note)
    if len(links):
        progress.note(f"{len(links)} pairs of near-duplicates; images without a split of their own stay together")
    left_out = len(manifest.ledger())
    if left_out:
        progress.warn(f"{left_out} files are not used; each is listed in the report with the reason")
    check_splits(manifest)
    return manifest, audit


def check_splits(manifest: Manifest) -> None:
    """Refuse to train without images to learn from, to choose on, or to test on.

    Raises:
        DataError: a split is empty, or a class has nothing to learn from.
    """
    counts = manifest.counts()
    for split in SPLITS:
        if not sum(counts.get(split, {}).values()):
            raise DataError(
                f"no image fell into the split {split!r} (of {manifest.ok.num_rows} usable images)",
                expected="images for train, val and test",
                remedy="add images, give other shares with --split, or another --seed",
            )
    without = [name for name in manifest.classes if not counts["train"].get(name)]
    if without:
        raise DataError(
            f"no training image for {', '.join(map(repr, without[:5]))}{' ...' if len(without) > 5 else ''}",
            expected="training images for every class",
            remedy="add images of that class, or try another --seed",
        )


def data_facts(manifest: Manifest, source: Source) -> DataFacts:
    """Counts, the median of the shorter side, and whether a sample of the images is grey."""
    ok = manifest.ok
    counts = manifest.counts()
    sides = [min(pair) for pair in zip(ok["width"].to_pylist(), ok["height"].to_pylist(), strict=True)]
    return DataFacts(
        images={split: sum(counts.get(split, {}).values()) for split in SPLITS},
        names=tuple(manifest.classes),
        side=int(statistics.median(sides)),
        grey=_is_grey(ok["source"].to_pylist(), source),
        superclasses=_superclass_indices(manifest),
    )


def _superclass_indices(manifest: Manifest) -> tuple[int, ...]:
    """Index of the superclass of each class, superclasses in the order of their names; empty without any."""
    above = superclasses_of(manifest)
    index = {name: number for number, name in enumerate(sorted(set(above.values())))}
    return tuple(index[above[name]] for name in manifest.classes) if above else ()


def _is_grey(sources: list[str], source: Source) -> bool:
    step = max(1, len(sources) // GREY_SAMPLES)
    for name in sources[::step][:GREY_SAMPLES]:
        try:
            picture = decode_image(source.read(name), channels=3, at_least=32)
        except DataError:
            continue  # packing will list it with the reason
        pixels = np.asarray(picture, dtype=np.int16)
        if int(np.ptp(pixels, axis=2).max()) > 2:
            return False
    return True


def pack(
    manifest: Manifest, source: Source, preprocess: Preprocess, config: TrainConfig, progress: Progress
) -> tuple[Manifest, Packed]:
    """The images, decoded; the manifest comes back with those marked that could not be.

    Raises:
        BadImagesError: more images than allowed could not be decoded.
    """
    packed = decoded(manifest, source, preprocess, config, progress)
    return without_failures(manifest, packed.failures, config.data.allow_bad, progress), packed


def decoded(
    manifest: Manifest, source: Source, preprocess: Preprocess, config: TrainConfig, progress: Progress
) -> Packed:
    """Every image decoded once; with `data.stream` they are decoded later, and again in every epoch."""
    if config.data.stream is True:
        return open_store(manifest, source, preprocess, config, progress)
    ids = list(dict.fromkeys(manifest.ok["id"].to_pylist()))
    return Numbered(pack_images(manifest, source, preprocess, progress=progress), ids)


def without_failures(
    manifest: Manifest, failures: Mapping[str, tuple[str, str]], allow_bad: float, progress: Progress
) -> Manifest:
    """The manifest with the images marked that could not be decoded.

    Raises:
        BadImagesError: more images than allowed could not be decoded.
        DataError: too few are left of a class or a split.
    """
    if failures:
        manifest = manifest.mark(failures)
        progress.warn(f"{len(failures)} images could not be decoded and are not used; each is listed in the report")
        manifest.check(allow_bad)
        check_splits(manifest)
    return manifest


def pixel_set(manifest: Manifest, packed: Packed, split: str, preprocess: Preprocess, device: torch.device) -> PixelSet:
    """The images of one split with their class indices and weights, in the manifest's order."""
    rows = split_rows(manifest, split)
    return PixelSet(
        packed.store,
        packed.rows(rows["id"].to_pylist()),
        class_indices(manifest, rows),
        preprocess=preprocess,
        device=device,
        weights=np.array(rows["weight"].to_pylist(), dtype=np.float32),
    )


def class_indices(manifest: Manifest, rows) -> npt.NDArray[np.int64]:  # type: ignore[no-untyped-def]  # of pyarrow
    """Index of the class of each of these rows of the manifest: int64 (len(rows),)."""
    index = {name: number for number, name in enumerate(manifest.classes)}
    return np.array([index[label] for label in rows["label"].to_pylist()], dtype=np.int64)


def split_rows(manifest: Manifest, split: str):  # type: ignore[no-untyped-def]  # pyarrow has no types
    """The used rows of one split, in the manifest's order."""
    import pyarrow.compute as pc

    ok = manifest.ok
    return ok.filter(pc.equal(ok["split"], split))


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The configuration with the files that it names as absolute paths; `resolve_source` does the images."""
    data = config.data.model_copy(update={"superclass": absolute_rule(config.data.superclass)})
    teacher = config.distil.teacher
    distil = config.distil.model_copy(update={"teacher": resolve_source(teacher) if teacher else None})
    return config.model_copy(update={"data": data, "distil": distil})


def resolve_source(spec: str) -> str:
    """A path or a pattern as an absolute one, so that a run can be resumed from another folder; a name as it is."""
    if is_address(spec):
        return spec
    path = Path(spec).expanduser()
    if path.exists():
        return str(path.resolve())
    return str(path.absolute()) if is_pattern(spec) or is_shard_pattern(spec) else spec
