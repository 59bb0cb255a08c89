"""What the checks of an audit look at: the readable images, one entry each, with what was measured on them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.audit.findings import ImageRef
from eyebright.data.manifest import Manifest

# Rows of these statuses can be decoded; a `duplicate` has the same bytes as a row that is looked at anyway.
READABLE = ("ok", "conflicting-labels", "unlabelled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Entry i of every attribute is about the same image: a row of the manifest that can be decoded.

    Attributes:
        manifest: all rows, unreadable ones and strays included.
        ids: content ids. Rows with the same bytes under two labels or in two splits have the same id.
        sources: where each image is.
        labels: object array (N,) of text, None where there is no label.
        splits: object array (N,) of `train`, `val`, `test`, or None where the data brings no split.
        groups: object array (N,) of the user's groups, or None.
        properties: table of N rows with the columns of `properties.PROPERTIES_SCHEMA`.
        embeddings: float32 (N, F), rows of length one; None in the short form of the audit.
    """

    manifest: Manifest
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    labels: npt.NDArray[np.object_]
    splits: npt.NDArray[np.object_]
    groups: npt.NDArray[np.object_]
    properties: pa.Table
    embeddings: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def ref(self, index: int, note: str = "") -> ImageRef:
        """The image at `index`, for an example."""
        return ImageRef(self.ids[index], self.sources[index], self.labels[index], self.splits[index], note)

    def label_index(self) -> npt.NDArray[np.int64]:
        """Class index of every image, int64 (N,); -1 where there is no label."""
        position = {name: number for number, name in enumerate(self.manifest.classes)}
        return np.array([-1 if label is None else position[label] for label in self.labels], dtype=np.int64)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """A numeric property, float64 (N,), NaN where it is not known."""
        return np.asarray(self.properties[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def gather_evidence(manifest: Manifest, properties: pa.Table) -> Evidence:
    """The readable rows of a manifest with their properties.

    Args:
        manifest: with those images marked that do not decode.
        properties: one row for each readable id, as `probe_images` gives them.
    """
    readable = manifest.table.filter(pc.is_in(manifest.table["status"], value_set=pa.array(READABLE)))
    return Evidence(
        manifest=manifest,
        ids=tuple(readable["id"].to_pylist()),
        sources=tuple(readable["source"].to_pylist()),
        labels=_objects(readable["label"]),
        splits=_objects(readable["split"]),
        groups=_objects(readable["group"]),
        properties=properties.take(pc.index_in(readable["id"], value_set=properties["id"].combine_chunks())),
    )


def _objects(column: Any) -> npt.NDArray[np.object_]:
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values
