"""The table of `make bench`, with measurements made up: no peer is needed to test it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import comparison  # noqa: E402
import cpu_rows  # noqa: E402
import small_sets  # noqa: E402
import time_to_accuracy  # noqa: E402
from comparison import OURS, LeftOut, Program, Row, TimeLimit, cells, lines_of, measure, save, standing, table  # noqa: E402
from turns import Ledger  # noqa: E402

FIGURES = st.lists(st.floats(0.01, 1e4), min_size=1, max_size=5)


def fake(name: str, *figures: float, log: list[str] | None = None, footnote: str = "") -> Program:
    """A program that gives one figure in each turn."""

    def run(turn: int, before: list[dict[str, Any]]) -> dict[str, Any]:
        if log is not None:
            log.append(f"{name} {turn}")
        return {"figures": [figures[turn % len(figures)]], "process_seconds": 3.0, "peak_gib": 0.5}

    return Program(name=name, measure=run, footnote=footnote)


def row(*programs: Program, name: str = "work", unit: str = "images/s", turns: int = 2, **options: Any) -> Row:
    facts = {"settings": {"images": 10}, "expected_seconds": 10.0, "title": name.title()} | options
    return Row(name=name, unit=unit, programs=programs, turns=turns, **facts)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds whenever it is read."""
    now = 0.0

    def read() -> float:
        nonlocal now
        now += seconds
        return now

    return read


NO_LIMIT = TimeLimit(1e9)


class TestStanding:
    def test_fewer_seconds_and_more_images_a_second_are_both_ahead(self) -> None:
        assert standing([10, 11], [20, 22], "s an epoch").ahead == pytest.approx(2.0)
        assert standing([20, 22], [10, 11], "images/s").ahead == pytest.approx(2.0)
        assert standing([20, 22], [10, 11], "s").verdict == "behind"
        assert standing([20, 22], [10, 11], "images/s").verdict == "ahead"

    def test_ranges_that_overlap_or_touch_are_a_tie_however_far_the_medians(self) -> None:
        assert standing([10, 30, 30], [5, 5, 12], "images/s").verdict == "tie: the ranges overlap"
        assert standing([10, 20], [5, 10], "images/s").verdict == "tie: the ranges overlap"

    def test_one_figure_decides_nothing(self) -> None:
        assert standing([20], [10, 11], "images/s").verdict == "measured once"

    def test_figures_that_cannot_be_are_refused(self) -> None:
        with pytest.raises(ValueError, match="positive"):
            standing([1.0, 0.0], [1.0], "s")
        with pytest.raises(ValueError, match="positive"):
            standing([], [1.0], "s")

    @given(FIGURES, FIGURES)
    def test_what_is_ahead_by_seconds_is_behind_by_rate_and_from_the_other_side(
        self, ours: list[float], theirs: list[float]
    ) -> None:
        ahead = standing(ours, theirs, "images/s").ahead
        assert standing(theirs, ours, "images/s").ahead == pytest.approx(1 / ahead)
        assert standing(ours, theirs, "s").ahead == pytest.approx(1 / ahead)


class TestTurns:
    def test_all_rows_are_measured_once_before_any_is_repeated_and_the_order_turns_round(self) -> None:
        log: list[str] = []
        rows = [
            row(fake("a", 1, log=log), fake("b", 1, log=log), name="one"),
            row(fake("c", 1, log=log), fake("d", 1, log=log), name="two", turns=3),
        ]
        assert measure(rows, Ledger(None), NO_LIMIT) == []
        assert log == ["a 0", "b 0", "c 0", "d 0", "b 1", "a 1", "d 1", "c 1", "c 2", "d 2"]

    def test_an_interrupted_bench_goes_on_where_it_was(self, tmp_path: Path) -> None:
        log: list[str] = []

        def interrupted(turn: int, before: list[dict[str, Any]]) -> dict[str, Any]:
            raise KeyboardInterrupt

        path = tmp_path / "ledger.jsonl"
        with pytest.raises(KeyboardInterrupt):
            measure([row(fake(OURS, 5, 6, log=log), Program(name="b", measure=interrupted))], Ledger(path), NO_LIMIT)
        whole = row(fake(OURS, 5, 6, log=log), fake("b", 2, 3, log=log))
        measure([whole], Ledger(path), NO_LIMIT)
        assert log == [f"{OURS} 0", "b 0", "b 1", f"{OURS} 1"]
        measure([whole], Ledger(path), NO_LIMIT)
        assert len(log) == 4
        assert [line.figures for line in lines_of([whole], Ledger(path))] == [[5.0, 6.0], [2.0, 3.0]]

    def test_what_was_measured_with_other_settings_is_not_used(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        measure([row(fake(OURS, 5), turns=1)], ledger, NO_LIMIT)
        other = row(fake(OURS, 7), turns=1, settings={"images": 20})
        measure([other], ledger, NO_LIMIT)
        assert [line.figures for line in lines_of([other], ledger)] == [[7.0]]

    def test_a_program_sees_what_was_measured_of_its_row_only(self) -> None:
        seen: list[list[str]] = []

        def look(turn: int, before: list[dict[str, Any]]) -> dict[str, Any]:
            seen.append([each["what"] for each in before])
            return {"figures": [1.0]}

        measure(
            [row(fake("x", 1), name="other"), row(fake(OURS, 1), Program(name="b", measure=look), turns=1)],
            Ledger(None),
            NO_LIMIT,
        )
        assert seen == [[OURS]]

    def test_a_program_that_cannot_run_is_named_and_the_others_go_on(self) -> None:
        def missing(turn: int, before: list[dict[str, Any]]) -> dict[str, Any]:
            raise LeftOut("it is not installed")

        rows = [row(fake(OURS, 5, 6), Program(name="b", measure=missing), fake("c", 1, 2))]
        ledger = Ledger(None)
        assert measure(rows, ledger, NO_LIMIT) == ["Work, b: left out, because it is not installed."]
        assert [(line.program, line.turns) for line in lines_of(rows, ledger)] == [(OURS, 2), ("c", 2)]

    def test_a_row_without_its_images_is_left_out(self, tmp_path: Path) -> None:
        rows = [
            row(fake(OURS, 5), prepare=lambda: small_sets.cut_folders(tmp_path / "flowers", tmp_path / "cut", {"": 1}))
        ]
        assert measure(rows, Ledger(None), NO_LIMIT) == [
            "Work: left out, because there is no flowers beside the checkout."
        ]


class TestTimeLimit:
    def test_repeats_that_would_end_too_late_are_left_out_and_named(self) -> None:
        log: list[str] = []
        rows = [
            row(fake(OURS, 1, log=log), name="short", turns=3, expected_seconds=5.0),
            row(fake(OURS, 1, log=log), name="long", turns=3, expected_seconds=1000.0),
        ]
        remarks = measure(rows, Ledger(None), TimeLimit(100.0, clock=ticking(0.1)))
        assert log == [f"{OURS} 0", f"{OURS} 1", f"{OURS} 2"]
        (remark,) = remarks
        assert remark.startswith("Long: not measured, because after")
        assert "limit of 100 s" in remark

    def test_a_turn_that_was_cut_says_how_many_there_are(self) -> None:
        rows = [row(fake(OURS, 1), turns=3, expected_seconds=0.0)]
        # The clock is read once at the start and once a turn: the third turn begins after the end.
        remarks = measure(rows, Ledger(None), TimeLimit(25.0, clock=ticking(10.0)))
        assert remarks[0].startswith("Work: 2 of 3 turns, because after")

    def test_what_an_interrupted_bench_spent_counts(self) -> None:
        limit = TimeLimit(100.0, spent=95.0, clock=lambda: 0.0)
        assert limit.spent == 95.0
        assert limit.allows(5.0)
        assert not limit.allows(6.0)


class TestTable:
    rows = (
        row(fake(OURS, 300.4, 310), fake("b", 20, 22), fake("c", 9, 9.5, footnote="another network."), note="Why."),
    )

    def measured(self, ledger: Ledger | None = None) -> Ledger:
        ledger = ledger or Ledger(None)
        measure(self.rows, ledger, NO_LIMIT)
        return ledger

    def test_a_line_has_median_range_ratio_and_what_it_took(self) -> None:
        ours, peer, other = (cells(line) for line in lines_of(self.rows, self.measured()))
        assert ours[:7] == ["Work", OURS, "images/s", "305 (300 to 310)", "2 in 2 turns", "", ""]
        assert peer[3:] == ["21.0 (20.0 to 22.0)", "2 in 2 turns", "14.53", "ahead", "3.0", "0.50 GiB", "0 s"]
        assert other[3] == "9.25 (9.00 to 9.50)"
        assert other[6] == "not like for like"

    def test_the_page_names_machine_load_notes_and_what_was_left_out(self) -> None:
        page = "\n".join(
            table(self.rows, self.measured(), machine="a machine", title="Title", remarks=["None."], seconds=90)
        )
        lines = page.splitlines()
        assert lines[0] == "# Title"
        assert "a machine; 1.5 minutes in all." in lines
        assert any(line.startswith("Load of the machine when the programs started:") for line in lines)
        assert "- Work. Why. c: another network." in lines
        assert "- None." in lines
        table_lines = [line for line in lines if line.startswith("|")]
        assert len({line.count("|") for line in table_lines}) == 1
        assert len(table_lines) == 2 + 3

    def test_what_the_programs_ran_on_is_said_once_for_each(self) -> None:
        def run(version: str) -> Callable[[int, list[dict[str, Any]]], dict[str, Any]]:
            return lambda turn, before: {"figures": [1.0], "versions": version}

        rows = [
            row(Program(name=OURS, measure=run(version)), fake("b", 1), name=name)
            for name, version in (("one", "torch"), ("two", "onnx"), ("three", "torch"))
        ]
        ledger = Ledger(None)
        measure(rows, ledger, NO_LIMIT)
        page = list(table(rows, ledger, machine="", title="", remarks=[], seconds=1))
        assert page[-1] == f"- {OURS}: torch; onnx"

    def test_saving_puts_the_ledger_aside_so_that_the_next_bench_measures_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "unfinished.jsonl"
        ledger = self.measured(Ledger(path))
        page, figures, kept = save(tmp_path, "bench", "page", self.rows, ledger, machine="a machine", remarks=["r"])
        assert not path.exists()
        assert page.read_text() == "page\n"
        assert len(kept.read_text().splitlines()) == 6
        saved = json.loads(figures.read_text())
        assert saved["machine"] == "a machine"
        assert [line["ahead"] for line in saved["lines"]][1:] == pytest.approx([305.2 / 21, 305.2 / 9.25])


class TestRows:
    def test_the_splits_of_a_small_set_share_no_image(self, tmp_path: Path) -> None:
        for kind in ("a", "b"):
            (tmp_path / "photos" / kind).mkdir(parents=True)
            for number in range(5):
                (tmp_path / "photos" / kind / f"{number}.jpg").write_bytes(b"x")
        small_sets.cut_folders(tmp_path / "photos", tmp_path / "cut", {"train": 3, "val": 1})
        found = sorted(str(path.relative_to(tmp_path / "cut")) for path in (tmp_path / "cut").rglob("*.jpg"))
        assert found == [f"{split}/{kind}/{number}.jpg" for split, numbers in (("train", "012"), ("val", "3"))
                         for kind in "ab" for number in numbers]  # fmt: skip
        assert small_sets.count_images(tmp_path / "cut") == 8

    def test_a_command_that_fails_gives_no_figure(self, tmp_path: Path) -> None:
        seconds, peak = cpu_rows.timed([sys.executable, "-c", "print(1)"], tmp_path / "printed", {})
        assert (tmp_path / "printed").read_text() == "1\n"
        assert seconds > 0
        assert peak > 0
        with pytest.raises(SystemExit, match="exit code 3"):
            cpu_rows.timed([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "printed", {})

    def test_a_peer_that_fails_is_left_out_with_its_last_words(self) -> None:
        program = cpu_rows.plain("peer", sys.executable, "no_such_program")
        with pytest.raises(LeftOut, match="No such file"):
            program.measure(0, [])

    def test_every_row_has_ours_first_and_a_name_of_its_own(self, tmp_path: Path) -> None:
        place = cpu_rows.Place(data=tmp_path, work=tmp_path / "work", peers=tmp_path / "peers")
        rows = cpu_rows.rows(place, cpu_rows.Sizes())
        assert len({each.name for each in rows}) == len(rows)
        assert all(each.programs[0].name == OURS and len(each.programs) > 1 for each in rows)
        expected = sum(each.turns * each.expected_seconds for each in rows)
        assert expected < 28 * 60

    def test_the_programs_load_without_peers_and_without_torch(self) -> None:
        # A child begins with its parent's peak memory, so the process that starts them all must stay small.
        names = ("keras", "tensorflow", "fastai", "albumentations", "airbench", "ultralytics", "torch")
        code = (
            f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
            f"for name in {names!r}: sys.modules[name] = None\n"
            "import bench, bench_gpu, time_to_accuracy\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


def test_short_runs_come_first_and_the_peer_after_one_of_ours(tmp_path: Path) -> None:
    import argparse

    given = argparse.Namespace(data=["flowers", "trashnet"], budgets=[300, 60], fastai_epochs=[1, 4])
    plan = time_to_accuracy.plan(given)
    seconds = [run[0] for run in plan]
    assert seconds == sorted(seconds)
    for name in given.data:
        first = next(what for _, what, data, _ in plan if data == name)
        assert first == time_to_accuracy.OURS


def test_the_plot_of_accuracy_against_seconds_is_drawn(tmp_path: Path) -> None:
    measured = [
        {"set": name, "what": what, "length": length, "process_seconds": 50.0 * length, "accuracy": 0.8,
         "interval": [0.78, 0.82]}
        for name in ("flowers", "trashnet") for what in time_to_accuracy.LOOKS for length in (1, 2)
    ]  # fmt: skip
    time_to_accuracy.draw(measured, [tmp_path / "plot.svg", tmp_path / "plot.png"], "note")
    first = (tmp_path / "plot.svg").read_bytes()
    assert first.lstrip().startswith(b"<?xml")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    time_to_accuracy.draw(measured, [tmp_path / "again.svg"], "note")
    assert (tmp_path / "again.svg").read_bytes() == first


def test_verdicts_know_every_unit_of_the_rows(tmp_path: Path) -> None:
    place = cpu_rows.Place(data=tmp_path, work=tmp_path / "work", peers=tmp_path / "peers")
    units = {each.unit for each in cpu_rows.rows(place, cpu_rows.Sizes())}
    assert units <= {*comparison.SECONDS, "images/s"}
