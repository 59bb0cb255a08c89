"""The files that several parts wrote, put together to the file that one process would have written."""

from __future__ import annotations

import csv
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.atomic import replacing_file
from eyebright.bundle import read_bundle
from eyebright.errors import DataError
from eyebright.jobs.inputs import open_input
from eyebright.jobs.predict_to_file import Part, Written, work_of
from eyebright.jobs.prediction_flow import Listing
from eyebright.jobs.prediction_table import FACTS_KEY, printable, write_tables
from eyebright.progress import Progress, Silent

# What must be the same in the parts and now; Parquet files say it of themselves.
_SAME = ("bundle", "names", "images")


def merge_parts(
    run: str | Path, inputs: Sequence[str | Path], output: str | Path, *, progress: Progress | None = None
) -> Written:
    """Put `results.part1of8.csv` to `results.part8of8.csv` together to `results.csv`; the parts stay.

    Every part must hold one row for each of its images, in their order: nothing is there twice, nothing is missing.

    Args:
        run, inputs, output: as they were given to the parts.
        progress: told how many rows were checked.

    Raises:
        DataError: a part is missing, is of other work, or does not hold its images.
        BundleError: there is no bundle.
    """
    output, progress, began = Path(output), progress or Silent(), time.monotonic()
    paths = _parts(output)
    listing = Listing([open_input(given) for given in inputs])
    work = work_of(read_bundle(run), inputs, listing, Part())
    check = _Check(listing, paths)
    with progress.task("putting parts together", len(listing)) as task, replacing_file(output) as temporary:
        check.advance = task.advance
        if output.suffix == ".parquet":
            schema = _schema(paths, work)
            images, bad = write_tables(temporary, output.suffix, schema, check.tables())
        else:
            with open(temporary, "wb") as target:
                images, bad = check.copy_lines(target, has_header=output.suffix == ".csv")
    return Written(path=output, images=images, bad=bad, continued=images, seconds=time.monotonic() - began)


class _Check:
    """Reads the parts one after another and compares every row with the image that belongs there."""

    def __init__(self, listing: Listing, paths: Sequence[Path]) -> None:
        self._listing, self._paths = listing, paths
        self.advance: Callable[[int], None] = lambda units: None

    def tables(self) -> Iterator[pa.Table]:
        for path, expected in self._expected():
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    table = pa.Table.from_batches([batch])
                    for source in table["source"].to_pylist():
                        _compare(path, source, next(expected, None))
                    self.advance(table.num_rows)
                    yield table
            _compare(path, None, next(expected, None))

    def copy_lines(self, target: IO[bytes], *, has_header: bool) -> tuple[int, int]:
        images = bad = 0
        first_header: bytes | None = None
        for path, expected in self._expected():
            with open(path, encoding="utf-8", newline="") as lines:
                for source, status in _csv_rows(lines) if has_header else _json_rows(lines):
                    _compare(path, source, next(expected, None))
                    images, bad = images + 1, bad + (status != "ok")
                    self.advance(1)
            _compare(path, None, next(expected, None))
            with open(path, "rb") as content:
                if has_header:
                    header = content.readline()
                    if first_header is None:
                        target.write(header)
                    elif header != first_header:
                        raise DataError(f"{path} has other columns than {self._paths[0]}", remedy="make it again")
                    first_header = header
                while block := content.read(1 << 20):
                    target.write(block)
        return images, bad

    def _expected(self) -> Iterator[tuple[Path, Iterator[str]]]:
        for number, path in enumerate(self._paths, start=1):
            first, last = Part(number=number, count=len(self._paths)).rows(len(self._listing))
            yield path, (printable(source) for source in self._listing.sources(first, last))


def _csv_rows(lines: IO[str]) -> Iterator[tuple[str, str]]:
    rows = csv.reader(lines)
    next(rows, None)
    return ((row[0], row[2]) for row in rows)


def _json_rows(lines: IO[str]) -> Iterator[tuple[str, str]]:
    return ((row["source"], row["status"]) for row in map(json.loads, lines))


def _compare(path: Path, received: str | None, expected: str | None) -> None:
    if received != expected:
        raise DataError(
            f"{path} has {received or 'its end'} where {expected or 'its end'} belongs",
            expected="a row for each image of this part, in the order of the inputs",
            remedy="give the same inputs as to the parts, or make this part again with --overwrite",
        )


def _parts(output: Path) -> list[Path]:
    """The files of all parts, in order."""
    pattern = re.compile(re.escape(output.stem) + r"\.part([0-9]+)of([0-9]+)" + re.escape(output.suffix))
    names = sorted(path.name for path in output.parent.iterdir()) if output.parent.is_dir() else []
    found = [(int(match[2]), int(match[1])) for name in names if (match := pattern.fullmatch(name))]
    counts = sorted({count for count, _ in found})
    if len(counts) != 1:
        raise DataError(
            f"there are no parts of {output}" if not counts
            else f"there are parts of {output} of {' and '.join(map(str, counts))}",
            expected=f"{Part(number=1, count=2).path(output).name} and so on, all of the same number",
            remedy="make them with --part 1/2 and so on" if not counts else "remove those that do not belong",
        )  # fmt: skip
    count = counts[0]
    missing = [number for number in range(1, count + 1) if (count, number) not in found]
    if missing:
        raise DataError(
            f"of the {count} parts of {output}, {', '.join(map(str, missing))} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            expected="all parts",
            remedy=f"give the same command with --part {missing[0]}/{count}",
        )
    return [Part(number=number, count=count).path(output) for number in range(1, count + 1)]


def _schema(paths: Sequence[Path], work: dict[str, object]) -> pa.Schema:
    """The columns of all parts, with the facts of the whole.

    Raises:
        DataError: a part is of other work.
    """
    schema = pq.read_schema(paths[0])
    facts = json.loads(schema.metadata[FACTS_KEY])
    for path in paths:
        theirs = json.loads((pq.read_schema(path).metadata or {}).get(FACTS_KEY, b"{}"))
        differing = [key for key in _SAME if theirs.get(key) != work[key]]
        differing += [key for key in facts if key not in (*_SAME, "part") and theirs.get(key) != facts[key]]
        if differing:
            raise DataError(
                f"{path} is of other work: it differs in {', '.join(differing)}",
                expected="parts of one work: the same classifier, inputs and way of running",
                remedy="make this part again with --overwrite",
            )
    facts["part"] = work["part"]
    return schema.with_metadata({FACTS_KEY: json.dumps(facts, ensure_ascii=False)})
