"""The short form of the audit, at the start of every training: what costs seconds and keeps the numbers honest.

Files, duplicates by perceptual hash, class names and balance. Near-duplicates become links, which the splitter keeps
together. There are no embeddings yet: copies that are cut, wrong labels, outliers and drift are for `eyebright audit`.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from eyebright.data.audit.class_names import check_class_names
from eyebright.data.audit.coverage import check_coverage
from eyebright.data.audit.duplicates import check_duplicates
from eyebright.data.audit.evidence import gather_evidence
from eyebright.data.audit.files import check_files
from eyebright.data.audit.findings import Audit, in_reading_order
from eyebright.data.audit.near_duplicates import find_near_duplicates
from eyebright.data.audit.properties import probe_images
from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.progress import Progress

NOT_CHECKED = (
    "copies that are cut, wrong labels, shortcuts, outliers and drift: `eyebright audit` looks for them with embeddings"
)


def first_look(
    manifest: Manifest, source: Source, *, max_pixels: int, progress: Progress
) -> tuple[Manifest, npt.NDArray[np.str_], Audit]:
    """Measure every image and look for near-duplicates.

    Args:
        manifest: as scanned, before it is divided.
        source: what reads the images.
        max_pixels: as in the scan.
        progress: told about the work.

    Returns:
        The manifest with those images marked that do not decode; near-duplicates as pairs of ids (L, 2); the audit.
    """
    began = time.monotonic()
    properties, failures = probe_images(
        manifest, source, progress=progress, cache=default_cache(), max_pixels=max_pixels
    )
    manifest = manifest.mark(failures)
    evidence = gather_evidence(manifest, properties)
    links = find_near_duplicates(evidence, source, progress=progress)
    findings, suggestions = check_duplicates(evidence, links)
    counts = {name: int((evidence.labels == name).sum()) for name in manifest.classes}
    named, merges = check_class_names(list(counts), counts)
    findings += [*check_files(evidence), *named, *check_coverage(evidence)]
    audit = Audit(
        manifest=manifest,
        findings=in_reading_order(findings),
        suggestions=[*suggestions, *merges],
        not_checked=(NOT_CHECKED,),
        facts={"short": True, "seconds": round(time.monotonic() - began, 2), "near_duplicate_pairs": len(links)},
    )
    pairs = [(evidence.ids[link.one], evidence.ids[link.other]) for link in links]
    return manifest, np.array(pairs, dtype=str).reshape(-1, 2), audit
