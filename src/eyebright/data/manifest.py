"""The manifest: one row for every image and every stray, with a status that says whether it is used or why not.

`Manifest.scan` reads each image once, takes the hash of its bytes as its id and looks at the header; pixels are decoded
later, by the pack, which hands back what it could not decode (`Manifest.mark`). Rows are matched by id, never by
position.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from eyebright.atomic import replacing_file
from eyebright.data.sources.base import SPLITS, Item, Source
from eyebright.decode import DEFAULT_MAX_PIXELS, UndecodableImage, inspect_image
from eyebright.decode import STATUSES as BAD_STATUSES
from eyebright.errors import BadImagesError, DataError
from eyebright.identity import content_id
from eyebright.progress import Progress, Silent

MANIFEST_VERSION = 1
MANIFEST_SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # 32 hexadecimal digits: BLAKE2b-128 of the file's bytes; null when there are none to read
        ("source", pa.string()),
        ("label", pa.string()),
        ("split", pa.string()),  # null until assigned
        ("group", pa.string()),
        ("width", pa.int32()),  # pixels, upright; null when the header could not be read
        ("height", pa.int32()),
        ("format", pa.string()),
        ("bytes", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),  # empty when the status is ok
        ("weight", pa.float64()),
        ("superclass", pa.string()),  # the class above the label; null where the source knows of none
    ]
)
STATUSES = (
    "ok", *BAD_STATUSES, "stray", "duplicate", "conflicting-labels", "unlabelled", "dropped", "quarantined",
)  # fmt: skip
MIN_IMAGES_PER_CLASS = 3

_METADATA_KEY = b"eyebright"
_READ_CHUNK = 64


class _Facts(NamedTuple):
    """What one pass over the bytes of an image tells."""

    id: str | None
    width: int | None
    height: int | None
    format: str | None
    bytes: int | None
    status: str
    reason: str


class Manifest:
    """The table of images of one source. It is never changed in place: methods give a new one.

    Attributes:
        table: rows with the columns of `MANIFEST_SCHEMA`, then the user's own.
        classes: class names in index order.
        spec: the source as the user gave it.
        kind: the kind of source.
    """

    def __init__(self, table: pa.Table, *, classes: Sequence[str], spec: str, kind: str) -> None:
        self.table = table
        self.classes = tuple(classes)
        self.spec = spec
        self.kind = kind

    @classmethod
    def scan(
        cls, source: Source, *, max_pixels: int = DEFAULT_MAX_PIXELS, progress: Progress | None = None
    ) -> Manifest:
        """List every image and stray of `source`. Reads all bytes once, in threads; decodes no pixels."""
        progress = progress or Silent()
        items = list(source.items())
        chunks = [items[start : start + _READ_CHUNK] for start in range(0, len(items), _READ_CHUNK)]
        facts: list[_Facts] = []
        # Reading waits for the disk more than it computes: a few threads more than cores keep both busy.
        pool = ThreadPoolExecutor(max_workers=min(32, 2 * (os.cpu_count() or 1)))
        try:
            with progress.task("reading images", len(items)) as task:
                for part in pool.map(lambda chunk: [_look_at(source, item, max_pixels) for item in chunk], chunks):
                    facts += part
                    task.advance(len(part))
        finally:
            pool.shutdown(cancel_futures=True)
        facts = _resolve_labels_and_duplicates(items, facts)
        return cls(
            _build_table(source, items, facts),
            classes=_class_order(source, items),
            spec=source.spec,
            kind=source.kind,
        )

    @functools.cached_property
    def ok(self) -> pa.Table:
        """The rows that are used."""
        return self.table.filter(pa.compute.equal(self.table["status"], "ok"))

    def ledger(self) -> list[dict[str, str]]:
        """Source, status and reason of every row that is not used."""
        rest = self.table.filter(pa.compute.not_equal(self.table["status"], "ok"))
        return list(rest.select(["source", "status", "reason"]).to_pylist())

    def counts(self) -> dict[str, dict[str, int]]:
        """Used images by split and class, every class named; before the splits are assigned, under `all`."""
        rows = Counter(zip(self.ok["split"].to_pylist(), self.ok["label"].to_pylist(), strict=True))
        present = {split for split, _ in rows}
        names: list[str | None] = [split for split in SPLITS if split in present]
        if None in present or not present:
            names.append(None)
        return {split or "all": {label: rows[split, label] for label in self.classes} for split in names}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change when an id, label or split of a used row does; order does not matter."""
        columns = [self.ok[name].to_pylist() for name in ("id", "label", "split")]
        lines = sorted(json.dumps(row, ensure_ascii=False) for row in zip(*columns, strict=True))
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    def leaks(self) -> int:
        """How many images are used in more than one split, byte for byte the same."""
        splits = defaultdict(set)
        for image, split in zip(self.ok["id"].to_pylist(), self.ok["split"].to_pylist(), strict=True):
            splits[image].add(split)
        return sum(len(several) > 1 for several in splits.values())

    def mark(self, failures: Mapping[str, tuple[str, str]]) -> Manifest:
        """A manifest in which the used rows with these ids have the given (status, reason)."""
        if not failures:
            return self
        ids, statuses, reasons = (self.table[name].to_pylist() for name in ("id", "status", "reason"))
        for row, (image, status) in enumerate(zip(ids, statuses, strict=True)):
            if status == "ok" and image in failures:
                statuses[row], reasons[row] = failures[image]
        return self.replace(status=statuses, reason=reasons)

    def replace(self, **columns: Sequence[object]) -> Manifest:
        """A manifest with these columns of `MANIFEST_SCHEMA` replaced, one value a row."""
        table = self.table
        for name, values in columns.items():
            field = MANIFEST_SCHEMA.field(name)
            table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
        return Manifest(table, classes=self.classes, spec=self.spec, kind=self.kind)

    def check(self, allow_bad: float = 0.01, *, for_training: bool = True) -> None:
        """Raise when the images cannot be used.

        Args:
            allow_bad: share of images (0 to 1) that may be unreadable, cut off, too large, missing, ...
            for_training: also ask for labels, two classes and enough images of each.

        Raises:
            BadImagesError: more bad images than `allow_bad`.
            DataError: no images, no labels, fewer than two classes, or a class with too few images.
        """
        statuses = Counter(self.table["status"].to_pylist())
        images = self.table.num_rows - statuses["stray"]
        if images == 0:
            found = f" ({statuses['stray']} files or folders are no images)" if statuses["stray"] else ""
            raise DataError(
                f"there are no images in {self.spec}{found}",
                expected="a folder for each class with images inside, or a table that names images",
            )
        self._check_bad_share(images, allow_bad)
        if for_training:
            self.check_labels()
            self._check_classes()

    def check_labels(self) -> None:
        """Raise when no image has a label.

        Raises:
            DataError: saying where labels come from.
        """
        statuses = Counter(self.table["status"].to_pylist())
        if statuses["unlabelled"] and not statuses["ok"]:
            raise DataError(
                f"none of the {self.table.num_rows - statuses['stray']} images in {self.spec} has a label",
                expected="a folder for each class, or a table with the columns image_path and label",
                remedy="fill in the labels"
                if self.kind in ("table", "hf-parquet")
                else "sort the images into folders named after their classes",
            )

    def _check_bad_share(self, images: int, allow_bad: float) -> None:
        bad = [row for row in self.ledger() if row["status"] in BAD_STATUSES]
        if len(bad) <= allow_bad * images:
            return
        listed = "".join(f"\n  {row['source']}: {row['status']} ({row['reason']})" for row in bad[:5])
        more = f"\n  and {len(bad) - 5} more" if len(bad) > 5 else ""
        share = len(bad) / images
        # The next whole percent that lets these through, and never less than a round 5 %.
        enough = next((percent for percent in (5, 10, 20, 30, 50, 75, 100) if percent / 100 >= share), 100)
        large = "; `--set data.max_pixels=N` reads larger ones" if any(r["status"] == "too-large" for r in bad) else ""
        raise BadImagesError(
            f"{len(bad)} of {images} images ({share:.1%}) cannot be used:{listed}{more}",
            expected=f"at most {allow_bad:.0%} bad images",
            remedy=f"repair or remove them, or pass `--allow-bad {enough}%` to go on without them{large}",
        )

    def _check_classes(self) -> None:
        counts = Counter(self.ok["label"].to_pylist())
        if len(self.classes) < 2:
            names = f" ({self.classes[0]!r})" if self.classes else ""
            raise DataError(
                f"{len(self.classes)} class{names} with {sum(counts.values())} images in {self.spec}",
                expected="at least two classes",
                remedy="point to the folder that holds the class folders, one folder for each class",
            )
        small = {name: counts[name] for name in self.classes if counts[name] < MIN_IMAGES_PER_CLASS}
        if small:
            listed = ", ".join(f"{name!r} has {count}" for name, count in list(small.items())[:8])
            more = f" and {len(small) - 8} more" if len(small) > 8 else ""
            contradicting = [row for row in self.ledger() if row["status"] == "conflicting-labels"]
            remedy = "add images, or remove the class"
            if contradicting:
                first = contradicting[0]
                remedy += (
                    f"; {len(contradicting)} images have the same bytes as one of another class and are not used, such "
                    f"as {first['source']}: {first['reason']}"
                )
            raise DataError(
                f"too few usable images: class {listed}{more}",
                expected=f"at least {MIN_IMAGES_PER_CLASS} images a class: one image a class can be split into nothing",
                remedy=remedy,
            )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write to Parquet, whole or not at all."""
        facts = {
            "version": MANIFEST_VERSION,
            "classes": list(self.classes),
            "spec": self.spec,
            "kind": self.kind,
        }
        metadata = {**(self.table.schema.metadata or {}), _METADATA_KEY: json.dumps(facts).encode()}
        with replacing_file(path) as temporary:
            pq.write_table(self.table.replace_schema_metadata(metadata), temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read what `write` wrote.

        Raises:
            DataError: the file is missing, broken, not a manifest, or of a later version.
        """
        path = Path(path)
        try:
            table = pq.read_table(path)
        except FileNotFoundError as error:
            raise DataError(f"there is no manifest {path}") from error
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"the manifest {path} cannot be read: {error}", expected="a Parquet file") from error
        metadata = dict(table.schema.metadata or {})
        if _METADATA_KEY not in metadata or not set(MANIFEST_SCHEMA.names) <= set(table.schema.names):
            raise DataError(f"{path} is no manifest", expected="a manifest.parquet written by Eyebright")
        facts = json.loads(metadata.pop(_METADATA_KEY))
        if facts["version"] > MANIFEST_VERSION:
            raise DataError(
                f"the manifest {path} has version {facts['version']}",
                expected=f"version {MANIFEST_VERSION} or earlier",
                remedy="update Eyebright",
            )
        return cls(
            table.replace_schema_metadata(metadata or None),
            classes=facts["classes"],
            spec=facts["spec"],
            kind=facts["kind"],
        )


def _look_at(source: Source, item: Item, max_pixels: int) -> _Facts:
    image, size = None, None
    try:
        content = source.read(item.source)
        image, size = content_id(content), content.nbytes if isinstance(content, np.ndarray) else len(content)
        header = inspect_image(content, max_pixels)
    except UndecodableImage as error:
        return _Facts(image, None, None, None, size, error.status, error.problem)
    return _Facts(image, header.width, header.height, header.format, size, "ok", "")


def _resolve_labels_and_duplicates(items: list[Item], facts: list[_Facts]) -> list[_Facts]:
    """Give unlabelled, contradicting and repeated images their status."""
    resolved = list(facts)
    same_bytes: dict[str, list[int]] = defaultdict(list)
    for row, (item, fact) in enumerate(zip(items, facts, strict=True)):
        if fact.status != "ok" or fact.id is None:
            continue
        if item.label is None:
            resolved[row] = fact._replace(status="unlabelled", reason="the source gives it no label")
        else:
            same_bytes[fact.id].append(row)
    for rows in same_bytes.values():
        if len(rows) < 2:
            continue
        if len({items[row].label for row in rows}) > 1:
            for row in rows:
                other = next(items[other] for other in rows if items[other].label != items[row].label)
                reason = f"the same bytes as {other.source}, which is labelled {other.label!r}"
                resolved[row] = facts[row]._replace(status="conflicting-labels", reason=reason)
            continue
        # One row stays for each split that the user gave; a row without a split follows the others.
        kept: dict[str | None, int] = {}
        for row in sorted(rows, key=lambda row: (items[row].split is None, row)):
            first = kept.get(items[row].split) if items[row].split else next(iter(kept.values()), None)
            if first is None:
                kept[items[row].split] = row
            else:
                reason = f"the same bytes as {items[first].source}"
                resolved[row] = facts[row]._replace(status="duplicate", reason=reason)
    return resolved


def _build_table(source: Source, items: list[Item], facts: list[_Facts]) -> pa.Table:
    strays = source.strays()
    padding: list[None] = [None] * len(strays)
    columns: dict[str, list[Any]] = {
        "id": [fact.id for fact in facts] + padding,
        "source": [item.source for item in items] + [stray.source for stray in strays],
        "label": [item.label for item in items] + padding,
        "split": [item.split for item in items] + padding,
        "group": [item.group for item in items] + padding,
        "width": [fact.width for fact in facts] + padding,
        "height": [fact.height for fact in facts] + padding,
        "format": [fact.format for fact in facts] + padding,
        "bytes": [fact.bytes for fact in facts] + padding,
        "status": [fact.status for fact in facts] + [stray.status for stray in strays],
        "reason": [fact.reason for fact in facts] + [stray.reason for stray in strays],
        "weight": [1.0 if item.weight is None else item.weight for item in items] + [1.0] * len(strays),
        "superclass": [item.superclass for item in items] + padding,
    }
    table = pa.table(columns, schema=MANIFEST_SCHEMA)
    extra_names = dict.fromkeys(name for item in items for name in item.extra)
    for name in extra_names:
        values = [item.extra.get(name) for item in items] + padding
        # The user's column `id` must not hide ours.
        free = f"user_{name}" if name in MANIFEST_SCHEMA.names else name
        table = table.append_column(free, _column(values))
    return table


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # mixed types: keep what they look like
        return pa.array([None if value is None else str(value) for value in values])


def _class_order(source: Source, items: list[Item]) -> tuple[str, ...]:
    """Declared order where there is one, else sorted; only classes that some image is labelled with."""
    present = {item.label for item in items if item.label is not None}
    declared = source.class_names or ()
    return (*(name for name in declared if name in present), *sorted(present - set(declared)))
