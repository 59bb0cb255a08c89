"""Predictions for any number of images into one file: streamed, in parts where wanted, and gone on with after a kill.

While it works, finished rows lie as small Parquet files in a hidden folder beside the output (`.NAME.partial`), with
`work.json`, which says of what work they are the results: the same bundle, images and way of running, or they are not
gone on with. When all rows are there they are written to the output in one go and under a temporary name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import PIL
import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.atomic import explained, replacing_file, write_json
from eyebright.bundle import RECORD_FILE, Bundle, sha256_of
from eyebright.classifier import Classifier
from eyebright.data.probing import available_cores
from eyebright.errors import Interrupted, StorageError, UsageError, did_you_mean
from eyebright.jobs.inputs import open_input
from eyebright.jobs.prediction_flow import BATCH, Listing, batches
from eyebright.jobs.prediction_table import WRITERS, schema_of, table_of, write_tables
from eyebright.progress import Progress, Silent

SAVE_SECONDS = 5.0
SAVE_ROWS = 4096
SAVE_VALUES = 2_000_000
WORK_FILE, LOCK_FILE = "work.json", "lock"
_PART = re.compile(r"([1-9][0-9]*)/([1-9][0-9]*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One of several processes or machines that share the images: the `number`-th of `count`, counted from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `2/8`.

        Raises:
            UsageError: it is no such text.
        """
        found = _PART.fullmatch(text.strip())
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(f"--part {text}", expected="the part and how many there are, as 2/8: from 1/8 to 8/8")
        return cls(number=int(found[1]), count=int(found[2]))

    def rows(self, images: int) -> tuple[int, int]:
        """First row, and the one after the last: neighbouring images, so that shards are read from start to end."""
        return images * (self.number - 1) // self.count, images * self.number // self.count

    def path(self, output: Path) -> Path:
        """`results.part2of8.csv` for `results.csv`."""
        if self.count == 1:
            return output
        return output.with_name(f"{output.stem}.part{self.number}of{self.count}{output.suffix}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """What was done.

    Attributes:
        path: the finished file.
        images: rows in it.
        bad: how many of them are of images that could not be used; their `status` and `reason` say why.
        continued: rows that were there from before.
        seconds: of this process, from opening the inputs to the finished file.
    """

    path: Path
    images: int
    bad: int
    continued: int
    seconds: float


def check_output(output: Path, *, overwrite: bool) -> None:
    """Make sure that predictions may be written there, before anything costs time.

    Raises:
        UsageError: its ending is no kind of file that is written, or it is there already.
    """
    if output.suffix not in WRITERS:
        raise UsageError(
            f"--output {output}: {output.suffix or 'no ending'}{did_you_mean(output.suffix, WRITERS)}",
            expected=f"a file that ends in {', '.join(WRITERS)}",
        )
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder", expected="a file", remedy=f"{output}/results.parquet, say")
    if output.exists() and not overwrite:
        raise UsageError(
            f"{output} is there already",
            expected="a new file",
            remedy="choose another name, or replace it with --overwrite",
        )


def predict_to_file(
    classifier: Classifier,
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    part: Part | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    batch_size: int = BATCH,
    save_seconds: float = SAVE_SECONDS,
    progress: Progress | None = None,
) -> Written:
    """Classify images, folders, tables or shards into a Parquet, CSV or JSON lines file.

    The same call goes on where a former one was killed, and its file is the same as that of an undisturbed one.

    Args:
        classifier: see `eyebright.load`.
        inputs: what `open_input` accepts.
        output: ends in .parquet, .csv or .jsonl.
        part: do these images only, into a file of their own (`Part.path`); all when None.
        overwrite: replace a finished file, and begin anew where the partial results are of other work.
        device: where the classifier runs, for the record of the work.
        batch_size: images that go through the network together.
        save_seconds: a kill loses the rows of this time at most.
        progress: whom to tell.

    Raises:
        UsageError: the output is there already, or partial results of other work are.
        DataError: an input does not exist or holds nothing that could be an image.
        StorageError: it cannot be written there, the disk is full, or another process writes it.
        Interrupted: Ctrl-C; what was done is kept.
    """
    progress, part, began = progress or Silent(), part or Part(), time.monotonic()
    target = part.path(Path(output))
    check_output(target, overwrite=overwrite)
    listing = Listing([open_input(given) for given in inputs])
    first, last = part.rows(len(listing))
    work = work_of(classifier.bundle, inputs, listing, part) | {
        "runtime": classifier.runtime, "device": device, "batch": batch_size
    }  # fmt: skip
    with _Partial.opened(target, work, overwrite=overwrite, progress=progress) as partial:
        there = partial.rows
        if there:
            progress.note(f"continuing: {there:,} of {last - first:,} are there")
        schema = schema_of(classifier.record, work)
        with progress.task(f"classifying {listing.title}", last - first) as task:
            task.advance(there)
            stream = batches(
                classifier, listing, threads=available_cores(), first=first + there, last=last, size=batch_size
            )
            most_rows = max(1, min(SAVE_ROWS, SAVE_VALUES // len(classifier.classes)))
            waiting: list[pa.Table] = []
            try:
                with contextlib.closing(stream):
                    saved = time.monotonic()
                    for batch in stream:
                        waiting.append(table_of(batch, classifier.record, classifier.siblings, schema))
                        task.advance(len(batch.images))
                        rows = sum(table.num_rows for table in waiting)
                        if rows >= most_rows or time.monotonic() - saved >= save_seconds:
                            partial.save(waiting)
                            waiting, saved = [], time.monotonic()
                partial.save(waiting)
            except KeyboardInterrupt as stop:
                partial.save(waiting)
                raise Interrupted(
                    f"stopped by the user: {partial.rows:,} of {last - first:,} images are kept",
                    remedy="give the same command again to go on",
                ) from stop
        whole = partial.folder / f"whole{target.suffix}"
        # Written where a kill leaves nothing behind: the folder goes when a later command has finished the work.
        with replacing_file(whole) as temporary:
            images, bad = write_tables(temporary, target.suffix, schema, partial.tables())
        with explained(target):
            whole.replace(target)
        assert images == last - first, (images, first, last)
        partial.remove()
    return Written(path=target, images=images, bad=bad, continued=there, seconds=time.monotonic() - began)


def work_of(bundle: Bundle, inputs: Sequence[str | Path], listing: Listing, part: Part) -> dict[str, Any]:
    """What tells this work from any other, as plain values."""
    names = hashlib.blake2b(digest_size=16)
    for source in listing.sources():
        names.update(source.encode("utf-8", "surrogateescape") + b"\n")
    return {
        "bundle": sha256_of(bundle.file(RECORD_FILE)),  # which holds the hashes of all other files
        "inputs": [str(given).encode("utf-8", "backslashreplace").decode() for given in inputs],
        "images": len(listing),
        "names": names.hexdigest(),
        "part": f"{part.number}/{part.count}",
        "versions": {"pillow": PIL.__version__, "onnxruntime": onnxruntime.__version__},
    }


class _Partial:
    """The rows that are there so far, in a folder beside the output."""

    def __init__(self, folder: Path, files: list[Path], rows: int) -> None:
        self.folder, self._files, self.rows = folder, files, rows

    @classmethod
    @contextlib.contextmanager
    def opened(cls, target: Path, work: dict[str, Any], *, overwrite: bool, progress: Progress) -> Iterator[_Partial]:
        """Begin, or go on with what is there, alone."""
        folder = target.with_name(f".{target.name}.partial")
        with contextlib.ExitStack() as kept:
            with explained(target):
                folder.mkdir(parents=True, exist_ok=True)
                lock = kept.enter_context(open(folder / LOCK_FILE, "a", encoding="ascii"))
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise StorageError(
                        f"another process is writing {target}",
                        expected="one process for a file",
                        remedy="wait for it, or choose another --output; several share the images with --part 1/2",
                    ) from error
                former = _read_json(folder / WORK_FILE)
                if former is not None and former != work:
                    differing = sorted(key for key in {*former, *work} if former.get(key) != work.get(key))
                    if not overwrite:
                        raise _other_work(target, former, work, differing)
                    progress.note(f"beginning anew: the partial results differ in {', '.join(differing)}")
                if former != work:
                    for file in folder.glob("*.parquet"):
                        file.unlink()
                    write_json(folder / WORK_FILE, work)
                partial = cls(folder, *_whole_files(folder))
            yield partial

    def save(self, tables: Sequence[pa.Table]) -> None:
        """Add rows; they are on disk when this returns."""
        if tables:
            path = self.folder / f"{self.rows:012d}.parquet"
            table = pa.concat_tables(tables)
            with replacing_file(path) as temporary:
                pq.write_table(table, temporary, compression="zstd")
            self._files.append(path)
            self.rows += table.num_rows

    def tables(self) -> Iterator[pa.Table]:
        """All rows in order, some at a time."""
        for path in self._files:
            with pq.ParquetFile(path) as file:  # `read_table` would import pyarrow.dataset and with it pandas
                yield file.read()

    def remove(self) -> None:
        """The output is there: nothing of this is needed any more."""
        (self.folder / WORK_FILE).unlink(missing_ok=True)  # without it, a kill right now leaves nothing to go on with
        shutil.rmtree(self.folder, ignore_errors=True)


def _whole_files(folder: Path) -> tuple[list[Path], int]:
    """The files of rows that follow each other from the first one on, and how many rows they have."""
    files: list[Path] = []
    rows = 0
    for path in sorted(folder.glob("[0-9]*.parquet")):
        try:
            count = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException):  # renamed, but lost when the machine lost power
            count = 0
        if count and int(path.stem) == rows:
            files.append(path)
            rows += count
        else:
            path.unlink()
    return files, rows


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else {}


def _other_work(target: Path, former: dict[str, Any], work: dict[str, Any], differing: list[str]) -> UsageError:
    told = {
        "bundle": "the classifier is another one",
        "names": f"the images are not the same ({former.get('images'):,} then, {work['images']:,} now)"
        if isinstance(former.get("images"), int)
        else "the images are not the same",
        "versions": f"versions were {former.get('versions')} and are {work['versions']}",
    }
    reasons = [told.get(key, f"{key} was {former.get(key)} and is {work.get(key)}") for key in differing
               if key != "images" or "names" not in differing]  # fmt: skip
    return UsageError(
        f"there are partial results for {target}, but of other work: {'; '.join(reasons)}",
        expected="the same command, to go on",
        remedy="give the former command, begin anew with --overwrite, or choose another --output",
    )
