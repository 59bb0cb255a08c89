"""Properties of the split, over random data sets; the shares are checked against the binomial distribution."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from eyebright.config import SplitShares
from eyebright.data.manifest import MANIFEST_SCHEMA, Manifest
from eyebright.data.split import assign_splits

Row = tuple[str, str, str | None, str | None]  # id, label, group, split
SHARES = SplitShares(train=0.7, val=0.15, test=0.15)


def manifest_of(rows: list[Row]) -> Manifest:
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in MANIFEST_SCHEMA.names}
    columns["id"], columns["label"], columns["group"], columns["split"] = (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]
    )
    columns["source"] = [str(n) for n in range(len(rows))]
    columns["status"] = ["ok"] * len(rows)
    columns["weight"] = [1.0] * len(rows)
    classes = sorted({label for _, label, _, _ in rows})
    return Manifest(pa.table(columns, schema=MANIFEST_SCHEMA), classes=classes, spec="test", kind="folder")


def splits_of(rows: list[Row], shares: SplitShares = SHARES, seed: int = 0) -> list[str]:
    divided, _ = assign_splits(manifest_of(rows), shares, seed)
    return list(divided.table["split"].to_pylist())


def plain_rows(count: int, split: str | None = None) -> list[Row]:
    return [(f"{n:032x}", "ab"[n % 2], None, split) for n in range(count)]


names = st.text("0123456789abcdef", min_size=1, max_size=3)
row_lists = st.lists(
    st.tuples(names, st.sampled_from("ab"), st.none() | st.sampled_from("PQRST"), st.none()), min_size=1, max_size=40
)


@given(rows=row_lists, seed=st.integers(0, 5), order=st.randoms())
@settings(max_examples=60, deadline=None)
def test_order_does_not_matter(rows: list[Row], seed: int, order: Any) -> None:
    before = dict(zip(rows, splits_of(rows, seed=seed), strict=True))
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert dict(zip(shuffled, splits_of(shuffled, seed=seed), strict=True)) == before


@given(rows=row_lists, seed=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_groups_and_copies_stay_whole(rows: list[Row], seed: int) -> None:
    splits = splits_of(rows, seed=seed)
    by_link = defaultdict(set)
    for (image, _, group, _), split in zip(rows, splits, strict=True):
        by_link["id", image].add(split)
        if group is not None:
            by_link["group", group].add(split)
    assert all(len(several) == 1 for several in by_link.values())
    assert set(splits) <= {"train", "val", "test"}


@given(old=st.sets(st.integers(0, 10**6), min_size=1, max_size=60), new=st.sets(st.integers(0, 10**6), max_size=60))
@settings(max_examples=60, deadline=None)
def test_adding_images_moves_none(old: set[int], new: set[int]) -> None:
    def rows(numbers: set[int]) -> list[Row]:
        # A third of the images belong to groups, so that old groups grow too.
        return [(f"{n:032x}", "ab"[n % 2], f"g{n % 7}" if n % 3 == 0 else None, None) for n in sorted(numbers)]

    before = {row[0]: split for row, split in zip(rows(old), splits_of(rows(old)), strict=True)}
    everything = rows(old | new)
    after = {row[0]: split for row, split in zip(everything, splits_of(everything), strict=True)}
    assert {image: after[image] for image in before} == before


def test_shares_hold_in_every_class_within_chance() -> None:
    rows = plain_rows(4000)
    for seed in range(3):
        splits = splits_of(rows, seed=seed)
        for label in "ab":
            mine = [split for row, split in zip(rows, splits, strict=True) if row[1] == label]
            for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
                # Three seeds, two classes, three splits: one in a million for each leaves no room for luck.
                low, high = binom.interval(1 - 1e-6, len(mine), share)
                assert low <= mine.count(split) <= high


def test_another_seed_gives_another_split() -> None:
    assert splits_of(plain_rows(200), seed=0) != splits_of(plain_rows(200), seed=1)


def test_the_division_is_the_same_in_every_version() -> None:
    # Recorded once (r for train, a for val, e for test): users compare runs of different versions on the same images.
    assert "".join(split[1] for split in splits_of(plain_rows(24))) == "rrrrrererrerrrrrrrrrearr"


def test_given_splits_are_respected() -> None:
    rows = [*plain_rows(30, "train"), *[(f"v{n}", "a", None, "val") for n in range(5)]]
    rows += [(f"t{n}", "b", None, "test") for n in range(5)]
    assert splits_of(rows) == [row[3] for row in rows]


def test_a_missing_validation_split_is_carved_from_train() -> None:
    rows = [*plain_rows(2000, "train"), *[(f"t{n}", "ab"[n % 2], None, "test") for n in range(300)]]
    divided, notes = assign_splits(manifest_of(rows), SHARES, 0)
    splits = divided.table["split"].to_pylist()
    assert splits[2000:] == ["test"] * 300
    low, high = binom.interval(1 - 1e-6, 2000, 0.15 / 0.85)
    assert low <= splits.count("val") <= high
    assert splits[:2000].count("test") == 0
    assert any("no val split" in note for note in notes)


def test_a_missing_test_split_is_carved_from_train_and_said() -> None:
    rows = [*plain_rows(500, "train"), *[(f"v{n}", "ab"[n % 2], None, "val") for n in range(50)]]
    divided, notes = assign_splits(manifest_of(rows), SHARES, 0)
    splits = divided.table["split"].to_pylist()
    assert splits[500:] == ["val"] * 50
    assert set(splits[:500]) == {"train", "test"}
    assert any("no test split" in note for note in notes)


def test_train_alone_is_divided_in_three() -> None:
    divided, notes = assign_splits(manifest_of(plain_rows(300, "train")), SHARES, 0)
    assert set(divided.table["split"].to_pylist()) == {"train", "val", "test"}
    assert any("train split only" in note for note in notes)


def test_carving_keeps_groups_whole() -> None:
    rows: list[Row] = [(f"{n}", "ab"[n % 2], f"g{n // 10}", "train") for n in range(300)]
    rows += [(f"t{n}", "a", None, "test") for n in range(10)]
    splits = splits_of(rows)
    for group in range(30):
        assert len(set(splits[group * 10 : group * 10 + 10])) == 1


def test_rows_without_a_split_join_their_group() -> None:
    rows: list[Row] = [
        ("1", "a", "g", "test"),
        ("2", "a", "g", None),
        ("3", "b", None, "train"),
        ("4", "b", None, "val"),
    ]
    assert splits_of(rows) == ["test", "test", "train", "val"]


def test_only_a_test_split_is_left_alone() -> None:
    assert splits_of(plain_rows(5, "test")) == ["test"] * 5


def test_gaps_and_leaks_are_noted() -> None:
    rows: list[Row] = [("1", "a", None, "train"), ("2", "b", None, "train"), ("1", "a", None, "test")]
    rows.append(("3", "a", None, "val"))
    _, notes = assign_splits(manifest_of(rows), SHARES, 0)
    assert "class 'b' got no val image" in notes
    assert "class 'b' got no test image" in notes
    assert any(note.startswith("1 images are in more than one split") for note in notes)
