"""Score a trained classifier on labelled images that it has not seen. No torch."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from eyebright.atomic import write_json
from eyebright.bundle import BundleRecord, read_bundle
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.data.sources.hierarchy import FOLDERS, with_superclasses
from eyebright.data.superclasses import superclasses_of
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.progress import Progress, Silent

BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a classifier did on some images.

    Attributes:
        metrics: with 95 % intervals.
        predictions: one row for each scored image.
        seen: images left out because the classifier was trained or calibrated on them, by split.
        test_images: scored images that belong to the run's own test split, and so have been scored before.
        ledger: images that could not be used: source, status, reason.
        folder: where predictions and metrics were written; None for a bundle without a run.
    """

    metrics: Metrics
    predictions: Predictions
    seen: dict[str, int]
    test_images: int
    ledger: list[dict[str, str]]
    folder: Path | None


def evaluate_on(
    path: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    include_seen: bool = False,
    allow_bad: float = 0.01,
    superclass: str | None = None,
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
        progress: whom to tell.

    Raises:
        DataError: no image is left, or a label is not a class of the classifier.
    """
    progress = progress or Silent()
    bundle = read_bundle(path)
    classifier = Classifier(bundle)
    source = _open(data, superclass, bundle.record)
    manifest = Manifest.scan(source, progress=progress)
    manifest.check(allow_bad, for_training=False)
    manifest.check_labels()
    known = _known_splits(bundle.path.parent / "manifest.parquet", progress)
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "source", "label", "split")}
    seen: dict[str, int] = {}
    done: set[str] = set()
    for image, name, label, given in zip(
        *(manifest.ok[column].to_pylist() for column in ("id", "source", "label", "split")), strict=True
    ):
        if (split is not None and given != split) or image in done:
            continue
        done.add(image)
        if known.get(image) in ("train", "val") and not include_seen:
            seen[known[image]] = seen.get(known[image], 0) + 1
            continue
        for column, value in zip(columns, (image, name, label, "test"), strict=True):
            columns[column].append(value)
    _check_labels(columns["label"], classifier.classes)
    _check_superclasses(manifest, bundle.record.superclasses)
    if not columns["id"] and not seen:
        given = sorted({name for name in manifest.ok["split"].to_pylist() if name is not None})
        raise DataError(
            f"no image of {data} is left to score: none is in the split {split!r}",
            expected=f"labelled images in that split; the data has {', '.join(given) or 'no splits'}",
            remedy="leave --split out, or name a split that the data has",
        )
    if not columns["id"]:
        raise DataError(
            f"no image of {data} is left to score: {sum(seen.values())} were trained or calibrated on",
            expected="labelled images that the classifier has not seen",
            remedy="give other images, or pass --include-seen if you know what that number means",
        )
    logits, failures, kept = [], [], []
    with progress.task("scoring", len(columns["id"])) as task:
        for first in range(0, len(columns["id"]), BATCH):
            pixels = []
            for row in range(first, min(first + BATCH, len(columns["id"]))):
                try:
                    pixels.append(bundle.record.preprocess.pixels(source.read(columns["source"][row])))
                    kept.append(row)
                except UndecodableImage as error:
                    failures.append({"source": columns["source"][row], "status": error.status, "reason": error.problem})
                task.advance()
            if pixels:
                logits.append(classifier.run_pixels(np.stack(pixels))[1])
    ledger = [entry for entry in manifest.ledger() if entry["status"] != "stray"] + failures
    if len(failures) > allow_bad * len(columns["id"]) or not logits:
        raise DataError(
            f"{len(failures)} of {len(columns['id'])} images could not be decoded, "
            f"such as {failures[0]['source']}: {failures[0]['reason']}",
            remedy="repair or remove them, or pass --allow-bad 5%",
        )
    chosen = {name: [values[row] for row in kept] for name, values in columns.items()}
    predictions = make_predictions(
        chosen["id"], chosen["source"], chosen["label"], chosen["split"],
        np.concatenate(logits), bundle.record.temperature, classifier.classes, bundle.record.superclasses,
    )  # fmt: skip
    metrics = evaluate(predictions)
    test_images = sum(known.get(image) == "test" for image in chosen["id"])
    folder = None
    if known:
        stem = re.sub(r"[^\w.-]+", "-", Path(str(data)).name).strip("-.") or "data"
        folder = bundle.path.parent / "evaluations" / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        predictions.write(folder / "predictions.parquet")
        facts = {"data": str(data), "seen_left_out": seen, "own_test_images": test_images, "ledger": ledger}
        write_json(folder / "metrics.json", {"metrics": metrics.as_dict(), **facts})
    return Evaluation(
        metrics=metrics, predictions=predictions, seen=seen, test_images=test_images, ledger=ledger, folder=folder
    )


def _open(data: str | Path, rule: str | None, record: BundleRecord) -> Source:
    """The images, with labels at the level of the classifier's classes."""
    source = open_source(data)
    if rule is None and record.superclasses:
        labels = {item.label for item in source.items() if item.label is not None}
        if not labels <= set(record.classes) and labels <= set(record.superclasses.values()):
            rule = FOLDERS
    return with_superclasses(source, rule)


def _known_splits(path: Path, progress: Progress) -> dict[str, str]:
    """Split of every image of the run by content id; empty for a bundle that left its run."""
    if not path.is_file():
        progress.warn("this bundle has no run beside it: images that it was trained on cannot be recognised")
        return {}
    ok = Manifest.read(path).ok
    # An image that leaked into several splits counts as trained on.
    order = {"test": 0, "val": 1, "train": 2}
    pairs = sorted(zip(ok["id"].to_pylist(), ok["split"].to_pylist(), strict=True), key=lambda pair: order[pair[1]])
    return dict(pairs)


def _check_superclasses(manifest: Manifest, known: dict[str, str]) -> None:
    if not known:
        return
    for name, above in superclasses_of(manifest).items():
        if known.get(name, above) != above:
            raise DataError(
                f"the class {name!r} is below {above!r} in these images and below {known[name]!r} in the classifier",
                expected="the same superclasses as in training",
                remedy="move or rename the folder, or correct the column or file that says the superclass",
            )


def _check_labels(labels: list[str], classes: tuple[str, ...]) -> None:
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise DataError(
            f"labels that are not classes of this classifier: {', '.join(map(repr, unknown[:5]))}"
            + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""),
            expected=f"labels among {', '.join(map(repr, classes[:20]))}{' ...' if len(classes) > 20 else ''}",
            remedy="rename the class folders or labels, or leave these images out",
        )
