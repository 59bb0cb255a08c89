"""Properties of the split, over random data sets; the shares are checked against the binomial distribution."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from eyebright.config import SplitShares
from eyebright.data.duplicates import resolve_labels_and_duplicates
from eyebright.data.manifest import MANIFEST_SCHEMA, Manifest
from eyebright.data.sources import open_source
from eyebright.data.split import assign_splits, split_by_hash

Link = tuple[str, str]
Row = tuple[str, str, str | None, str | None]  # id, label, group, split
SHARES = SplitShares(train=0.7, val=0.15, test=0.15)
EVEN = SplitShares(train=0.34, val=0.33, test=0.33)  # so that small examples reach every split
UPWARDS = ("test", "val", "train")
CUTS = [("test", 0.33), ("val", 0.33), ("train", 0.34)]
# A deviation that this unlikely is a fault: with n independent images of a class and a share p, the number of them in
# a split is binomial (n, p); both tails beyond the bounds together hold this probability.
UNLIKELY = 1e-9


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


def components_of(rows: list[Row], links: list[Link]) -> list[frozenset[Row]]:
    """The rows that belong together with each row, by joining overlapping sets until none overlap."""
    sets = [{("id", image)} | ({("group", group)} if group is not None else set()) for image, _, group, _ in rows]
    known = {image for image, *_ in rows}
    sets += [{("id", one), ("id", other)} for one, other in links if {one, other} <= known]
    joined: list[set[tuple[str, str]]] = []
    for nodes in sets:
        touching = [other for other in joined if other & nodes]
        joined = [other for other in joined if not other & nodes] + [nodes.union(*touching)]
    place = {node: number for number, nodes in enumerate(joined) for node in nodes}
    members = defaultdict(set)
    for row in rows:
        members[place["id", row[0]]].add(row)
    return [frozenset(members[place["id", row[0]]]) for row in rows]


def used_after_resolving(
    rows: list[Row], links: list[Link], seed: int
) -> tuple[dict[Row, tuple[str, str]], dict[Row, frozenset[Row]]]:
    """(split, group) of every row that is used when copies and contradictions are set aside; and its component."""
    manifest = manifest_of(rows)
    resolved = resolve_labels_and_duplicates(manifest.table)
    manifest = Manifest(resolved, classes=manifest.classes, spec="test", kind="folder")
    table = assign_splits(manifest, EVEN, seed, links=links)[0].table
    facts = zip(rows, *(table[name].to_pylist() for name in ("status", "split", "group")), strict=True)
    used = {row: (split, group) for row, status, split, group in facts if status == "ok"}
    return used, dict(zip(rows, components_of(rows, links), strict=True))


names = st.text("0123456789abcdef", min_size=1, max_size=3)
groups = st.none() | st.sampled_from("PQRST")
row_lists = st.lists(st.tuples(names, st.sampled_from("ab"), groups, st.none()), min_size=1, max_size=40)
few_names = st.integers(0, 40).map(str)
# Nearly always the same label for the same image; a contradiction sets all copies of it aside.
linked_rows = st.lists(
    st.tuples(few_names, st.sampled_from("aaaaaaaab"), groups, st.none()), min_size=1, max_size=40, unique=True
)
link_lists = st.lists(st.tuples(few_names, few_names), max_size=12)


@given(rows=row_lists, seed=st.integers(0, 5), order=st.randoms())
@settings(max_examples=60, deadline=None)
def test_order_does_not_matter(rows: list[Row], seed: int, order: Any) -> None:
    before = dict(zip(rows, splits_of(rows, seed=seed), strict=True))
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert dict(zip(shuffled, splits_of(shuffled, seed=seed), strict=True)) == before


@given(rows=linked_rows, links=link_lists, seed=st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_what_belongs_together_stays_together(rows: list[Row], links: list[Link], seed: int) -> None:
    table = assign_splits(manifest_of(rows), EVEN, seed, links=links)[0].table
    splits, groups = table["split"].to_pylist(), table["group"].to_pylist()
    assert set(splits) <= {"train", "val", "test"}
    components = components_of(rows, links)
    by_component = defaultdict(set)
    for component, split, group in zip(components, splits, groups, strict=True):
        by_component[component].add((split, group))
    assert all(len(several) == 1 for several in by_component.values())
    # And nothing else is joined: every component has a name of its own, from which its split follows.
    assert len({group for several in by_component.values() for _, group in several}) == len(by_component)
    assert all(split_by_hash(group, seed, CUTS) == split for split, group in zip(splits, groups, strict=True))


@given(
    rows=linked_rows,
    links=link_lists,
    data=st.data(),
    seed=st.integers(0, 5),
)
@settings(max_examples=300, deadline=None)
def test_only_members_move_an_image_and_additions_never_towards_test(
    rows: list[Row], links: list[Link], data: st.DataObject, seed: int
) -> None:
    fewer = data.draw(st.lists(st.sampled_from(rows), unique=True))
    before, old_components = used_after_resolving(fewer, links, seed)
    after, new_components = used_after_resolving(rows, links, seed)
    splits_before, splits_after = ({row[0]: split for row, (split, _) in rows.items()} for rows in (before, after))
    for image in splits_before.keys() & splits_after.keys():
        assert UPWARDS.index(splits_after[image]) >= UPWARDS.index(splits_before[image])
    for row in before.keys() & after.keys():
        # From `before` to `after` images were added, the other way round they were removed.
        if old_components[row] == new_components[row]:
            assert before[row] == after[row]


def test_an_added_image_can_move_its_near_duplicates_to_train_only() -> None:
    splits = {str(n): split_by_hash(str(n), 0, CUTS) for n in range(200)}
    tested = next(image for image, split in splits.items() if split == "test")
    for image, split in splits.items():
        rows: list[Row] = [(tested, "a", None, None), (image, "a", None, None)]
        table = assign_splits(manifest_of(rows), EVEN, 0, links=[(tested, image)])[0].table
        # Together they lie where the upper of the two lies.
        assert table["split"].to_pylist() == [split, split]


def test_a_contradicting_copy_does_not_send_the_others_to_test() -> None:
    splits = {str(n): split_by_hash(str(n), 0, CUTS) for n in range(50)}
    low, high = (next(image for image, split in splits.items() if split == name) for name in ("test", "train"))
    rows: list[Row] = [(low, "a", None, None), (high, "a", None, None)]
    before, _ = used_after_resolving(rows, [(low, high)], 0)
    after, _ = used_after_resolving([*rows, (high, "b", None, None)], [(low, high)], 0)
    # Its near-duplicate is set aside, because nobody knows its label; the image itself stays where it was learnt from.
    assert list(after) == rows[:1]
    assert after[rows[0]] == before[rows[0]] == ("train", high)


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


def assert_stratified(labels: list[str], splits: list[str], shares: SplitShares) -> None:
    """Every class has its share in every split, within the binomial bounds of `UNLIKELY`."""
    for label in set(labels):
        mine = [split for name, split in zip(labels, splits, strict=True) if name == label]
        for split, share in (("train", shares.train), ("val", shares.val), ("test", shares.test)):
            low = binom.ppf(UNLIKELY / 2, len(mine), share)
            high = binom.isf(UNLIKELY / 2, len(mine), share)
            assert low <= mine.count(split) <= high


@given(
    counts=st.lists(st.integers(1, 600), min_size=2, max_size=4),
    seed=st.integers(0, 2**32),
    train=st.sampled_from([0.5, 0.7, 0.8]),
)
@settings(max_examples=60, deadline=None)
def test_shares_hold_in_every_class_within_chance(counts: list[int], seed: int, train: float) -> None:
    labels = [name for name, count in zip("abcd", counts, strict=False) for _ in range(count)]
    rows: list[Row] = [(f"{n:032x}", label, None, None) for n, label in enumerate(labels)]
    shares = SplitShares(train=train, val=0.9 - train, test=0.1)
    assert_stratified(labels, splits_of(rows, shares, seed), shares)


@pytest.mark.parametrize("name", ["flowers", "trashnet"])
def test_shares_hold_in_every_class_of_real_sets(shared_data: Path, name: str) -> None:
    manifest = Manifest.scan(open_source(shared_data / name))
    assert manifest.ok.num_rows > 2000
    for seed in range(5):
        used = assign_splits(manifest, SHARES, seed)[0].ok
        assert_stratified(used["label"].to_pylist(), used["split"].to_pylist(), SHARES)


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


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_without_a_split_join_the_train_part_of_a_torn_group(reverse: bool) -> None:
    rows: list[Row] = [
        (str(n), "a", "g", split) for n, split in enumerate(["test", None, "train", "val", None, "test"])
    ]
    rows = rows[::-1] if reverse else rows
    expected = {str(n): split for n, split in enumerate(["test", "train", "train", "val", "train", "test"])}
    assert splits_of(rows) == [expected[row[0]] for row in rows]
    without_train = [row for row in rows if row[3] != "train"]
    assert splits_of(without_train)[[row[0] for row in without_train].index("1")] == "val"


def test_links_hold_across_given_splits() -> None:
    rows: list[Row] = [
        ("1", "a", None, "train"),
        ("2", "a", None, "test"),
        ("3", "b", None, "val"),
        ("4", "b", None, None),
    ]
    divided, notes = assign_splits(manifest_of(rows), SHARES, 0, links=np.array([["1", "2"], ["3", "4"]]))
    assert divided.table["split"].to_pylist() == ["train", "test", "val", "val"]
    groups = divided.table["group"].to_pylist()
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert sum("1 images of val and test have a near-duplicate" in note for note in notes) == 1


def test_carving_keeps_linked_images_together() -> None:
    rows: list[Row] = [*plain_rows(400, "train"), ("t", "a", None, "test")]
    links = [(rows[n][0], rows[n + 200][0]) for n in range(200)]
    divided, _ = assign_splits(manifest_of(rows), SHARES, 0, links=links)
    splits = divided.table["split"].to_pylist()
    assert splits[:200] == splits[200:400]
    assert set(splits[:200]) == {"train", "val"}


def test_links_of_unknown_images_join_nothing() -> None:
    rows = plain_rows(50)
    links = [(rows[0][0], "unknown"), ("unknown", rows[1][0])]
    assert assign_splits(manifest_of(rows), SHARES, 0, links=links)[0].table.equals(
        assign_splits(manifest_of(rows), SHARES, 0)[0].table
    )


def test_dividing_again_changes_nothing() -> None:
    # The groups that the first division wrote are the user's groups of the second.
    rows: list[Row] = [*plain_rows(100), ("x", "a", "g", None), ("y", "a", "g", None)]
    links = [(rows[n][0], rows[n + 50][0]) for n in range(50)]
    once, _ = assign_splits(manifest_of(rows), SHARES, 0, links=links)
    again, _ = assign_splits(once.replace(split=[None] * len(rows)), SHARES, 0)
    assert again.table.equals(once.table)


def test_rows_that_are_not_used_keep_their_group_and_split() -> None:
    manifest = manifest_of(
        [("1", "a", "g", None), ("2", "a", "h", None), ("3", "a", None, "val"), ("4", "b", None, None)]
    )
    manifest = manifest.mark({"2": ("truncated", "cut off"), "3": ("unreadable", "odd")})
    table = assign_splits(manifest, SHARES, 0)[0].table
    assert table["group"].to_pylist() == ["g", "h", None, "4"]
    assert table["split"].to_pylist()[1:3] == [None, "val"]


def test_nothing_to_divide() -> None:
    divided, notes = assign_splits(manifest_of([]), SHARES, 0)
    assert divided.table.num_rows == 0
    assert "the train split is empty" in notes


def test_only_a_test_split_is_left_alone() -> None:
    assert splits_of(plain_rows(5, "test")) == ["test"] * 5


def test_gaps_and_leaks_are_noted() -> None:
    rows: list[Row] = [("1", "a", None, "train"), ("2", "b", None, "train"), ("1", "a", None, "test")]
    rows.append(("3", "a", None, "val"))
    _, notes = assign_splits(manifest_of(rows), SHARES, 0)
    assert "class 'b' got no val image" in notes
    assert "class 'b' got no test image" in notes
    assert any(note.startswith("1 images are in more than one split") for note in notes)
