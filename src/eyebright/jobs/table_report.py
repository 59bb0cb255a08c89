"""The report page of a table of predictions, made from the table alone. No torch."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pyarrow as pa
from PIL import Image

from eyebright.errors import DataError
from eyebright.evaluation.metrics import evaluate
from eyebright.evaluation.predictions import PREDICTIONS_SCHEMA, Predictions
from eyebright.jobs.tables import read_predictions
from eyebright.progress import Progress
from eyebright.report import ReportContent, write_report


def report_of_table(table: str | Path, *, output: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Write a report page; returns its path.

    Rows of the split `test` are scored, else those of `val`, else rows without a split.

    Args:
        table: CSV, TSV or Parquet (`eyebright.jobs.tables`).
        output: folder of the page; `TABLE-report` beside the table when left out.
        progress: whom to tell.

    Raises:
        DataError: the table cannot be read, or no row has a label.
    """
    path = Path(table)
    read = read_predictions(path, progress=progress)
    predictions, split = _scored(read)
    metrics = evaluate(predictions.select(split))
    folder = path.with_name(f"{path.stem}-report") if output is None else Path(output)
    content = ReportContent(
        run_name=path.stem,
        data=path.name,
        classes=predictions.classes,
        predictions=predictions,
        thumbnails=_no_picture,
        test=metrics if split == "test" else None,
        validation=metrics if split == "val" else None,
        created=time.strftime("%Y-%m-%d %H:%M"),
        notes=[
            "Made from a table of predictions alone: what the classifier was trained on is not known, and whether it "
            "has seen these images before cannot be checked."
        ],
    )
    return write_report(folder, content)


def _scored(table: Predictions) -> tuple[Predictions, str]:
    """The table with a split that a report can show, and that split; rows without one count as test images."""
    splits = table.column("split")
    for split in ("test", "val"):
        if len(table.select(split).labelled()):
            return table, split
    filled = pa.array(["test" if split is None else split for split in splits], pa.string())
    place = table.table.schema.get_field_index("split")
    whole = dataclasses.replace(table, table=table.table.set_column(place, PREDICTIONS_SCHEMA.field("split"), filled))
    if len(whole.select("test").labelled()) == 0:
        known = sorted({split for split in splits if split is not None})
        raise DataError(
            f"none of the {len(table)} rows can be reported on: they have no label, or the split "
            f"{' or '.join(known) or 'is missing'}",
            expected="labelled rows of the split test or val, or without a split",
        )
    return whole, "test"


def _no_picture(image: str) -> Image.Image:
    raise DataError(f"the image {image} is not here")
