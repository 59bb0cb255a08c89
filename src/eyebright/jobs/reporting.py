"""The report of a run, made from what lies in the run's folder and from the images that are still at their place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eyebright.config import build_config, read_yaml
from eyebright.data.audit.findings import Audit
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.data.sources.address import without_secrets
from eyebright.decode import decode_image
from eyebright.errors import DataError, MissingDependencyError
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.predictions import Predictions
from eyebright.report import DataFacts, ReportContent, write_report
from eyebright.report.audit_page import audit_section
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section
from eyebright.run import Run

SAMPLES_PER_CLASS = 8


def make_report(run: Run, *, source: Source | None = None) -> Path:
    """Write `report.html` and the figures of a run that has predictions; also for one that was copied here.

    Images that are no longer at their place are left blank.

    Raises:
        BundleError: the run has no metrics yet.
    """
    manifest = Manifest.read(run.file("manifest.parquet"))
    if source is None:
        source = _source_of(manifest)
    metrics, facts = run.metrics, run.environment
    summary = facts.get("outcome", {})
    config = build_config(read_yaml(run.file("config.yaml")))
    plan = json.loads(run.file("plan.json").read_text(encoding="utf-8"))
    content = ReportContent(
        run_name=run.name,
        data=without_secrets(config.source),
        classes=manifest.classes,
        predictions=Predictions.read(run.file("predictions.parquet")),
        thumbnails=_thumbnails(manifest, source),
        test=Metrics.from_dict(metrics["test"]),
        validation=Metrics.from_dict(metrics["val"]),
        created=facts["created"],
        summary=summary.get("reasons", ()),
        notes=summary.get("warnings", ()),
        plan=plan["reasons"],
        class_counts=manifest.counts(),
        facts=_facts(manifest),
        samples=_samples(manifest),
        history=run.history(),
        fit=metrics.get("fit", {}),
        timings=summary.get("seconds", {}),
        budget_seconds=config.budget_seconds,
        wall_seconds=summary.get("wall_seconds"),
        preprocess=run.bundle.record.preprocess.describe(),
        ledger=manifest.ledger(),
        slices=metrics.get("slices", {}),
        leaks=metrics.get("leaks", {}),
        config=config.model_dump(mode="json") | {"source": without_secrets(config.source)},
        environment={key: value for key, value in facts.items() if key != "outcome"},
    )
    return write_report(run.path, content, first_look=_first_look(run, manifest, source))


def _first_look(run: Run, manifest: Manifest, source: Source | None) -> Section | None:
    """The section about what was found before training; None for a run that did not look."""
    try:
        values = json.loads(run.file("audit.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return audit_section(Audit.from_dict(values, manifest), Gallery(_thumbnails(manifest, source)))


def _source_of(manifest: Manifest) -> Source | None:
    try:
        return open_source(manifest.spec)
    except (DataError, MissingDependencyError):
        return None  # the images have moved: the numbers are still worth a report


def _thumbnails(manifest: Manifest, source: Source | None) -> Callable[[str], Image.Image]:
    where = dict(zip(manifest.table["id"].to_pylist(), manifest.table["source"].to_pylist(), strict=True))

    def thumbnail(image: str) -> Image.Image:
        if source is None or image not in where:
            raise DataError(f"the image {image} is not here")
        return decode_image(source.read(where[image]), channels=3, at_least=256)

    return thumbnail


def _facts(manifest: Manifest) -> DataFacts:
    ok = manifest.ok

    def percentiles(column: str) -> tuple[int, int, int]:
        low, middle, high = np.percentile(ok[column].to_numpy(), [5, 50, 95])
        return int(low), int(middle), int(high)

    return DataFacts(
        formats=dict(Counter(ok["format"].to_pylist()).most_common()),
        widths=percentiles("width"),
        heights=percentiles("height"),
        total_bytes=int(sum(ok["bytes"].to_pylist())),
    )


def _samples(manifest: Manifest) -> Mapping[str, Sequence[str]]:
    """Ids of a few training images for each class, spread over the class."""
    members: dict[str, list[str]] = {name: [] for name in manifest.classes}
    columns: list[list[Any]] = [manifest.ok[name].to_pylist() for name in ("id", "label", "split")]
    for image, label, split in zip(*columns, strict=True):
        if split == "train":
            members[label].append(image)
    return {
        name: [ids[int(place)] for place in np.linspace(0, len(ids) - 1, min(SAMPLES_PER_CLASS, len(ids)))]
        for name, ids in members.items()
        if ids
    }
