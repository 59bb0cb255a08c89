"""`eyebright lr-find`: from images to a suggestion and a plot, without a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from eyebright.cli.main import main
from eyebright.errors import UsageError
from eyebright.jobs.lr_find import find_learning_rate

SMALL = ["--recipe", "scratch", "--size", "16", "--steps", "40", "--lowest", "1e-6", "--set", "data.audit=off"]


def test_it_suggests_a_rate_and_writes_plot_page_and_figures(
    shared_stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lr-find", str(shared_stripes), "--output", "rates", "--json", *SMALL]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "smallnet"
    assert told["suggestion"] is None or 1e-5 < told["suggestion"] < 1
    assert len(told["rates"]) == len(told["losses"]) == len(told["smoothed"])
    with Image.open("rates/rates.png") as plot:
        assert plot.size[0] > 400
    assert "smallnet" in Path("rates/rates.html").read_text()
    assert json.loads(Path("rates/rates.json").read_text())["rates"] == told["rates"]
    assert [path.name for path in tmp_path.iterdir()] == ["rates"]  # and no run


def test_a_recipe_that_sets_its_own_rates_is_refused(shared_stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="auto"):
        find_learning_rate(shared_stripes, output=tmp_path, recipe="auto")


def test_an_unknown_stage_is_refused_with_the_nearest(shared_stripes: Path, tmp_path: Path) -> None:
    options = {"recipe": "scratch", "size": 16, "settings": ["data.audit=off"]}
    with pytest.raises(UsageError, match="did you mean 'train'"):
        find_learning_rate(shared_stripes, output=tmp_path, stage="trian", **options)
