"""Conclusions as a table, straight from arrays, and its three forms: Parquet, CSV and JSON lines.

No object is made for an image but in JSON lines. The columns are those of `eyebright predict --csv`, except that the
probabilities are one list column in Parquet and one object in JSON lines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from eyebright.bundle import BundleRecord
from eyebright.decisions import Decided
from eyebright.jobs.prediction_flow import Batch

FACTS_KEY = b"eyebright.predict"
PROBABILITIES = "probabilities"
# Whatever the parts that it is made from, a file has row groups of this many rows.
GROUP_ROWS = 32_768
GROUP_VALUES = 8_000_000
_SHOWN_DIGITS = 7
_Siblings = npt.NDArray[np.bool_] | None


def concluded_columns(record: BundleRecord) -> list[str]:
    """What this classifier says beside the label and its probability."""
    decisions = record.decisions
    found = ["superclass", "superclass_probability"] if record.superclasses else []
    if decisions.sets is not None:
        found.append("prediction_set")
    if decisions.selection is not None:
        found += ["answer", "answer_level"]
    if decisions.outliers is not None:
        found += ["outlier", "outlier_score"]
    return found


# As Parquet names what is in a list: a file that was read and written again is then the same.
_NAMES = pa.list_(pa.field("element", pa.string()))
_NUMBERS = pa.list_(pa.field("element", pa.float32()))
_TYPES = {
    "superclass_probability": pa.float32(),
    "prediction_set": _NAMES,
    "outlier": pa.bool_(),
    "outlier_score": pa.float32(),
    "probability": pa.float32(),
    PROBABILITIES: _NUMBERS,
}


def schema_of(record: BundleRecord, facts: Mapping[str, Any]) -> pa.Schema:
    """The columns, with `classes` (in the order of the probabilities) and `facts` as JSON in the metadata."""
    names = [
        *("source", "id", "status", "reason", "label", "probability"), *concluded_columns(record), PROBABILITIES
    ]  # fmt: skip
    content = json.dumps({"classes": list(record.classes), **facts}, ensure_ascii=False)
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in names], metadata={FACTS_KEY: content})


def table_of(batch: Batch, record: BundleRecord, siblings: _Siblings, schema: pa.Schema) -> pa.Table:
    """The rows of a batch; an image that could not be used has its reason, and null in every other column."""
    problems = [image.problem for image in batch.images]
    columns: dict[str, pa.Array] = {
        "source": _texts([printable(image.source) for image in batch.images]),
        "id": _texts([image.id for image in batch.images]),
        "status": _texts(["ok" if problem is None else problem.status for problem in problems]),
        "reason": _texts(["" if problem is None else printable(problem.problem) for problem in problems]),
    }
    said = {} if batch.decided is None else _said(batch.decided, record, siblings)
    if len(batch.usable) == len(batch.images):
        columns |= said
    else:
        place = np.full(len(batch.images), -1, dtype=np.int32)
        place[batch.usable] = np.arange(len(batch.usable))
        rows = _column(place, missing=place < 0)
        for name in schema.names[4:]:
            values = said[name] if name in said else pa.nulls(0, schema.field(name).type)
            columns[name] = pa.nulls(len(place), values.type) if not len(values) else values.take(rows)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _said(decided: Decided, record: BundleRecord, siblings: _Siblings) -> dict[str, pa.Array]:
    """Every column that says something, for N usable images."""
    names = np.array(record.classes, dtype=object)
    probabilities, best = decided.probabilities, decided.best
    rows, classes = probabilities.shape
    offsets = _column(np.arange(0, rows * classes + 1, classes, dtype=np.int32))
    said = {
        "label": _texts(names[best].tolist()),
        "probability": _column(probabilities[np.arange(rows), best].astype(np.float32)),
        PROBABILITIES: pa.ListArray.from_arrays(
            offsets, _column(probabilities.astype(np.float32).ravel()), type=_NUMBERS
        ),
    }
    above: npt.NDArray[Any] | None = None
    if siblings is not None:
        above = np.array([record.superclasses[name] for name in record.classes], dtype=object)[best]
        together = np.minimum(1.0, (probabilities * siblings[best]).sum(axis=1))
        said["superclass"] = _texts(above.tolist())
        said["superclass_probability"] = _column(together.astype(np.float32))
    if decided.sets is not None:
        order = np.argsort(-probabilities, axis=1, kind="stable")
        inside = np.take_along_axis(decided.sets, order, axis=1)
        ends = np.concatenate([[0], np.cumsum(inside.sum(axis=1))]).astype(np.int32)
        said["prediction_set"] = pa.ListArray.from_arrays(
            _column(ends), _texts(names[order[inside]].tolist()), type=_NAMES
        )
    if decided.sure is not None:
        answer, level = np.full(rows, None, dtype=object), np.full(rows, "none", dtype=object)
        if decided.sure_of_superclass is not None and above is not None:
            answer[decided.sure_of_superclass] = above[decided.sure_of_superclass]
            level[decided.sure_of_superclass] = "superclass"
        answer[decided.sure], level[decided.sure] = names[best][decided.sure], "class"
        said["answer"], said["answer_level"] = _texts(answer.tolist()), _texts(level.tolist())
    if record.decisions.outliers is not None:
        nothing = pa.nulls(rows, pa.float32())
        flagged, score = decided.outlier, decided.outlier_score
        said["outlier"] = pa.nulls(rows, pa.bool_()) if flagged is None else _column(flagged)
        said["outlier_score"] = nothing if score is None else _column(score.astype(np.float32))
    return said


# `pa.array` would import pandas wherever it is installed, which costs 0.3 s; these lay out the same arrays.
def _column(values: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Numbers of 32 bits, or booleans, with null where they are missing."""
    kinds = {np.dtype(np.float32): pa.float32(), np.dtype(np.int32): pa.int32(), np.dtype(np.bool_): pa.bool_()}
    laid_out = _bits(values) if values.dtype == np.bool_ else pa.py_buffer(np.ascontiguousarray(values))
    there = None if missing is None or not missing.any() else _bits(~missing)
    return pa.Array.from_buffers(kinds[values.dtype], len(values), [there, laid_out])


def _texts(values: Sequence[str | None]) -> pa.Array:
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    missing = np.array([value is None for value in values], dtype=np.bool_)
    there = _bits(~missing) if missing.any() else None
    return pa.Array.from_buffers(
        pa.string(), len(encoded), [there, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    )


def _bits(values: npt.NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(values, bitorder="little"))


def printable(text: str) -> str:
    """The text itself, or with escapes where a file name is not valid UTF-8: no table could hold it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text


class TableWriter(Protocol):
    """Writes tables one after another to a file. What is written depends on the rows, not on how they were cut."""

    def write(self, table: pa.Table) -> None: ...  # noqa: D102

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _ParquetFile:
    def __init__(self, path: Path, schema: pa.Schema, classes: int) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._group_rows = max(1, min(GROUP_ROWS, GROUP_VALUES // classes))
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        while self._rows >= self._group_rows:
            self._write_group()

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting)
        self._writer.write_table(table.slice(0, self._group_rows).combine_chunks())
        rest = table.slice(self._group_rows)
        self._waiting, self._rows = ([rest], rest.num_rows) if rest.num_rows else ([], 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows:
            self._write_group()
        self._writer.close()


class _CsvFile:
    def __init__(self, path: Path, schema: pa.Schema, classes: int) -> None:
        names: list[str] = json.loads(schema.metadata[FACTS_KEY])["classes"]
        self._fields = [name for name in schema.names if name != PROBABILITIES]
        self._names = [*self._fields, *names]
        types = [pa.string() if name == "prediction_set" else schema.field(name).type for name in self._fields]
        self._schema = pa.schema(
            [*zip(self._fields, types, strict=True), *((name, pa.float32()) for name in names)]
        )  # fmt: skip
        self._classes = classes
        self._separator = _texts(["|"])[0]
        self._writer = pa_csv.CSVWriter(path, self._schema)

    def write(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        columns = [
            pc.binary_join(table[name], self._separator) if name == "prediction_set" else table[name]
            for name in self._fields
        ]
        lists = table[PROBABILITIES]
        there = np.array([label is not None for label in table["label"].to_pylist()], dtype=np.bool_)
        values = np.full((table.num_rows, self._classes), np.nan, dtype=np.float32)
        for chunk in lists.chunks:  # of which there is one, or none for an empty table
            numbers = chunk.flatten()
            flat = np.frombuffer(numbers.buffers()[1], dtype=np.float32, count=len(numbers), offset=4 * numbers.offset)
            values[there] = flat.reshape(-1, self._classes)
        columns += [_column(column, missing=~there) for column in np.ascontiguousarray(values.T)]
        self._writer.write(pa.table(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


class _JsonLinesFile:
    def __init__(self, path: Path, schema: pa.Schema, classes: int) -> None:
        self._names: list[str] = json.loads(schema.metadata[FACTS_KEY])["classes"]
        self._handle = path.open("w", encoding="utf-8")

    def write(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            probabilities = row.pop(PROBABILITIES)
            said: dict[str, Any] = {name: _short(value) for name, value in row.items()}
            said[PROBABILITIES] = None if probabilities is None else dict(
                zip(self._names, map(_short, probabilities), strict=True)
            )  # fmt: skip
            self._handle.write(json.dumps(said, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._handle.close()


def _short(value: Any) -> Any:
    """A float32 without the digits that it does not have."""
    return float(f"{value:.{_SHOWN_DIGITS}g}") if isinstance(value, float) else value


WRITERS: dict[str, Callable[[Path, pa.Schema, int], TableWriter]] = {
    ".parquet": _ParquetFile,
    ".csv": _CsvFile,
    ".jsonl": _JsonLinesFile,
}


def write_tables(path: Path, suffix: str, schema: pa.Schema, tables: Iterator[pa.Table]) -> tuple[int, int]:
    """Write the tables as the kind of file that `suffix` names; memory does not depend on their number.

    Returns:
        rows, and how many of them are of images that could not be used.
    """
    classes = len(json.loads(schema.metadata[FACTS_KEY])["classes"])
    rows = bad = 0
    with WRITERS[suffix](path, schema, classes) as writer:
        for table in tables:
            writer.write(table)
            rows += table.num_rows
            bad += table["label"].null_count
    return rows, bad
