"""`eyebright compare` as a user meets it: the table, the JSON, and the exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from eyebright.cli.compare import command
from eyebright.cli.shell import run_verb
from eyebright.evaluation.predictions import Predictions, make_predictions


@pytest.fixture
def runs(trained_run: Path, tmp_path: Path) -> list[Path]:
    """A run, and a copy whose answers are noisy."""
    paths = [tmp_path / "runs" / name for name in ("good", "noisy")]
    for path in paths:
        shutil.copytree(trained_run, path)
    table = Predictions.read(paths[1] / "predictions.parquet")
    columns = [[str(one) for one in table.column(name)] for name in ("id", "source")]
    noisy = table.logits() + np.random.default_rng(0).normal(size=(len(table), 3)) * 8
    make_predictions(
        *columns, table.column("label"), table.column("split"), noisy, 1.0, table.classes
    ).write(paths[1] / "predictions.parquet")  # fmt: skip
    return paths


def run(*arguments: object) -> int:
    return run_verb("compare", command, [str(one) for one in arguments])


def test_the_table_shows_intervals_ties_and_the_verdict(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*runs) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    header = next(line for line in lines if "95 % interval" in line)
    assert " ".join(header.split()) == "classifier accuracy 95 % interval to the best 95 % interval tie macro F1"
    assert next(line for line in lines if line.startswith("1  good")).split()[-2] == "a"
    assert next(line for line in lines if line.startswith("2  noisy")).split()[-2] == "b"
    assert "good is better than noisy" in shown
    assert str(runs[0].parent / "comparison" / "comparison.html") in shown


def test_json_holds_everything(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*runs, "--json", "--output", tmp_path / "out") == 0
    found = json.loads(capsys.readouterr().out)
    (group,) = found["groups"]
    assert [row["name"] for row in group["table"]] == ["good", "noisy"]
    assert group["pairs"][0]["told_apart"] is True
    assert Path(found["page"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{good}"], 2, "1 classifier to compare"),
        (["{good}", "{good}"], 2, "is given twice"),
        (["{good}", "{good}/bundle"], 2, "is given twice"),
        (["{good}", "{good}x"], 4, "did you mean 'good'"),
        (["{good}", "{root}"], 4, "is a folder of runs"),
        (["{good}", "{good}/figures"], 4, "is not a run"),
        (["{good}", "{noisy}", "--split", "trian"], 2, "unknown split 'trian'"),
        (["{good}", "{noisy}", "--across"], 2, "--across was given"),
        (["{good}", "{noisy}", "--seed", "one"], 2, "received 'one'"),
        ([], 2, "runs"),
    ],
)
def test_wrong_inputs_say_what_to_do(
    runs: list[Path], arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"good": runs[0], "noisy": runs[1], "root": runs[0].parent}
    assert run(*(one.format(**places) for one in arguments)) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (runs[0].parent / "comparison").exists()
