"""Images of one split that belong with images of another, against a count by hand and by plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.config import SplitShares
from eyebright.data.leaks import leaked, leaked_ids
from eyebright.data.manifest import MANIFEST_SCHEMA, Manifest
from eyebright.data.sources import open_source
from eyebright.data.split import assign_splits

SPLITS = ("train", "val", "test")


def manifest_of(rows: list[tuple[str, str | None, str | None]], statuses: list[str] | None = None) -> Manifest:
    """Rows of id, group, split."""
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in MANIFEST_SCHEMA.names}
    for number, name in enumerate(("id", "group", "split")):
        columns[name] = [row[number] for row in rows]
    columns["source"] = [f"{number}.jpg" for number in range(len(rows))]
    columns["status"] = statuses or ["ok"] * len(rows)
    return Manifest(pa.table(columns, schema=MANIFEST_SCHEMA), classes=(), spec="test", kind="folder")


def test_each_leak_is_named_with_where_else_it_is() -> None:
    rows = [
        ("1", "g", "train"),
        ("1", "g", "test"),  # the same bytes
        ("2", "g", "test"),  # the same group
        ("3", "h", "val"),
        ("4", "h", "test"),
        ("5", "5", "test"),
        ("6", "g", None),
    ]
    table = leaked(manifest_of(rows))
    assert table.select(["id", "split", "group", "also_in", "same_bytes"]).to_pylist() == [
        {"id": "1", "split": "train", "group": "g", "also_in": "test", "same_bytes": True},
        {"id": "1", "split": "test", "group": "g", "also_in": "train", "same_bytes": True},
        {"id": "2", "split": "test", "group": "g", "also_in": "train", "same_bytes": False},
        {"id": "3", "split": "val", "group": "h", "also_in": "test", "same_bytes": False},
        {"id": "4", "split": "test", "group": "h", "also_in": "val", "same_bytes": False},
    ]
    assert leaked_ids(manifest_of(rows)) == ["1", "2", "4"]
    assert leaked_ids(manifest_of(rows), "val") == ["3"]


def test_rows_that_are_not_used_leak_nothing() -> None:
    rows = [("1", "g", "train"), ("2", "g", "test")]
    assert leaked(manifest_of(rows, ["truncated", "ok"])).num_rows == 0
    assert leaked(manifest_of([])).num_rows == 0


def test_without_groups_only_the_same_bytes_belong_together() -> None:
    assert leaked_ids(manifest_of([("1", None, "train"), ("1", None, "test"), ("2", None, "test")])) == ["1"]


@given(
    rows=st.lists(
        st.tuples(st.sampled_from("123456"), st.sampled_from("ghi"), st.none() | st.sampled_from(SPLITS)), max_size=15
    )
)
@settings(max_examples=100, deadline=None)
def test_leaks_are_what_a_comparison_of_all_pairs_finds(rows: list[Any]) -> None:
    expected = [
        (f"{number}.jpg", any(other[0] == image for other in others))
        for number, (image, group, split) in enumerate(rows)
        if split is not None and (others := [row for row in rows if row[2] not in (None, split) and row[1] == group])
    ]
    # Here the same bytes may lie in two groups, which `assign_splits` never writes: only the group decides what leaks.
    table = leaked(manifest_of(rows))
    assert table["source"].to_pylist() == [source for source, _ in expected]
    by_hand = {source for source, same in expected if same}
    found = {s for s, same in zip(table["source"].to_pylist(), table["same_bytes"].to_pylist(), strict=True) if same}
    assert by_hand <= found


def test_a_planted_near_duplicate_of_real_flowers_is_found(flowers_sample: Path) -> None:
    manifest = Manifest.scan(open_source(flowers_sample))
    count = manifest.table.num_rows
    divided = manifest.replace(split=["train", "val", "test"] * (count // 3) + ["train"] * (count % 3))
    ids = divided.ok["id"].to_pylist()
    divided, notes = assign_splits(
        divided, SplitShares(), 0, links=[(ids[0], ids[2]), (ids[3], ids[4]), (ids[0], ids[6])]
    )
    assert leaked_ids(divided) == [ids[2]]
    assert leaked_ids(divided, "val") == [ids[4]]
    assert leaked_ids(divided, "train") == [ids[0], ids[3], ids[6]]
    assert divided.leaks() == 0
    assert any(note.startswith("2 images of val and test have a near-duplicate") for note in notes)
