"""`eyebright predict --output`: what is told, which exit codes, and what a signal leaves behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eyebright.cli.main import main

ENTRY = [sys.executable, "-c", "from eyebright.cli.main import entry; entry()"]


@pytest.fixture(scope="module")
def data(trained_run: Path) -> Path:
    return trained_run.parents[1] / "stripes"


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["predict", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_file_holds_what_csv_prints(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ask(capsys, trained_run, data, "--output", tmp_path / "all.csv")
    assert code == 3  # one image is broken
    assert "1 of 181 images could not be classified" in err
    assert out.startswith(f"{tmp_path / 'all.csv'}: 181 images in ")
    _, printed, _ = ask(capsys, trained_run, data, "--csv")
    expected = list(csv.DictReader(printed.splitlines()))
    received = rows_of(tmp_path / "all.csv")
    assert list(received[0]) == list(expected[0])
    for one, other in zip(received, expected, strict=True):
        for name, value in one.items():
            if name.startswith("angle-") or name in ("probability", "outlier_score"):
                assert not value if not other[name] else float(value) == pytest.approx(float(other[name]), abs=1e-5)
            else:
                assert value == other[name]


def test_json_tells_the_facts(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ask(capsys, trained_run, data / "angle-1", "--output", tmp_path / "all.parquet", "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert (facts["output"], facts["images"], facts["bad"]) == (str(tmp_path / "all.parquet"), 60, 0)


def test_the_output_may_lie_among_the_images(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(data / "angle-1", photos)
    for suffix in ("csv", "parquet", "jsonl"):
        for _ in range(2):
            code, out, _ = ask(capsys, trained_run, photos, "--output", photos / f"all.{suffix}", "--overwrite")
            assert code == 0
            assert ": 60 images in" in out


def test_a_file_that_is_there_is_kept(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all.csv").write_text("mine")
    code, _, err = ask(capsys, trained_run, data, "--output", tmp_path / "all.csv")
    assert code == 2
    assert "is there already" in err
    assert "--overwrite" in err
    assert (tmp_path / "all.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "all.xlsx"], ".parquet, .csv, .jsonl"),
        (["--part", "1/2"], "--part was given without --output"),
        (["--overwrite"], "--overwrite was given without --output"),
        (["--merge"], "--merge was given without --output"),
        (["--output", "all.csv", "--csv"], "both --output and --csv"),
        (["--output", "all.csv", "--part", "3/2"], "from 1/8 to 8/8"),
        (["--output", "all.csv", "--part", "1/2", "--merge"], "both --part and --merge"),
        (["--output", "all.csv", "--runtime", "onyx"], "did you mean 'onnx'?"),
        (["--device", "gpu"], "cpu, cuda"),
        (["--latency", "5"], "several images were given to --latency"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], said: str, trained_run: Path, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    code, _, err = ask(capsys, trained_run, data, *options)
    assert code == 2
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_has_the_code_of_storage(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = ask(capsys, trained_run, data, "--output", tmp_path / "file" / "all.csv")
    assert code == 7
    assert "choose another place" in err


def test_parts_by_option_and_by_torchrun_merge_to_one_file(
    trained_run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "all.csv"
    assert ask(capsys, trained_run, data, "--output", output, "--part", "1/2")[0] == 3
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ask(capsys, trained_run, data, "--output", output)[0] == 0
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.part1of2.csv", "all.part2of2.csv"]
    assert ask(capsys, trained_run, data, "--output", output, "--merge")[0] == 3
    sources = [row["source"] for row in rows_of(output)]
    assert len(sources) == len(set(sources)) == 181


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_keeps_the_partial_results_and_the_same_command_goes_on(
    number: int, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for image in sorted((trained_run.parents[1] / "stripes" / "angle-1").iterdir()):
        for copy in range(80):
            os.link(image, photos / f"{copy}-{image.name}")
    output = tmp_path / "all.csv"
    command = [*ENTRY, "predict", str(trained_run), str(photos), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    saved: list[Path] = []
    while process.poll() is None and not saved:  # the first 4,096 of 4,800 rows are on disk
        saved = list((tmp_path / ".all.csv.partial").glob("[0-9]*.parquet"))
        time.sleep(0.005)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert saved, err
    if number == signal.SIGINT and process.returncode == 130:
        assert "images are kept" in err or "stopped by the user" in err
        assert "Traceback" not in err
    assert not output.exists(), out
    code, out, err = ask(capsys, trained_run, photos, "--output", output)
    assert code == 0, err
    assert "continuing: " in err
    assert " of 4,800 are there" in err
    sources = [row["source"] for row in rows_of(output)]
    assert len(sources) == len(set(sources)) == 4800
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_latency_of_one_image_has_two_figures(
    trained_run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = data / "angle-1" / "3.png"
    code, out, _ = ask(capsys, trained_run, photo, "--latency", "20")
    assert code == 0
    assert "p50" in out
    assert "p99" in out
    assert "20 calls" in out
    facts: dict[str, Any] = json.loads(ask(capsys, trained_run, photo, "--latency", "20", "--json")[1])
    assert 0 < facts["p50_ms"] <= facts["p99_ms"]


def test_a_file_is_written_without_torch_or_pandas(trained_run: Path, data: Path, tmp_path: Path) -> None:
    command = ["predict", str(trained_run), str(data / "angle-1"), "--output", str(tmp_path / "all.parquet")]
    script = f"import sys\nfrom eyebright.cli.main import main\nassert main({command!r}) == 0\n"
    script += "print([name for name in ('torch', 'pandas', 'sklearn', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
