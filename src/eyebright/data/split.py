"""Which image goes to train, val and test.

An image's split is a function of its group and the seed alone: a hash of both gives a number in [0, 1), and the shares
cut that interval. Adding, removing or reordering images therefore moves none of the others. Splits that the data brings
are respected; what is missing is carved from train.

Images that share bytes or a group of the user's belong together, also in chains; a chain is named after the smallest
group of the user's in it, or after the image's id when there is none. Only an image that joins two groups can move one.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from eyebright.config import SplitShares
from eyebright.data.manifest import Manifest
from eyebright.data.sources.base import SPLITS, Split


def assign_splits(manifest: Manifest, shares: SplitShares, seed: int) -> tuple[Manifest, list[str]]:
    """Give every used row a group and a split.

    Args:
        manifest: rows whose `split` is null, or as the data brings it.
        shares: of the images (not of the groups) to expect in each split, where the data brings none.
        seed: another seed gives another division.

    Returns:
        The manifest with `group` and `split` filled, and notes that a user should see, one line each.
    """
    statuses = manifest.table["status"].to_pylist()
    given = manifest.table["split"].to_pylist()
    groups = _connect(manifest)
    used = [status == "ok" for status in statuses]
    brought = {split for split, ok in zip(given, used, strict=True) if ok and split is not None}
    carved, notes = _carving(brought, shares)
    unassigned = sum(1 for split, ok in zip(given, used, strict=True) if ok and split is None)
    if brought and unassigned:
        notes.append(f"{unassigned} images without a split were divided {_percentages(_cuts(shares))}")
    fresh = _cuts(shares)
    # An image without a split joins the split of its group where the data gives that one.
    split_of_group: dict[str, Split] = {}
    for group, split, ok in zip(groups, given, used, strict=True):
        if ok and group is not None and split is not None and split_of_group.get(group) != "train":
            split_of_group[group] = split
    splits: list[str | None] = list(given)
    for row, ok in enumerate(used):
        group = groups[row]
        if not ok or group is None:
            continue
        home = given[row] or split_of_group.get(group)
        if home is None:
            splits[row] = split_by_hash(group, seed, fresh)
        elif home == "train" and carved:
            splits[row] = split_by_hash(group, seed, carved)
        else:
            splits[row] = home
    divided = manifest.replace(group=groups, split=splits)
    return divided, notes + _gaps(divided)


def split_by_hash(group: str, seed: int, cuts: list[tuple[Split, float]]) -> Split:
    """The split in whose part of [0, 1) the hash of `seed` and `group` falls.

    Args:
        group: name of the group.
        seed: any integer.
        cuts: splits in order with their shares, which sum to one.
    """
    digest = hashlib.blake2b(f"{seed}\n{group}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "big") / 2**64
    upper = 0.0
    for split, share in cuts[:-1]:
        upper += share
        if position < upper:
            return split
    return cuts[-1][0]


def _cuts(shares: SplitShares) -> list[tuple[Split, float]]:
    return [("test", shares.test), ("val", shares.val), ("train", shares.train)]


def _carving(brought: set[str], shares: SplitShares) -> tuple[list[tuple[Split, float]], list[str]]:
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


def _percentages(cuts: list[tuple[Split, float]]) -> str:
    by_name = dict(cuts)
    return " / ".join(f"{by_name[split]:.0%} {split}" for split in SPLITS)


def _connect(manifest: Manifest) -> list[str | None]:
    """The group of every row that is used or a duplicate of one; other rows keep theirs.

    Union-find over the user's groups; ids are the edges.
    """
    ids = manifest.table["id"].to_pylist()
    named = manifest.table["group"].to_pylist()
    statuses = manifest.table["status"].to_pylist()
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    group_of_id: dict[str, str] = {}
    linked = [status in ("ok", "duplicate") for status in statuses]
    for image, group, counts in zip(ids, named, linked, strict=True):
        if not counts or group is None:
            continue
        one, other = root(group), root(group_of_id.setdefault(image, group))
        # The smallest name is the root, so that it does not depend on the order of the rows.
        parent[max(one, other)] = min(one, other)
    return [
        (root(group_of_id[image]) if image in group_of_id else image) if counts else group
        for image, group, counts in zip(ids, named, linked, strict=True)
    ]


def _gaps(manifest: Manifest) -> list[str]:
    """Notes about splits without images of a class, and about images in two splits."""
    notes = []
    counts = manifest.counts()
    for split in SPLITS:
        empty = [name for name, count in counts.get(split, Counter()).items() if count == 0]
        if split not in counts:
            notes.append(f"the {split} split is empty")
        elif empty:
            names = ", ".join(repr(name) for name in empty[:5]) + (f" and {len(empty) - 5} more" if empty[5:] else "")
            notes.append(f"class {names} got no {split} image")
    leaks = manifest.leaks()
    if leaks:
        notes.append(
            f"{leaks} images are in more than one split, as the data gives them: the test figures are too good"
        )
    return notes
