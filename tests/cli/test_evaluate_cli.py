"""`eyebright evaluate` as a user meets it: runs, new images, tables, slices, and options that do not go together."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eyebright.cli.main import main
from eyebright.evaluation.predictions import Predictions


def told(arguments: list[str | Path], capsys: pytest.CaptureFixture[str], *, code: int = 0) -> str:
    capsys.readouterr()
    received = main(["evaluate", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    assert received == code, captured.err
    return captured.err if code else captured.out


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("own") / "stripes"))


@pytest.fixture(scope="module")
def table(run: Path) -> Path:
    """The answers of the run as another program would write them, with a column of its user's."""
    said = Predictions.read(run / "predictions.parquet").select("test")
    path = run.parent / "other.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("id", "label", "site", *said.classes))
        rows = zip(said.column("id"), said.column("label"), said.probabilities(), strict=True)
        for number, (image, label, shares) in enumerate(rows):
            writer.writerow((image, label, ("north", "south")[number % 2], *(repr(float(share)) for share in shares)))
    return path


def test_a_run_alone_shows_its_test_scores_with_intervals(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told([run], capsys)
    assert "what the run said of its own test images when it was made" in text
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    row = next(line for line in text.splitlines() if line.startswith("accuracy "))
    assert row.split()[1:5] == [f"{accuracy['value']:.4f}", f"{accuracy['low']:.4f}", "to", f"{accuracy['high']:.4f}"]
    assert row.endswith("Wilson")
    assert all(f"\nangle-{number} " in text for number in range(3))


def test_columns_are_aligned(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told([run], capsys).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("class "))
    header, rows = lines[first], lines[first + 1 : first + 4]
    end = header.index("recall") + len("recall")
    assert all(line[end - 1].isdigit() and line[end] == " " for line in rows)
    assert {len(line) for line in rows} == {len(header)}


def test_a_table_of_another_model_is_measured(run: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = json.loads(told([run, "--json"], capsys))
    theirs = json.loads(told([table, "--by", "site", "--json"], capsys))
    assert theirs["metrics"]["accuracy"] == ours["metrics"]["accuracy"]
    assert set(theirs["slices"]["site"]) == {"north", "south"}
    assert theirs["folder"] is None
    text = told([table, "--by", "site"], capsys)
    assert "by site" in text
    assert "north" in text


def test_slices_are_printed_and_given_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told([run, "--slices"], capsys)
    assert "by sharpness" in text
    assert "worst slices: none" in text or "p-values are adjusted" in text
    found = json.loads(told([run, "--slices", "--json"], capsys))
    assert "sharpness" in found["slices"]
    assert isinstance(found["worst_slices"], list)
    assert "worst_slices" not in json.loads(told([run, "--json"], capsys))


def test_new_images_are_scored_as_before(run: Path, trained_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = trained_run.parents[1] / "stripes"
    text = told([run, data, "--allow-bad", "5%"], capsys)
    assert "left out because the classifier was made with them" in text
    assert "have been scored before" in text
    assert "not used: angle-0/broken.png" in text
    assert "written to" in text
    told([run, data, "--allow-bad", "0%"], capsys, code=3)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--include-seen"], "--include-seen was given without what it is about"),
        (["--superclass", "folders"], "--superclass was given without"),
        (["--allow-bad", "5%"], "--allow-bad was given without"),
        (["--labels", "x.csv"], "--labels was given without"),
        (["--classes", "a,b"], "--classes was given without"),
        (["--images", "100"], "--images was given without"),
        (["--split", "tests"], "did you mean 'test'"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], problem: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert problem in told([run, *options], capsys, code=2)


@pytest.mark.parametrize("options", [["--robustness"], ["--outliers", "x"], ["--include-seen"]])
def test_a_table_has_no_network_to_ask(options: list[str], table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "was given without what it is about" in told([table, *options], capsys, code=2)


def test_wrong_tables_and_columns_end_with_data_errors(
    run: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("id,label,a,b\n1,a,0.5,0.4\n")
    assert "row 2 of bad.csv" in told([tmp_path / "bad.csv"], capsys, code=3)
    assert "did you mean 'other.csv'" in told([table.with_name("othr.csv")], capsys, code=3)
    assert "no column 'lens'" in told([run, "--by", "lens"], capsys, code=3)
    assert "does not exist" in told([tmp_path / "nowhere"], capsys, code=4)


def test_robustness_and_outliers_are_asked_of_their_jobs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = pytest.importorskip("eyebright.jobs.robustness")
    asked: dict[str, Any] = {}

    class Measured:
        def as_dict(self) -> dict[str, Any]:
            return {"mean": 0.5}

        def lines(self) -> list[str]:
            return ["noise 50 %"]

    def measure(path: Path, **options: Any) -> Measured:
        asked.update(options, path=path)
        return Measured()

    monkeypatch.setattr(jobs, "measure_robustness", measure)
    monkeypatch.setattr("eyebright.jobs.reporting.make_report", lambda run: run.report)
    text = told([run, "--robustness", "--images", "12"], capsys)
    assert "noise 50 %" in text
    assert str(run / "report.html") in text
    assert (asked["path"], asked["images"]) == (run, "12")
    assert json.loads(told([run, "--robustness", "--json"], capsys))["robustness"] == {"mean": 0.5}
