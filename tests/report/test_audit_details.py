"""Which numbers of a finding are shown, and how."""

from __future__ import annotations

from typing import Any

import pytest

from eyebright.report.audit_details import Bars, Interval, Table, detail_blocks


def rows(table: Any) -> list[list[str]]:
    assert isinstance(table, Table)
    return [[str(cell) for cell in row] for row in table.rows]


def test_plain_values_become_a_table_of_two_columns() -> None:
    details = {"pairs_compared": 18231, "leak_share": 0.25, "p_value": 4e-10, "mean_bytes": 12345.6, "method": "probe",
               "exact": True, "seed": None, "sizes": [8, 16]}  # fmt: skip
    (table,) = detail_blocks(details)
    assert rows(table) == [
        ["pairs compared", "18,231"],
        ["leak share", "25.0\N{NARROW NO-BREAK SPACE}%"],
        ["p value", "4e-10"],
        ["mean bytes", "12,346"],
        ["method", "probe"],
        ["exact", "yes"],
        ["seed", "–"],
        ["sizes", "8, 16"],
    ]


def test_class_counts_become_bars_largest_first_under_their_exact_names() -> None:
    (bars,) = detail_blocks({"counts": {"sun_flower": 5, "rose": 20}})
    assert isinstance(bars, Bars)
    assert bars.rows == [("rose", 20, 1.0), ("sun_flower", 5, 0.25)]
    assert bars.columns is None
    (many,) = detail_blocks({"counts": {f"class {number}": number for number in range(100)}})
    assert isinstance(many, Bars)
    assert many.columns is not None
    assert str(many.columns).count("<rect") == 100


def test_an_accuracy_with_its_interval_becomes_one_scale() -> None:
    interval, table = detail_blocks({"accuracy": 0.6, "low": 0.5, "high": 0.7, "chance": 0.2, "folds": 5})
    assert interval == Interval(0.6, 0.5, 0.7, 0.2)
    assert rows(table) == [["folds", "5"]]
    assert detail_blocks({"accuracy": 1, "low": 0.9, "high": 1}) == [Interval(1.0, 0.9, 1.0, None)]


def test_an_interval_without_both_ends_stays_a_table() -> None:
    (table,) = detail_blocks({"accuracy": 0.6, "low": 0.5})
    assert [row[0] for row in rows(table)] == ["accuracy", "low"]


@pytest.mark.parametrize("whole", [True, False])
def test_mappings_of_mappings_become_rows(whole: bool) -> None:
    families = {
        "file_size": {"accuracy": 0.3, "low": 0.2, "high": 0.4, "chance": 0.25, "images": 1000},
        "camera": {"images": 7, "nested": {"deep": [1]}},
    }
    if whole:  # details that are nothing but such a mapping
        families["camera"].pop("nested")
    (table,) = detail_blocks(families if whole else {"by_family": families})
    assert isinstance(table, Table)
    assert table.title == ("" if whole else "By family")
    assert list(table.columns) == ["", "images", "accuracy"]
    assert list(table.rows[0]) == ["file_size", "1,000", Interval(0.3, 0.2, 0.4, 0.25)]
    assert list(table.rows[1]) == ["camera", "7", "–"]


def test_lists_of_mappings_become_rows_and_long_ones_are_cut() -> None:
    (table,) = detail_blocks({"tests": [{"property": f"p{number}", "statistic": number / 2} for number in range(150)]})
    assert isinstance(table, Table)
    assert table.columns == ["property", "statistic"]
    assert table.numeric == [False, True]
    assert len(table.rows) == 100
    assert table.left_out == 50
    assert table.long


@pytest.mark.parametrize("value", [{}, [], [[1, 2], [3, 4]], {"a": {"b": {"c": 1}}}, list(range(100))])
def test_what_has_no_readable_shape_is_left_to_the_json(value: Any) -> None:
    tables = detail_blocks({"matrix": value})
    assert all(isinstance(table, Table) and not any(rows(table)[0][1:]) for table in tables)
