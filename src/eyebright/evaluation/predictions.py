"""The predictions table: what the classifier said about every image, one row an image, matched by content id.

Every metric, figure and comparison is computed from this table and from nothing else. Logits are stored as the
network gave them; probabilities are calibrated.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.atomic import replacing_file
from eyebright.data.parquet import read_parquet
from eyebright.decisions.calibration import Calibration
from eyebright.errors import CorruptBundleError, DataError, ForeignBundleError, NewerBundleError, did_you_mean

PREDICTIONS_VERSION = 2
PREDICTIONS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),
        ("logits", pa.list_(pa.float32())),
        ("probabilities", pa.list_(pa.float32())),
        ("predicted", pa.string()),
        ("confidence", pa.float32()),
        (
            "superclass",
            pa.string(),
        ),  # of the label and of the predicted class; null where there is one level of classes
        ("predicted_superclass", pa.string()),
    ]
)
SUPERCLASS_COLUMNS = ("superclass", "predicted_superclass")
UNLABELLED = -1
_METADATA_KEY = b"eyebright.predictions"


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for N images over K classes.

    Attributes:
        table: the rows, with PREDICTIONS_SCHEMA.
        classes: the K class names in index order.
        calibration: how the logits became the probabilities.
    """

    table: pa.Table
    classes: tuple[str, ...]
    calibration: Calibration = dataclasses.field(default_factory=lambda: Calibration(method="none"))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table as Parquet, whole or not at all; classes and calibration travel in its metadata."""
        facts = {
            "version": PREDICTIONS_VERSION, "classes": self.classes, "calibration": self.calibration.as_dict()
        }  # fmt: skip
        table = self.table.replace_schema_metadata({_METADATA_KEY: json.dumps(facts)})
        with replacing_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Predictions:
        """Read what `write` wrote.

        Raises:
            ForeignBundleError: the file is absent or was not written by Eyebright.
            NewerBundleError: it was written by a later version.
            CorruptBundleError: it is truncated or altered.
        """
        if not Path(path).is_file():
            raise ForeignBundleError(f"{os.fspath(path)} does not exist", expected="a predictions table of a run")
        try:
            table = read_parquet(path)
        except (pa.ArrowException, OSError) as error:
            raise CorruptBundleError(
                f"{os.fspath(path)} cannot be read: {error}",
                expected="a whole Parquet file",
                remedy="evaluate the run again",
            ) from error
        content = (table.schema.metadata or {}).get(_METADATA_KEY)
        if content is None:
            raise ForeignBundleError(
                f"{os.fspath(path)} is a Parquet file, but not a predictions table of Eyebright",
                expected=f"the columns {', '.join(PREDICTIONS_SCHEMA.names)} and the class names in the metadata",
            )
        facts = json.loads(content)
        if facts["version"] > PREDICTIONS_VERSION:
            raise NewerBundleError(
                f"{os.fspath(path)} has version {facts['version']}",
                expected=f"version {PREDICTIONS_VERSION} or earlier",
                remedy="update eyebright",
            )
        for name in SUPERCLASS_COLUMNS:  # older tables have none
            if name not in table.schema.names:
                table = table.append_column(PREDICTIONS_SCHEMA.field(name), pa.nulls(table.num_rows, pa.string()))
        if "temperature" in facts:  # older tables have nothing else
            calibration = Calibration(temperature=float(facts["temperature"]))
        else:
            calibration = Calibration.from_dict(facts["calibration"])
        return cls(table.replace_schema_metadata(None), tuple(facts["classes"]), calibration)

    def select(self, split: str) -> Predictions:
        """The rows of one split, in the same order."""
        return self.rows(np.flatnonzero(np.asarray(self.column("split")) == split))

    def labelled(self) -> Predictions:
        """The rows that have a label, in the same order."""
        return self.rows(np.flatnonzero(self.labels_index() != UNLABELLED))

    def rows(self, rows: npt.ArrayLike) -> Predictions:
        """The rows with the given positions, in the given order."""
        return dataclasses.replace(self, table=self.table.take(pa.array(np.asarray(rows, dtype=np.int64))))

    def column(self, name: str) -> list[str | None]:
        """One text column as a list."""
        values: list[str | None] = self.table[name].to_pylist()
        return values

    def labels_index(self) -> npt.NDArray[np.int64]:
        """Index of the true class for each row, int64 (N,); UNLABELLED (-1) where there is no label."""
        position = {name: index for index, name in enumerate(self.classes)}
        found = [UNLABELLED if label is None else position[label] for label in self.column("label")]
        return np.asarray(found, dtype=np.int64)

    def predicted_index(self) -> npt.NDArray[np.int64]:
        """Index of the predicted class for each row, int64 (N,): the most probable one, the first of equal ones."""
        position = {name: index for index, name in enumerate(self.classes)}
        return np.asarray([position[str(name)] for name in self.column("predicted")], dtype=np.int64)

    def logits(self) -> npt.NDArray[np.float64]:
        """Logits as the network gave them, float64 (N, K)."""
        return self._matrix("logits")

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Calibrated probabilities, float64 (N, K); each row sums to 1."""
        stored = self._matrix("probabilities")
        return np.asarray(stored / stored.sum(axis=1, keepdims=True), dtype=np.float64)

    def _matrix(self, name: str) -> npt.NDArray[np.float64]:
        flat = self.table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float64).reshape(len(self), len(self.classes))

    def join(self, other: Predictions) -> tuple[Predictions, Predictions]:
        """The images that both tables have, matched by id: two tables with equal ids in equal order.

        Raises:
            DataError: an id occurs twice in one table (select one split first), the tables share no id, or an
                image carries different labels in the two.
        """
        ours, theirs = self.column("id"), other.column("id")
        for ids, which in ((ours, "first"), (theirs, "second")):
            if len(set(ids)) != len(ids):
                repeated = next(id_ for id_ in ids if ids.count(id_) > 1)
                raise DataError(
                    f"the {which} predictions table holds image {repeated} more than once",
                    expected="one row an image",
                    remedy="select one split before joining",
                )
        row_of = {id_: row for row, id_ in enumerate(theirs)}
        pairs = [(row, row_of[id_]) for row, id_ in enumerate(ours) if id_ in row_of]
        if not pairs:
            raise DataError(
                f"the two predictions tables ({len(self)} and {len(other)} images) share no image",
                expected="predictions of the same images, whatever the files are called",
            )
        rows = np.asarray(pairs, dtype=np.intp)
        left, right = self.rows(rows[:, 0]), other.rows(rows[:, 1])
        for id_, one, two in zip(left.column("id"), left.column("label"), right.column("label"), strict=True):
            if one is not None and two is not None and one != two:
                raise DataError(f"image {id_} is labelled {one!r} in one predictions table and {two!r} in the other")
        return left, right


def make_predictions(
    ids: Sequence[str],
    sources: Sequence[str],
    labels: Sequence[str | None],
    splits: Sequence[str | None],
    logits: npt.ArrayLike,
    calibration: Calibration | float,
    classes: Sequence[str],
    superclasses: Mapping[str, str] | None = None,
) -> Predictions:
    """Build the table from what the network gave.

    Args:
        ids, sources, labels, splits: N values each; a label is None where it is not known.
        logits: (N, K), finite.
        calibration: how logits become probabilities; a number is a temperature.
        classes: K names in index order.
        superclasses: the superclass of every class, or nothing where there is one level of classes.

    Raises:
        DataError: lengths differ, a label is not among the classes, an (id, split) occurs twice, or a logit is
            not finite.
    """
    values = np.asarray(logits, dtype=np.float32)
    names = tuple(classes)
    if not isinstance(calibration, Calibration):
        calibration = Calibration(temperature=float(calibration))
    lengths = {"ids": len(ids), "sources": len(sources), "labels": len(labels), "splits": len(splits)}
    if values.ndim != 2 or values.shape[1] != len(names) or set(lengths.values()) != {len(values)}:
        received = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise DataError(
            f"logits of shape {values.shape} with {received} and {len(names)} classes",
            expected="one row an image and one column a class",
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise DataError(f"the network gave a logit that is not finite for {sources[row]}", expected="finite logits")
    for label in set(labels) - {None, *names}:
        assert label is not None
        raise DataError(
            f"label {label!r} is not a class of this classifier{did_you_mean(label, names)}",
            expected=f"one of {', '.join(names)}",
            remedy="rename the label, or leave these images out",
        )
    if len(set(zip(ids, splits, strict=True))) != len(ids):
        raise DataError("an image occurs twice in one split", expected="one row an image")
    if len(values) == 0:
        return Predictions(PREDICTIONS_SCHEMA.empty_table(), names, calibration)
    probabilities = calibration.probabilities(values)
    winners = probabilities.argmax(axis=1)
    above = superclasses or {}
    columns = [
        pa.array(list(ids), pa.string()),
        pa.array(list(sources), pa.string()),
        pa.array(list(labels), pa.string()),
        pa.array(list(splits), pa.string()),
        _list_column(values),
        _list_column(probabilities.astype(np.float32)),
        pa.array([names[winner] for winner in winners], pa.string()),
        pa.array(probabilities[np.arange(len(values)), winners].astype(np.float32)),
        pa.array([above.get(label) if label is not None else None for label in labels], pa.string()),
        pa.array([above.get(names[winner]) for winner in winners], pa.string()),
    ]
    table = pa.Table.from_arrays(columns, schema=PREDICTIONS_SCHEMA)
    return Predictions(table, names, calibration)


def _list_column(values: npt.NDArray[np.float32]) -> pa.ListArray:
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
