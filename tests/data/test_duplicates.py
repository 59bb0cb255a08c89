"""Equal bytes against a plain reading of the rules, row by row, over random tables."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.duplicates import resolve_labels_and_duplicates

COLUMNS = ("id", "source", "label", "split", "status", "reason")
Row = tuple[str | None, str, str | None, str | None, str, str]


def resolve(rows: list[Row], chunk: int = 1000) -> list[tuple[str, str]]:
    """Status and reason of every row; the table comes in chunks of this many rows."""
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    batches = [
        pa.record_batch([pa.array(column, pa.string()) for column in zip(*part, strict=True)], schema)
        for part in (rows[start : start + chunk] for start in range(0, len(rows), chunk))
    ]
    resolved = resolve_labels_and_duplicates(pa.Table.from_batches(batches, schema))
    assert resolved.schema.equals(schema)
    return list(zip(resolved["status"].to_pylist(), resolved["reason"].to_pylist(), strict=True))


def reference(rows: list[Row]) -> list[tuple[str, str]]:
    """The rules as plain loops over Python lists."""
    answers = [(status, reason) for *_, status, reason in rows]
    same_bytes: dict[str, list[int]] = defaultdict(list)
    for row, (image, _, label, _, status, _) in enumerate(rows):
        if status != "ok" or image is None:
            continue
        if label is None:
            answers[row] = ("unlabelled", "the source gives it no label")
        else:
            same_bytes[image].append(row)
    for members in same_bytes.values():
        if len({rows[row][2] for row in members}) > 1:
            for row in members:
                other = next(other for other in members if rows[other][2] != rows[row][2])
                reason = f"the same bytes as {rows[other][1]}, which is labelled {rows[other][2]!r}"
                answers[row] = ("conflicting-labels", reason)
            continue
        kept: dict[str | None, int] = {}
        for row in sorted(members, key=lambda row: (rows[row][3] is None, row)):
            split = rows[row][3]
            first = kept.get(split) if split else next(iter(kept.values()), None)
            if first is None:
                kept[split] = row
            else:
                answers[row] = ("duplicate", f"the same bytes as {rows[first][1]}")
    return answers


def with_sources(facts: list[Any]) -> list[Row]:
    return [
        (image, f"{number}.jpg", label, split, status, "" if status == "ok" else "for its own reason")
        for number, (image, label, split, status) in enumerate(facts)
    ]


row_lists = st.lists(
    st.tuples(
        st.none() | st.sampled_from(["1", "2", "3", "4"]),
        st.none() | st.sampled_from(["rose", "it's a tulip"]),
        st.none() | st.sampled_from(["train", "val", "test"]),
        st.sampled_from(["ok", "ok", "ok", "truncated"]),
    ),
    max_size=25,
)


@given(facts=row_lists, chunk=st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_every_row_gets_what_the_rules_say(facts: list[Any], chunk: int) -> None:
    rows = with_sources(facts)
    assert resolve(rows, chunk) == reference(rows)


def test_a_contradiction_names_the_first_row_of_another_label() -> None:
    rows = with_sources([("1", "rose", None, "ok"), ("1", "rose", None, "ok"), ("1", "tulip", None, "ok")])
    assert [reason for _, reason in resolve(rows)] == [
        "the same bytes as 2.jpg, which is labelled 'tulip'",
        "the same bytes as 2.jpg, which is labelled 'tulip'",
        "the same bytes as 0.jpg, which is labelled 'rose'",
    ]


def test_the_first_row_of_each_given_split_stays() -> None:
    splits = (None, "test", "train", "test", None)
    statuses = [status for status, _ in resolve(with_sources([("1", "rose", split, "ok") for split in splits]))]
    assert statuses == ["duplicate", "ok", "ok", "duplicate", "duplicate"]
