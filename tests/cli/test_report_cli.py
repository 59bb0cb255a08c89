"""`eyebright report`: of one run, of many, of a folder, of a table."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from eyebright.cli.report import command
from eyebright.cli.shell import run_verb
from eyebright.evaluation.predictions import Predictions


def run(*arguments: object) -> int:
    return run_verb("report", command, [str(one) for one in arguments])


@pytest.fixture
def folder(trained_run: Path, tmp_path: Path) -> Path:
    """A folder with two equal runs and a file that is no run."""
    for name in ("one", "two"):
        shutil.copytree(trained_run, tmp_path / "runs" / name)
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    return tmp_path / "runs"


def test_one_run_gets_its_page_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "one" / "report.html"
    page.unlink()
    assert run(folder / "one") == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert page.is_file()


def test_a_folder_gets_a_leaderboard_with_ties(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 0
    shown = capsys.readouterr().out
    assert "two cannot be told apart from it" in shown
    assert (folder / "leaderboard.html").is_file()
    assert (folder / "performance_comparison.csv").is_file()


def test_the_card_of_a_run_is_written_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder / "one", "--card") == 0
    card = Path(capsys.readouterr().out.strip())
    assert card.parent == folder / "one"
    assert card.read_text().startswith("---")


def test_runs_without_a_rival_are_listed_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Predictions.read(folder / "two" / "predictions.parquet")
    tests = [row for row, split in enumerate(table.column("split")) if split == "test"]
    table.rows(tests[:10]).write(folder / "two" / "predictions.parquet")
    assert run(folder) == 0
    shown = capsys.readouterr().out
    assert shown.count("without a rival on the same images") == 1
    assert [line.split()[0] for line in shown.splitlines() if line.startswith(("one", "two"))] == ["one", "two"]


def test_several_runs_get_one_where_they_say(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder / "one", folder / "two", "--output", tmp_path / "out", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == str(tmp_path / "out" / "leaderboard.html")
    assert [row["tie_group"] for row in found["groups"][0]["table"]] == ["a", "a"]


def test_a_table_of_predictions_gets_a_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Predictions.read(folder / "one" / "predictions.parquet").select("test")
    path = tmp_path / "theirs.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", *table.classes])
        for image, label, shares in zip(table.column("id"), table.column("label"), table.probabilities(), strict=True):
            writer.writerow([image, label, *(f"{share:.9f}" for share in shares)])
    assert run(path) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == tmp_path / "theirs-report" / "report.html"
    assert "Made from a table of predictions alone" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{root}/missing"], 4, "does not exist"),
        (["{root}/one/figures"], 2, "is not a run"),
        (["{root}/one", "{root}/two", "--card"], 2, "--card was given with 2 runs"),
        (["{root}/one", "--output", "{root}/x"], 2, "--output was given with one run"),
        (["{root}/missing.csv"], 3, "there is no table"),
        (["{root}/theirs.csv", "--card"], 2, "--card was given with a table"),
    ],
)
def test_wrong_inputs_say_what_to_do(
    folder: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(one.format(root=folder) for one in arguments)) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
