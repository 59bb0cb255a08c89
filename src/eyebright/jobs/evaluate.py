"""How good a classifier is: by what it said of its test images, on new images, or by a table of answers. No torch."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyebright.atomic import write_json
from eyebright.bundle import RECORD_FILE, read_bundle
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.errors import DataError, EyebrightError
from eyebright.evaluation.costs import CostMatrix
from eyebright.evaluation.image_properties import PROPERTIES_FILE
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.evaluation.slices import make_column
from eyebright.jobs.scoring import (
    check_labels,
    check_superclasses,
    images_to_score,
    known_splits,
    logits_of,
    nothing_left,
    open_scored,
)
from eyebright.jobs.slices import chosen_columns, run_slices, slices_by
from eyebright.jobs.tables import read_predictions, user_column
from eyebright.progress import Progress, Silent
from eyebright.run import open_run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a classifier did on some images.

    Attributes:
        metrics: with 95 % intervals.
        predictions: one row for each scored image.
        seen: images left out because the classifier was trained or calibrated on them, by split.
        test_images: scored images that belong to the run's own test split, and so have been scored before.
        stored: nothing was scored: these are answers that were there.
        ledger: images that could not be used: source, status, reason.
        folder: where predictions and metrics were written; None for a bundle without a run, and where nothing new was
            scored.
        slices: accuracy on parts of the images, {column: {part: {images, accuracy, expected}}}; empty unless asked for.
        worst_slices: what the search for bad slices found, as `WorstSlice.as_dict`; None unless asked for.
    """

    metrics: Metrics
    predictions: Predictions
    seen: dict[str, int] = dataclasses.field(default_factory=dict)
    test_images: int = 0
    stored: bool = False
    ledger: list[dict[str, str]] = dataclasses.field(default_factory=list)
    folder: Path | None = None
    slices: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    worst_slices: list[dict[str, Any]] | None = None


def evaluate_on(
    path: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    include_seen: bool = False,
    allow_bad: float = 0.01,
    superclass: str | None = None,
    costs: CostMatrix | None = None,
    by: Sequence[str] = (),
    slices: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score the classifier of a run or bundle on `data`.

    Images whose content was in the run's training or validation split are left out, because a score on them says
    nothing about new images.

    Args:
        path: run or bundle.
        data: labelled images, in any form that `train` takes; labels are matched to classes by name.
        split: score only this split of data that has splits of its own.
        include_seen: score seen images too.
        allow_bad: share of images that may be unusable.
        superclass: where the data says its superclasses (see `data.superclass`); nested folders named like those that
            the classifier learnt from are recognised without it.
        costs: what each mistake costs, for a cost-weighted error.
        by: columns of the data to cut by.
        slices: also cut by image properties and origin, and search for the worst slices.
        progress: whom to tell.

    Raises:
        DataError: no image is left, or a label is not a class of the classifier.
    """
    progress = progress or Silent()
    bundle = read_bundle(path)
    record = bundle.record
    classifier = Classifier(bundle)
    source = open_scored(data, superclass, record)
    manifest = Manifest.scan(source, progress=progress)
    manifest.check(allow_bad, for_training=False)
    manifest.check_labels()
    known = known_splits(bundle.path.parent / "manifest.parquet", progress)
    columns, seen = images_to_score(manifest, known, split, include_seen)
    check_labels(columns["label"], classifier.classes)
    check_superclasses(manifest, record.superclasses)
    if not columns["id"]:
        raise nothing_left(manifest, data, split, seen)
    logits, kept, failures = logits_of(classifier, source, columns["source"], progress)
    ledger = [entry for entry in manifest.ledger() if entry["status"] != "stray"] + failures
    if len(failures) > allow_bad * len(columns["id"]) or not kept:
        raise DataError(
            f"{len(failures)} of {len(columns['id'])} images could not be decoded, "
            f"such as {failures[0]['source']}: {failures[0]['reason']}",
            remedy="repair or remove them, or pass --allow-bad 5%",
        )
    chosen = {name: [values[row] for row in kept] for name, values in columns.items()}
    predictions = make_predictions(
        chosen["id"], chosen["source"], chosen["label"], chosen["split"],
        logits, record.decisions.calibration, classifier.classes, record.superclasses,
    )  # fmt: skip
    result = Evaluation(
        metrics=evaluate(predictions, costs=costs),
        predictions=predictions,
        seen=seen,
        test_images=sum(known.get(image) == "test" for image in chosen["id"]),
        ledger=ledger,
        **_cut(manifest, source, predictions, by=by, slices=slices, progress=progress),
    )
    if not known:
        return result
    stem = re.sub(r"[^\w.-]+", "-", Path(str(data)).name).strip("-.") or "data"
    folder = bundle.path.parent / "evaluations" / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    _write(result, folder, data)
    return dataclasses.replace(result, folder=folder)


def evaluate_stored(
    path: str | Path,
    *,
    split: str | None = None,
    costs: CostMatrix | None = None,
    by: Sequence[str] = (),
    slices: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure what the classifier of a run said of its own test images when it was made; nothing is scored again.

    Args:
        path: a run.
        split: `test` when None, or `val`.
        costs, by, slices, progress: as for `evaluate_on`; columns are those of the data that the run learnt from.

    Raises:
        BundleError: there is no run, or it did not finish.
        DataError: there are no predictions of this split.
    """
    progress = progress or Silent()
    run = open_run(Path(path).parent if (Path(path) / RECORD_FILE).is_file() else path)
    predictions = _of_split(Predictions.read(run.file("predictions.parquet")), split, run.path)
    manifest = Manifest.read(run.file("manifest.parquet"))
    source, keep = None, None
    if slices:
        keep = run.file(PROPERTIES_FILE)
        try:
            source = open_source(manifest.spec)
        except EyebrightError as error:
            if not keep.is_file():
                progress.warn(f"no slices by image property, as the images are gone: {error.problem}")
    cut = _cut(manifest, source, predictions, by=by, slices=slices, keep=keep, progress=progress)
    return Evaluation(
        metrics=evaluate(predictions, costs=costs),
        predictions=predictions,
        stored=True,
        test_images=len(predictions) if (split or "test") == "test" else 0,
        **cut,
    )


def evaluate_table(
    path: str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    labels: str | Path | None = None,
    costs: CostMatrix | None = None,
    by: Sequence[str] = (),
    slices: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure the answers of any model, given as a table.

    Args:
        path: the table; see `jobs.tables`.
        data: the images that it is about, for slices.
        split: of the table; the test split where it has several and this is None.
        classes, labels: see `read_predictions`.
        costs, by, slices, progress: as for `evaluate_on`; columns are those of the table, else those of `data`.

    Raises:
        DataError: the table cannot be used, or `slices` is asked for and `data` holds none of its images.
    """
    progress = progress or Silent()
    predictions = read_predictions(path, classes=classes, labels=labels, progress=progress)
    if split is not None or any(name is not None for name in predictions.column("split")):
        predictions = _of_split(predictions, split, Path(path))
    own = {name: user_column(path, name, predictions) for name in by}
    cut: dict[str, Any] = {"slices": {}}
    if data is not None:
        source = open_source(data)
        manifest = Manifest.scan(source, progress=progress)
        shared = set(manifest.ok["id"].to_pylist()) & set(predictions.column("id"))
        if not shared:
            raise DataError(
                f"none of the {manifest.ok.num_rows} images of {data} is in {path}",
                expected="the images that the table is about: its ids are their content ids",
                remedy="give the table a column `source` with the paths of the images, which are then read for ids",
            )
        if len(shared) < len(predictions):
            progress.warn(f"{len(predictions) - len(shared)} of {len(predictions)} images of the table are not there")
        elsewhere = [name for name in by if own[name] is None]
        cut = _cut(manifest, source, predictions, by=elsewhere, slices=slices, progress=progress)
    for name, values in own.items():
        if values is not None:
            column = make_column(name, values, always=True)
            assert column is not None
            cut["slices"] = slices_by(predictions, [column]) | cut["slices"]
        elif data is None:
            raise DataError(
                f"{path} has no column {name!r}",
                expected="a column of the table, or of its images",
                remedy="check the name, or name the images behind the table: `eyebright evaluate TABLE DATA --by ...`",
            )
    return Evaluation(metrics=evaluate(predictions, costs=costs), predictions=predictions, stored=True, **cut)


def _cut(
    manifest: Manifest,
    source: Source | None,
    predictions: Predictions,
    *,
    by: Sequence[str],
    slices: bool,
    keep: Path | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """`slices` and `worst_slices` of an evaluation; the columns that were asked for come first."""
    found: dict[str, Any] = {"slices": slices_by(predictions, chosen_columns(manifest, predictions, by))}
    if slices:
        more = run_slices(manifest, source, predictions, keep=keep, progress=progress)
        found = {"slices": found["slices"] | more["slices"], "worst_slices": more["worst_slices"]}
    return found


def _of_split(predictions: Predictions, split: str | None, path: Path) -> Predictions:
    chosen = predictions.select(split or "test")
    if not len(chosen):
        there = sorted({name for name in predictions.column("split") if name is not None})
        raise DataError(
            f"{path} has no predictions of the split {split or 'test'!r}",
            expected=f"one of {', '.join(there)}" if there else "a column `split`",
            remedy="name a split that it has with --split",
        )
    return chosen


def _write(result: Evaluation, folder: Path, data: str | Path) -> None:
    result.predictions.write(folder / "predictions.parquet")
    facts: dict[str, Any] = {
        "data": str(data), "seen_left_out": result.seen, "own_test_images": result.test_images,
        "ledger": result.ledger,
    }  # fmt: skip
    if result.slices:
        facts["slices"] = result.slices
    if result.worst_slices is not None:
        facts["worst_slices"] = result.worst_slices
    write_json(folder / "metrics.json", {"metrics": result.metrics.as_dict(), **facts})
