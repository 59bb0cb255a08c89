"""`eyebright explain` as a user meets it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eyebright.cli.explain import command
from eyebright.cli.shell import run_verb
from eyebright.jobs import explain_check, explain_choice


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_choice, "IMAGES", 4)
    monkeypatch.setattr(explain_check, "CHECKED_IMAGES", 3)


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained_run, tmp_path / "stripes")
    return tmp_path / "stripes"


@pytest.fixture
def photo(trained_run: Path) -> Path:
    return trained_run.parents[1] / "stripes" / "angle-1" / "7.png"


def explain(*arguments: str | Path) -> int:
    return run_verb("explain", command, [str(argument) for argument in arguments])


def test_each_image_gets_a_line_with_its_panel(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(run, photo, "--method", "grad-cam", "--top", "2", "--output", tmp_path / "out") == 0
    line = capsys.readouterr().out.strip()
    assert line.startswith(f"{photo}: angle-1 ")
    assert line.count("%") == 2
    assert line.endswith(f"-> {tmp_path / 'out' / '7-grad-cam.png'}")
    assert (tmp_path / "out" / "7-grad-cam.png").exists()


def test_an_unreadable_image_is_listed_and_the_exit_code_says_so(
    run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(photo.read_bytes()[:100])
    assert explain(run, cut, photo, "--method", "grad-cam") == 3
    shown = capsys.readouterr()
    assert f"{cut}: truncated" in shown.out
    assert f"{photo}: angle-1" in shown.out
    assert "1 of 2 images could not be explained" in shown.err


def test_json_has_everything(run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(run, photo, "--measure", "--check", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"faithfulness", "check", "images"}
    (image,) = content["images"]
    assert image["label"] == "angle-1"
    assert image["methods"] == [content["faithfulness"]["method"]] == [content["check"][0]["method"]]
    assert Path(image["panel"]).exists()
    assert sum(image["probabilities"].values()) == pytest.approx(1, abs=1e-5)


def test_measuring_and_checking_show_tables(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(run, "--measure", "--check", "--method", "layer-cam") == 0
    shown = capsys.readouterr().out
    assert "insertion - deletion" in shown
    assert "random order" in shown
    assert "rank correlation" in shown
    assert shown.count("\nlayer-cam") == 2


def test_what_cannot_be_is_explained(run: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain(run) == 2
    assert "no image was given" in capsys.readouterr().err
    assert explain(run / "bundle", "--measure") == 2
    assert "a bundle without a run" in capsys.readouterr().err
    assert explain(run, photo, "--layer", "nothing", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"] == "UsageError"
    assert explain(run / "nowhere", photo) == 4


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from eyebright.cli.explain import command; from eyebright.cli.shell import run_verb\n"
        "assert run_verb('explain', command, ['--help']) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--method" in done.stdout
