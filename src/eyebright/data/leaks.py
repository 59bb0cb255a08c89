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
    used = manifest.table.select(["status", "id", "source", "split", "group"])
    used = used.filter(pc.and_(pc.equal(used["status"], "ok"), pc.is_valid(used["split"])))
    keys = pc.coalesce(used["group"], used["id"])
    splits, names = as_codes(used["split"])
    rank = np.array([SPLITS.index(name) for name in names.to_pylist()], dtype=np.int64)[splits]
    elsewhere = _other_splits(keys, rank)
    rows = np.flatnonzero(elsewhere.any(axis=1))
    if not len(rows):
        return LEAK_SCHEMA.empty_table()
    same_bytes = _other_splits(used["id"], rank)[rows].any(axis=1)
    columns = {
        **{name: used[name].take(pa.array(rows)) for name in ("id", "source", "split")},
        "group": keys.take(pa.array(rows)),
        "also_in": pa.array(SPLITS).take(pa.array(elsewhere[rows].argmax(axis=1))),
        "same_bytes": pa.array(same_bytes),
    }
    return pa.table(columns, schema=LEAK_SCHEMA)


def leaked_ids(manifest: Manifest, split: Split = "test") -> list[str]:
    """Ids of the used images of `split` whose group has images in another split too, each once."""
    table = leaked(manifest)
    return list(pc.unique(table["id"].filter(pc.equal(table["split"], split))).to_pylist())


def _other_splits(keys: pa.ChunkedArray, rank: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which splits but its own hold a row of the same key, bool (N, 3)."""
    codes, values = as_codes(keys)
    held = np.zeros((len(values), len(SPLITS)), dtype=np.bool_)
    held[codes, rank] = True
    others = held[codes]
    others[np.arange(len(rank)), rank] = False
    return others
