"""The report of a run, made from what lies in the run's folder and from the images that are still at their place."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eyebright.bundle import BundleRecord
from eyebright.config import build_config, read_yaml
from eyebright.data.audit.findings import Audit
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.data.sources.address import without_secrets
from eyebright.errors import EyebrightError
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.pictures import pictures, source_on_disk
from eyebright.report import DataFacts, ReportContent, write_report
from eyebright.report.audit_page import audit_section
from eyebright.report.gallery import Gallery
from eyebright.report.pictures import shown_pictures
from eyebright.run import Run

SAMPLES_PER_CLASS = 8
OVERLAY_SECONDS = 60.0
"""How long the pictures of what the classifier looked at may take, altogether."""
_OVERLAYS_AT_ONCE = 8

Overlays = Callable[[Sequence[str]], Mapping[str, Image.Image]]


def make_report(
    run: Run, *, source: Source | None = None, overlays: bool = True, overlay_seconds: float = OVERLAY_SECONDS
) -> Path:
    """Write `report.html` and the figures of a run that has predictions; also for one that was copied here.

    Images that are no longer at their place are left blank.

    Args:
        source: what reads the images; left out, the place that the manifest names.
        overlays: whether to show what the classifier looked at.
        overlay_seconds: these stop being made after so long; those that are done are shown.

    Raises:
        BundleError: the run has no metrics yet.
    """
    manifest = Manifest.read(run.file("manifest.parquet"))
    if source is None:
        source = source_on_disk(manifest.spec)
    content = _content(run, manifest, source)
    audit = _audit(run, manifest)
    if audit is not None:
        content = dataclasses.replace(content, findings=audit.findings)
    if overlays and source is not None:
        content = _with_overlays(content, run, manifest, source, overlay_seconds)
    first_look = None if audit is None else audit_section(audit, Gallery(content.thumbnails))
    return write_report(run.path, content, first_look=first_look)


def _content(run: Run, manifest: Manifest, source: Source | None) -> ReportContent:
    metrics, facts = run.metrics, run.environment
    summary = facts.get("outcome", {})
    config = build_config(read_yaml(run.file("config.yaml")))
    record = run.bundle.record
    plan = json.loads(run.file("plan.json").read_text(encoding="utf-8"))
    places = dict(zip(manifest.table["id"].to_pylist(), manifest.table["source"].to_pylist(), strict=True))
    peaks = {name: summary[name] for name in ("peak_memory_bytes", "peak_gpu_memory_bytes") if name in summary}
    return ReportContent(
        run_name=run.name,
        run_path=str(run.path),
        data=without_secrets(config.source),
        classes=manifest.classes,
        predictions=Predictions.read(run.file("predictions.parquet")),
        thumbnails=pictures(source, places),
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
        preprocess=record.preprocess.describe(),
        ledger=manifest.ledger(),
        leaks=metrics.get("leaks", {}),
        slices=metrics.get("slices", {}),
        worst_slices=metrics.get("worst_slices", ()),
        decisions=metrics.get("decisions", {}),
        robustness=_optional(run, "robustness.json"),
        embedding=_optional(run, "embedding.json"),
        importance=metrics.get("importance", {}),
        cost=_sizes(run) | metrics.get("cost", {}) | peaks,
        provenance=_provenance(record, plan.get("network", record.architecture), config.seed, facts.get("git")),
        config=config.model_dump(mode="json") | {"source": without_secrets(config.source)},
        environment={key: value for key, value in facts.items() if key != "outcome"},
    )


def _optional(run: Run, name: str) -> dict[str, Any]:
    """What a file of the run says; nothing when the run has none."""
    try:
        values: dict[str, Any] = json.loads(run.file(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return values


def _audit(run: Run, manifest: Manifest) -> Audit | None:
    """What was found before training; None for a run that did not look."""
    values = _optional(run, "audit.json")
    return Audit.from_dict(values, manifest) if values else None


def _sizes(run: Run) -> dict[str, Any]:
    """What the files of the classifier weigh, for a run that did not measure its cost."""
    files = {"weights_bytes": "model.safetensors", "onnx_bytes": "model.onnx"}
    found = {key: run.file("bundle") / name for key, name in files.items()}
    return {key: path.stat().st_size for key, path in found.items() if path.is_file()}


def _provenance(record: BundleRecord, network: str, seed: int, git: Mapping[str, Any] | None) -> dict[str, str]:
    values = {
        "Network": network,
        "Seed": str(seed),
        "Data": record.data_fingerprint,
        "Licence of the weights": record.licence or "not stated",
        "Code": "",
        "Made by": ", ".join(
            f"{name} {record.versions[name]}" for name in ("eyebright", "torch", "timm") if name in record.versions
        ),
        "Made": record.created,
    }
    if git:
        values["Code"] = f"commit {git['commit']}" + (", with changes that are not committed" if git["changed"] else "")
    return {name: value for name, value in values.items() if value}


def _with_overlays(
    content: ReportContent, run: Run, manifest: Manifest, source: Source, most_seconds: float
) -> ReportContent:
    """The content with pictures of what the classifier looked at, as many as the time allows, or a note why not."""
    wanted = shown_pictures(content.scored()).overlaid
    made: dict[str, Image.Image] = {}
    note = ""
    try:
        from eyebright.jobs.explain import explanation_of, overlays_of  # which loads what draws the maps

        stop = time.monotonic() + most_seconds
        explanation = dict(explanation_of(run))
        give: Overlays = overlays_of(run, manifest, source)
        for first in range(0, len(wanted), _OVERLAYS_AT_ONCE):
            if time.monotonic() > stop:
                note = f"There was no time for more than {len(made)} overlays of what the classifier looked at."
                break
            made |= give(wanted[first : first + _OVERLAYS_AT_ONCE])
    except (EyebrightError, RuntimeError, ValueError, NotImplementedError, MemoryError, OSError, ImportError) as error:
        # Any network may be behind a run; a report without these pictures is better than none.
        explanation, note = {}, f"What the classifier looked at could not be shown: {error}"
    return dataclasses.replace(
        content, explanation=explanation | ({"note": note} if note else {}),
        overlays=lambda ids: {id_: made[id_] for id_ in ids if id_ in made},
    )  # fmt: skip


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
