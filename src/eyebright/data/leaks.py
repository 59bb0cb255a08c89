"""Leaks: images of one split that belong together with images of another.

Eyebright's own division makes none. They come from splits that the data brings: the same photo in train and test, or
a near-duplicate, or another image of the user's group.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.data.codes import as_codes
from eyebright.data.manifest import Manifest
from eyebright.data.sources.base import SPLITS, Split

LEAK_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("group", pa.string()),  # of `assign_splits`; the id where the manifest has none
        ("also_in", pa.string()),  # the first of train, val, test that is another split and holds an image of the group
        ("same_bytes", pa.bool_()),  # whether another split holds the very same image
    ]
)


def leaked(manifest: Manifest) -> pa.Table:
    """The used rows whose group has rows in another split too; columns of `LEAK_SCHEMA`, in the manifest's order.

    Args:
        manifest: as `assign_splits` gives it. Without groups, only images of the same bytes belong together.
    """
    used = manifest.ok.select(["id", "source", "split", "group"])
    keys = pc.coalesce(used["group"], used["id"])
    splits, names = as_codes(used["split"])
    rank = np.array([*(SPLITS.index(name) for name in names.to_pylist()), -1])[splits]
    assigned = rank >= 0
    elsewhere = _splits_of(as_codes(keys)[0], rank, assigned)
    elsewhere[np.flatnonzero(assigned), rank[assigned]] = False
    rows = np.flatnonzero(assigned & elsewhere.any(axis=1))
    twins = _splits_of(as_codes(used["id"])[0], rank, assigned)[rows]
    twins[np.arange(len(rows)), rank[rows]] = False
    table = used.set_column(used.schema.get_field_index("group"), "group", keys).take(pa.array(rows))
    also_in = pa.array(SPLITS).take(pa.array(elsewhere[rows].argmax(axis=1)))
    table = table.append_column("also_in", also_in).append_column("same_bytes", pa.array(twins.any(axis=1)))
    return table.cast(LEAK_SCHEMA)


def leaked_ids(manifest: Manifest, split: Split = "test") -> list[str]:
    """Ids of the used images of `split` whose group has images in another split too, each once."""
    table = leaked(manifest)
    return list(pc.unique(table["id"].filter(pc.equal(table["split"], split))).to_pylist())


def _splits_of(
    codes: npt.NDArray[np.int64], rank: npt.NDArray[np.int64], assigned: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which splits hold a row of the same code, bool (N, 3)."""
    held = np.zeros((int(codes.max(initial=-1)) + 1, len(SPLITS)), dtype=np.bool_)
    held[codes[assigned], rank[assigned]] = True
    return held[codes]
