"""The manifest: one row for every image and every stray, with a status that says whether it is used or why not.

`Manifest.scan` reads each image once, takes the hash of its bytes as its id and looks at the header; pixels are decoded
later, by the pack, which hands back what it could not decode (`Manifest.mark`). Rows are matched by id, never by
position. Everything is done on whole columns, so that a million images need seconds and some hundred megabytes.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eyebright.atomic import replacing_file
from eyebright.data.codes import as_codes
from eyebright.data.fingerprint import fingerprint
from eyebright.data.listing import MANIFEST_SCHEMA as MANIFEST_SCHEMA
from eyebright.data.listing import list_images
from eyebright.data.parquet import read_parquet
from eyebright.data.sources.base import SPLITS, Source
from eyebright.decode import DEFAULT_MAX_PIXELS
from eyebright.decode import STATUSES as BAD_STATUSES
from eyebright.errors import BadImagesError, DataError
from eyebright.progress import Progress

MANIFEST_VERSION = 1
STATUSES = (
    "ok", *BAD_STATUSES, "stray", "duplicate", "conflicting-labels", "unlabelled", "dropped", "quarantined",
)  # fmt: skip
# What a row can be whose image is not known to be broken.
DECODABLE = ("ok", "duplicate", "conflicting-labels", "unlabelled")
MIN_IMAGES_PER_CLASS = 3

_METADATA_KEY = b"eyebright"


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
        cls,
        source: Source,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        workers: int | None = None,
        progress: Progress | None = None,
    ) -> Manifest:
        """List every image and stray of `source`. Reads all bytes once, on all cores; decodes no pixels.

        Args:
            source: read in threads where it is small, in processes where it is large (`eyebright.data.probing`).
            max_pixels: larger images are listed as `too-large`.
            workers: cores to use; those that this process may use when None.
            progress: told how many images were read.
        """
        table = list_images(source, max_pixels=max_pixels, workers=workers, progress=progress)
        present = set(pc.unique(table["label"]).to_pylist()) - {None}
        declared = [name for name in source.class_names or () if name in present]
        return cls(
            table, classes=(*declared, *sorted(present.difference(declared))), spec=source.spec, kind=source.kind
        )

    @functools.cached_property
    def ok(self) -> pa.Table:
        """The rows that are used."""
        used = self._has_status("ok")
        return self.table if pc.all(used, min_count=0).as_py() else self.table.filter(used)

    def ledger(self) -> list[dict[str, str]]:
        """Source, status and reason of every row that is not used."""
        rest = self.table.select(["source", "status", "reason"]).filter(pc.invert(self._has_status("ok")))
        return list(rest.to_pylist())

    def counts(self) -> dict[str, dict[str, int]]:
        """Used images by split and class, every class named; before the splits are assigned, under `all`."""
        grouped = self._used("split", "label").group_by(["split", "label"]).aggregate([([], "count_all")])
        rows = {(row["split"], row["label"]): int(row["count_all"]) for row in grouped.to_pylist()}
        present = {split for split, _ in rows}
        names: list[str | None] = [split for split in SPLITS if split in present]
        if None in present or not present:
            names.append(None)
        return {split or "all": {label: rows.get((split, label), 0) for label in self.classes} for split in names}

    def fingerprint(self) -> str:
        """32 hexadecimal digits that change when an id, label or split of a used row does; order does not matter."""
        return fingerprint(*self._used("id", "label", "split").columns)

    def leaks(self) -> int:
        """How many images are used in more than one split, byte for byte the same."""
        used = self._used("id", "split")
        images, ids = as_codes(used["id"])
        splits, names = as_codes(used["split"])
        held = np.zeros((len(ids), len(names) + 1), dtype=np.bool_)
        held[images, splits] = True  # -1, no split, is the last column
        return int(np.count_nonzero(held.sum(axis=1) > 1))

    def mark(self, failures: Mapping[str, tuple[str, str]]) -> Manifest:
        """A manifest in which the rows with these ids have the given (status, reason), unless they have a worse one.

        A copy fails like its original, and so does an image without a label.
        """
        if not failures:
            return self
        found = pc.index_in(self.table["id"], value_set=pa.array(list(failures), pa.string()))
        decodable = pc.is_in(self.table["status"], value_set=pa.array(DECODABLE))
        changed = pc.and_(decodable, pc.is_valid(found)).combine_chunks()
        which = found.combine_chunks().filter(changed)
        columns = {}
        for part, name in enumerate(("status", "reason")):
            values = pa.array([failure[part] for failure in failures.values()], pa.string())
            columns[name] = pc.replace_with_mask(self.table[name], changed, values.take(which))
        return self.replace(**columns)

    def replace(self, **columns: Sequence[object]) -> Manifest:
        """A manifest with these columns of `MANIFEST_SCHEMA` replaced, one value a row; Arrow columns as they are."""
        table = self.table
        for name, values in columns.items():
            field = MANIFEST_SCHEMA.field(name)
            if not isinstance(values, pa.Array | pa.ChunkedArray):
                values = pa.array(values, field.type)
            table = table.set_column(table.schema.get_field_index(name), field, values)
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
        statuses = self._statuses
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
        statuses = self._statuses
        if statuses["unlabelled"] and not statuses["ok"]:
            raise DataError(
                f"none of the {self.table.num_rows - statuses['stray']} images in {self.spec} has a label",
                expected="a folder for each class, or a table with the columns image_path and label",
                remedy="fill in the labels"
                if self.kind in ("table", "hf-parquet", "text-list", "metadata", "webdataset")
                else "sort the images into folders named after their classes",
            )

    def _check_bad_share(self, images: int, allow_bad: float) -> None:
        count = sum(self._statuses[status] for status in BAD_STATUSES)
        if count <= allow_bad * images:
            return
        bad = self.table.filter(pc.is_in(self.table["status"], value_set=pa.array(BAD_STATUSES)))
        listed = "".join(
            f"\n  {row['source']}: {row['status']} ({row['reason']})"
            for row in bad.select(["source", "status", "reason"]).slice(0, 5).to_pylist()
        )
        more = f"\n  and {count - 5} more" if count > 5 else ""
        share = count / images
        # The next whole percent that lets these through, and never less than a round 5 %.
        enough = next((percent for percent in (5, 10, 20, 30, 50, 75, 100) if percent / 100 >= share), 100)
        large = "; `--set data.max_pixels=N` reads larger ones" if self._statuses["too-large"] else ""
        raise BadImagesError(
            f"{count} of {images} images ({share:.1%}) cannot be used:{listed}{more}",
            expected=f"at most {allow_bad:.0%} bad images",
            remedy=f"repair or remove them, or pass `--allow-bad {enough}%` to go on without them{large}",
        )

    def _check_classes(self) -> None:
        counts = _value_counts(self._used("label")["label"])
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
            contradicting = self.table.filter(self._has_status("conflicting-labels")).select(["source", "reason"])
            remedy = "add images, or remove the class"
            if contradicting.num_rows:
                first = contradicting.slice(0, 1).to_pylist()[0]
                remedy += (
                    f"; {contradicting.num_rows} images have the same bytes as one of another class and are not used, "
                    f"such as {first['source']}: {first['reason']}"
                )
            raise DataError(
                f"too few usable images: class {listed}{more}",
                expected=f"at least {MIN_IMAGES_PER_CLASS} images a class: one image a class can be split into nothing",
                remedy=remedy,
            )

    @functools.cached_property
    def _statuses(self) -> Counter[str]:
        return _value_counts(self.table["status"])

    def _has_status(self, status: str) -> pa.ChunkedArray:
        return pc.equal(self.table["status"], status)

    def _used(self, *columns: str) -> pa.Table:
        """Some columns of the used rows, without a copy of all the others."""
        return self.table.select(list(columns)).filter(self._has_status("ok"))

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
            table = read_parquet(path)
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


def _value_counts(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({entry["values"]: entry["counts"] for entry in column.value_counts().to_pylist()})
