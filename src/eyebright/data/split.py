"""Which image goes to train, val and test.

An image's split is a function of its component and the seed alone. Images that share bytes, a group of the user's or a
link belong to one component, also in chains, and stay together; an image without any of these is one of its own. A
component lies at a position in [0, 1) (`eyebright.data.components`), and the shares cut that interval: test lowest,
then val, then train.

- Adding, removing or reordering images moves no image outside their own component.
- A component lies at the largest of the positions that its keys (groups, and ids of images without one) would have
  alone. An added image can therefore move its component from test towards train, never from train towards test: what
  a model has learnt from never becomes what it is tested on. An image that is removed can do the opposite.
- The column `group` names the component after the key at that position: `split_by_hash(group, seed, cuts)` gives the
  split again.

Splits that the data brings are respected; what is missing is carved from train.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eyebright.config import SplitShares
from eyebright.data.codes import as_mask
from eyebright.data.components import Links, find_components, position
from eyebright.data.leaks import leaked
from eyebright.data.manifest import Manifest
from eyebright.data.sources.base import SPLITS, Split

Cuts = list[tuple[Split, float]]

# Rows that hold their component together. An image that an added one sets aside (a copy under another label) is still
# a member: leaving would change the splits of the others.
_MEMBERS = ("ok", "duplicate", "conflicting-labels", "unlabelled")
# The order of the parts of [0, 1).
_ORDER: tuple[Split, ...] = ("test", "val", "train")


def assign_splits(
    manifest: Manifest, shares: SplitShares, seed: int, *, links: Links = ()
) -> tuple[Manifest, list[str]]:
    """Give every used row a group and a split.

    Where the data brings splits, they stay, also when they cut a component (a leak, see `eyebright.data.leaks`). An
    image without a split then joins its component: in train if any of it is there, else in val, else in test.

    Args:
        manifest: rows whose `split` is null, or as the data brings it.
        shares: of the images (not of the groups) to expect in each split, where the data brings none.
        seed: another seed gives another division.
        links: pairs of ids (L, 2) that belong together, such as near-duplicates; a pair with an id that the manifest
            does not hold as a readable image joins nothing.

    Returns:
        The manifest with `group` and `split` filled, and notes that a user should see, one line each.
    """
    table = manifest.table
    used = as_mask(pc.equal(table["status"], "ok"))
    members = np.flatnonzero(as_mask(pc.is_in(table["status"], value_set=pa.array(_MEMBERS))))
    picked = table.select(["id", "group"]).take(pa.array(members))
    assert picked["id"].null_count == 0, "an image that was read has an id"
    components = find_components(picked["id"], picked["group"], links, seed)
    component = np.full(table.num_rows, -1, dtype=np.int64)
    component[members] = components.of_row

    given = _ranks(table["split"])
    brought = {_ORDER[rank] for rank in np.unique(given[used & (given >= 0)])}
    fresh = _cuts(shares)
    carved, notes = _carving(brought, shares)
    unassigned = int(np.count_nonzero(used & (given < 0)))
    if brought and unassigned:
        notes.append(f"{unassigned} images without a split were divided {_percentages(fresh)}")

    home = _homes(component[used], given[used], len(components.names))
    ranks = _by_position(components.positions, fresh)[component[used]]
    ranks = np.where(home >= 0, home, ranks)
    if carved:
        from_train = _by_position(components.positions, carved)[component[used]]
        ranks = np.where(home == _ORDER.index("train"), from_train, ranks)
    held = np.zeros((len(components.names), len(_ORDER)), dtype=np.bool_)
    held[component[used], ranks] = True
    torn = bool((held.sum(axis=1) > 1).any())
    given[used] = ranks
    splits = pa.array(_ORDER).take(pa.array(given, mask=given < 0))
    # Rows that are neither used nor a copy of one keep the user's group.
    keeps = as_mask(pc.is_in(table["status"], value_set=pa.array(["ok", "duplicate"])))
    named = components.names.take(pa.array(component, mask=component < 0))
    divided = manifest.replace(group=pc.if_else(pa.array(keeps), named, table["group"]), split=splits)
    return divided, notes + _gaps(divided) + (_leaks(divided, linked=len(links) > 0) if torn else [])


def split_by_hash(group: str, seed: int, cuts: Cuts) -> Split:
    """The split in whose part of [0, 1) the hash of `seed` and `group` falls.

    Args:
        group: name of the group.
        seed: any integer.
        cuts: splits in order with their shares, which sum to one.
    """
    return _ORDER[int(_by_position(np.array([position(group, seed)]), cuts)[0])]


def _ranks(splits: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Index in `_ORDER`, -1 where there is no split."""
    return np.asarray(pc.index_in(splits, value_set=pa.array(_ORDER)).fill_null(-1)).astype(np.int64)


def _by_position(positions: npt.NDArray[np.float64], cuts: Cuts) -> npt.NDArray[np.int64]:
    """Index in `_ORDER` of the split in whose part each position lies."""
    upper = np.cumsum([share for _, share in cuts[:-1]])
    parts = np.array([_ORDER.index(split) for split, _ in cuts])
    return parts[np.searchsorted(upper, positions, side="right")]


def _homes(component: npt.NDArray[np.int64], given: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The given split of each row, or else that of its component, or -1."""
    of_component = np.full(count, -1)
    np.maximum.at(of_component, component, given)
    return np.where(given >= 0, given, of_component[component])


def _cuts(shares: SplitShares) -> Cuts:
    return [("test", shares.test), ("val", shares.val), ("train", shares.train)]


def _carving(brought: set[str], shares: SplitShares) -> tuple[Cuts, list[str]]:
    """How to divide the rows that the data calls train, and a note about it."""
    if "train" not in brought or {"val", "test"} <= brought:
        return [], []
    if brought == {"train"}:
        return _cuts(shares), [f"the data has a train split only: it was divided {_percentages(_cuts(shares))}"]
    missing: Split = "val" if "val" not in brought else "test"
    part = shares.val if missing == "val" else shares.test
    share = part / (shares.train + part)
    return (
        [(missing, share), ("train", 1 - share)],
        [f"the data has no {missing} split: {share:.0%} of its train split was taken for it"],
    )


def _percentages(cuts: Cuts) -> str:
    by_name = dict(cuts)
    return " / ".join(f"{by_name[split]:.0%} {split}" for split in SPLITS)


def _gaps(manifest: Manifest) -> list[str]:
    """Notes about splits without images of a class."""
    notes = []
    counts = manifest.counts()
    for split in SPLITS:
        empty = [name for name, count in counts.get(split, {}).items() if count == 0]
        if split not in counts:
            notes.append(f"the {split} split is empty")
        elif empty:
            names = ", ".join(repr(name) for name in empty[:5]) + (f" and {len(empty) - 5} more" if empty[5:] else "")
            notes.append(f"class {names} got no {split} image")
    return notes


def _leaks(manifest: Manifest, *, linked: bool) -> list[str]:
    """Notes about images of one split that belong with images of another."""
    notes = []
    copies = manifest.leaks()
    if copies:
        notes.append(
            f"{copies} images are in more than one split, as the data gives them: the test figures are too good"
        )
    table = leaked(manifest)
    held_out = pc.and_(pc.not_equal(table["split"], "train"), pc.invert(table["same_bytes"]))
    related = int(pc.sum(held_out, min_count=0).as_py())
    if related:
        reason = "a near-duplicate or an image of the same group" if linked else "an image of the same group"
        notes.append(
            f"{related} images of val and test have {reason} in another split, as the data gives them: "
            "the test figures are too good"
        )
    return notes
