"""`eyebright explain` with the options that look into the network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from eyebright.cli.main import main


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_filters_maps_neighbours_and_the_map_in_one_document(
    run: Path, shared_stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((shared_stripes / "angle-0").glob("*.png"))
    arguments = ["--filters", "--maps", "--neighbours", "3", "--map", "--output", str(tmp_path / "out"), "--json"]
    code = main(["explain", str(run), str(image), *arguments])
    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert set(told) == {"filters", "maps", "neighbours", "map"}
    assert len(told["neighbours"][0]["neighbours"]) == 3
    written = {Path(picture["path"]).name for name in ("filters", "maps", "neighbours") for picture in told[name]}
    assert written == {path.name for path in (tmp_path / "out").iterdir()}
    assert main(["report", str(run)]) == 0
    assert "What it takes for alike" in (run / "report.html").read_text(encoding="utf-8")


def test_an_unreadable_image_is_listed_and_the_others_are_shown(
    run: Path, shared_stripes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((shared_stripes / "angle-0").glob("*.png"))
    code = main(["explain", str(run), str(tmp_path / "none.png"), str(image), "--neighbours", "2"])
    out, err = capsys.readouterr()
    assert code == 3
    assert "none.png: missing" in out
    assert f"{image}: most like" in out
    assert "1 of 2 images could not be explained" in err


def test_maps_without_an_image_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(run), "--maps"]) == 2
    assert "one or more images" in capsys.readouterr().err
