"""Properties of the scored images that a classifier may depend on: size, light, sharpness, compression.

They are those of the audit (`data.audit.properties`), reduced to one number each, and are kept with a run, so that
slices can be cut without the images.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.atomic import replacing_file
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.quality import relative_sharpness
from eyebright.data.parquet import read_parquet
from eyebright.errors import CorruptBundleError, ForeignBundleError
from eyebright.evaluation.intervals import Floats
from eyebright.evaluation.slices import SliceColumn, number_column

PROPERTIES_FILE = "properties.parquet"


class Property(NamedTuple):
    """A property of an image: its name, its name in a sentence, and its unit."""

    name: str
    title: str
    unit: str = ""


PROPERTIES = (
    Property("shortest_side", "shortest side", "pixels"),
    Property("aspect", "width by height"),
    Property("bytes_per_pixel", "file size", "bytes a pixel"),
    Property("jpeg_quality", "JPEG quality"),
    Property("brightness", "brightness"),  # 0 black to 1 white
    Property("contrast", "contrast"),  # standard deviation of luma, 0 to 0.5
    Property("sharpness", "sharpness"),  # of the edges, for the contrast: see `audit.quality.relative_sharpness`
    Property("saturation", "saturation"),  # 0 grey to 1
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageProperties:
    """Properties of N images.

    Attributes:
        ids: content ids, each once.
        values: one column for each of `PROPERTIES`, float64 (N,); NaN where an image lacks a property, as a PNG lacks
            a JPEG quality.
    """

    ids: tuple[str, ...]
    values: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self, ids: Sequence[str]) -> list[SliceColumn]:
        """The properties of these images, cut into bins; what is the same for all of them is left out.

        Images that were not measured belong to no part.
        """
        row_of = {image: row for row, image in enumerate(self.ids)}
        rows = np.array([row_of.get(image, -1) for image in ids], dtype=np.int64)
        known = rows >= 0
        found = []
        for one in PROPERTIES:
            numbers = np.full(len(rows), np.nan)
            numbers[known] = self.values[one.name][rows[known]]
            column = number_column(one.name, numbers, title=one.title, unit=one.unit)
            if column is not None:
                codes = np.where(known, column.codes, -1)
                found.append(dataclasses.replace(column, codes=codes))
        return found

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as Parquet, whole or not at all."""
        table = pa.table({"id": pa.array(self.ids, pa.string()), **{name: self.values[name] for name in self.values}})
        with replacing_file(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ImageProperties:
        """Read what `write` wrote.

        Raises:
            ForeignBundleError: there is no such file, or it holds something else.
            CorruptBundleError: it is damaged.
        """
        try:
            table = read_parquet(path)
        except FileNotFoundError:
            raise ForeignBundleError(f"{os.fspath(path)} does not exist", expected="properties of images") from None
        except (pa.ArrowException, OSError) as error:
            raise CorruptBundleError(f"{os.fspath(path)} cannot be read: {error}", expected="a Parquet file") from error
        names = [one.name for one in PROPERTIES]
        if table.schema.names != ["id", *names]:
            raise ForeignBundleError(
                f"{os.fspath(path)} has the columns {', '.join(table.schema.names)}",
                expected=f"id, {', '.join(names)}",
                remedy="delete the file: it is made again from the images",
            )
        ids = tuple(table["id"].to_pylist())
        return cls(ids=ids, values={name: table[name].to_numpy().astype(np.float64) for name in names})


def properties_of(evidence: Evidence) -> ImageProperties:
    """One number for each property of each image, from what the audit measures of it."""
    width, height = evidence.column("width"), evidence.column("height")
    first: dict[str, int] = {}
    for row, image in enumerate(evidence.ids):
        first.setdefault(image, row)
    rows = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    values = {
        "shortest_side": np.minimum(width, height),
        "aspect": width / height,
        "bytes_per_pixel": evidence.column("bytes") / (width * height),
        "jpeg_quality": evidence.column("jpeg_quality"),
        "brightness": evidence.column("brightness"),
        "contrast": evidence.column("contrast"),
        "sharpness": relative_sharpness(evidence),
        "saturation": evidence.column("saturation"),
    }
    return ImageProperties(ids=tuple(first), values={one.name: values[one.name][rows] for one in PROPERTIES})
