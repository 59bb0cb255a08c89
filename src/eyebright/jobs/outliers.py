"""Show a classifier images of something else: does it notice? No torch."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from eyebright.atomic import write_json
from eyebright.bundle import RECORD_FILE, read_bundle
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.decisions import Outliers
from eyebright.errors import DataError, UsageError
from eyebright.evaluation.features import FEATURES_FILE, Features
from eyebright.evaluation.intervals import Floats
from eyebright.evaluation.outliers import measure_detection
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.predict import predict
from eyebright.progress import Progress, Silent
from eyebright.run import Run, open_run

OUTLIERS_FILE = "outliers.json"


def measure_outliers(path: str | Path, data: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """How well each outlier score tells images of something else from the run's own test images.

    Images that the run itself used, by content, are left out: they are no outliers. Repeated images count once.

    Args:
        path: a run, or its bundle; the test images come from `predictions.parquet` and `features.npz` of the run.
        data: images of something else: a folder, table, archive or named set; labels are not looked at.
        progress: whom to tell.

    Returns:
        plain values: `data`; `images` and `own_images`; `used` and `promised`, the score that flags and its rate of
        false alarms; `scores`, what `evaluation.outliers.measure_detection` gives for each; `own_left_out`; `ledger`,
        images that could not be used, as source, status and reason; `folder`, below the run, that holds the same as
        JSON.

    Raises:
        BundleError: there is no run, it did not finish, or it is of a former version.
        UsageError: its bundle has no outlier score.
        DataError: no image is left.
    """
    progress = progress or Silent()
    bundle = read_bundle(path)
    outliers = bundle.record.decisions.outliers
    if outliers is None:
        raise UsageError(
            f"the bundle {bundle.path} has no outlier score",
            expected="a bundle that was made by this version of Eyebright",
            remedy="train again",
        )
    run = open_run(Path(path).parent if (Path(path) / RECORD_FILE).is_file() else path)
    own = _scores_of_test_images(run, outliers, progress)
    used_by_run = set(Manifest.read(run.file("manifest.parquet")).ok["id"].to_pylist())
    rows: list[dict[str, float]] = []
    ledger: list[dict[str, str]] = []
    seen: set[str | None] = set()
    left_out = 0
    for answer in predict(Classifier(bundle), [data], progress=progress):
        if answer.prediction is None:
            ledger.append({"source": answer.source, "status": answer.status, "reason": answer.reason})
        elif answer.id in used_by_run:
            left_out += 1
        elif answer.id not in seen:
            seen.add(answer.id)
            rows.append(answer.prediction.outlier_scores)
    if not rows:
        raise DataError(
            f"no image of {data} is left to score: {left_out} belong to the run itself, {len(ledger)} are unusable",
            expected="images of something else than the classifier learnt",
        )
    if left_out:
        progress.warn(f"{left_out} images belong to the run itself and were left out: they are no outliers")
    others = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    stem = re.sub(r"[^\w.-]+", "-", Path(str(data)).name).strip("-.") or "data"
    folder = run.file("evaluations") / f"outliers-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    found: dict[str, Any] = {
        "data": str(data),
        "images": len(rows),
        "own_images": len(next(iter(own.values()))),
        "used": outliers.used,
        "promised": outliers.false_alarms,
        "scores": measure_detection(outliers, own, others),
        "own_left_out": left_out,
        "ledger": ledger,
    }
    write_json(folder / OUTLIERS_FILE, found)
    return {**found, "folder": str(folder)}


def _scores_of_test_images(run: Run, outliers: Outliers, progress: Progress) -> dict[str, Floats]:
    """Scores by name of the run's test images, in the order of its predictions."""
    test = Predictions.read(run.file("predictions.parquet")).select("test")
    if not len(test):
        raise DataError(
            f"the run {run.path} has no test images to compare with",
            expected="a run with a test split",
            remedy="train again with a test split",
        )
    found = outliers.scores(test.logits())
    if outliers.distance is None:
        return found
    if not run.file(FEATURES_FILE).exists():
        progress.warn(f"the run has no {FEATURES_FILE}: only the energy can be compared")
        return found
    features = Features.read(run.file(FEATURES_FILE)).select("test")
    row_of = {str(image): row for row, image in enumerate(features.ids)}
    missing = [image for image in test.column("id") if image not in row_of]
    if missing:
        raise DataError(
            f"{FEATURES_FILE} lacks {len(missing)} of the {len(test)} test images, such as {missing[0]}",
            expected="the features that belong to the predictions of the run",
            remedy="copy the run again from where it was made, or train again",
        )
    rows = [row_of[str(image)] for image in test.column("id")]
    return outliers.scores(test.logits(), features.values[rows])
