"""The command line's conventions: light, helpful, readable by machines, and polite to pipes and logs."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from wrong_input_cases import ask

from eyebright import errors
from eyebright.cli.main import VERBS, main
from eyebright.decode import STATUSES

ENTRY = [sys.executable, "-c", "from eyebright.cli.main import entry; entry()"]
HEAVY = (
    "torch",
    "timm",
    "torchvision",
    "numpy",
    "PIL",
    "pyarrow",
    "onnxruntime",
    "sklearn",
    "pydantic",
    "typer",
    "rich",
)


def loaded_after(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of the packages are loaded in a fresh process after `code`."""
    script = f"import sys\n{code}\nprint([n for n in {names!r} if n in sys.modules], file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return list(json.loads(result.stderr.replace("'", '"')))


def told(arguments: list[str | Path], capsys: pytest.CaptureFixture[str], *, code: int = 0) -> str:
    """What a command prints on standard output."""
    received = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert received == code, captured.err
    return captured.out


def told_json(arguments: list[str | Path], capsys: pytest.CaptureFixture[str], *, code: int = 0) -> Any:
    return json.loads(told([*arguments, "--json"], capsys, code=code))


@pytest.fixture
def photos(trained_run: Path, tmp_path: Path) -> Path:
    """Two striped images in a folder whose name needs quoting, with names that are not ASCII."""
    folder = tmp_path / "été à la mer"
    folder.mkdir()
    for number, name in enumerate(("écureuil.png", "数字 1.png")):
        shutil.copyfile(trained_run.parents[1] / "stripes" / "angle-1" / f"{number}.png", folder / name)
    return folder


@pytest.mark.parametrize("code", ["import eyebright", "from eyebright.cli.main import main; main(['--help'])"])
def test_importing_and_helping_load_nothing_heavy(code: str) -> None:
    assert loaded_after(code, HEAVY) == []


def test_the_help_of_no_verb_and_no_prediction_load_torch(trained_run: Path) -> None:
    image = trained_run.parents[1] / "stripes" / "angle-1" / "0.png"
    verbs = f"from eyebright.cli.main import main\nfor verb in {list(VERBS)}: main([verb, '--help'])\n"
    predict = f"main(['predict', {str(trained_run)!r}, {str(image)!r}])"
    assert loaded_after(verbs + predict, ("torch", "timm", "torchvision", "sklearn")) == []


def test_the_help_names_every_verb_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(["--help"], capsys)
    assert all(verb in text and line in text for verb, line in VERBS.items())
    assert "eyebright train photos/ --budget 5m" in text
    assert told(["-h"], capsys) == told(["help"], capsys) == text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = told([verb, "--help"], capsys)
    assert f"Usage: eyebright {verb}" in text
    assert "Example" in text
    assert text.count(f"eyebright {verb}") >= 2  # the usage and an example
    assert VERBS[verb].rstrip(".") in " ".join(text.split())
    assert told([verb, "-h"], capsys) == text


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import eyebright

    assert told(["--version"], capsys) == f"eyebright {eyebright.__version__}\n"


def test_training_gives_one_json_document_and_nothing_else(stripes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = stripes.parent / "runs"
    code = main(["train", str(stripes), "--recipe", "scratch", "--epochs", "1", "--output", str(output), "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    facts = json.loads(out)
    assert err == ""
    assert facts["classes"] == ["angle-0", "angle-1"]
    assert Path(facts["run"]).parent == output
    assert Path(facts["report"]).is_file()
    assert Path(facts["bundle"], "model.onnx").is_file()
    accuracy = facts["metrics"]["test"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1


def test_progress_is_lines_where_there_is_no_terminal(stripes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["train", str(stripes), "--recipe", "scratch", "--epochs", "1", "--output", str(stripes.parent)])
    out, err = capfd.readouterr()
    assert code == 0
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    assert "preprocessing: " in err
    assert "plan: " in err
    assert "test accuracy" in out
    assert "next: eyebright predict" in out


def test_progress_is_bars_on_a_terminal(trained_run: Path, photos: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*ENTRY, "predict", str(trained_run), str(photos)], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait() == 0
    assert "écureuil.png: angle-".encode() in shown
    assert b"\x1b[" in shown


def test_predictions_as_json(trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = told_json(["predict", trained_run, photos], capsys)
    assert [answer["source"] for answer in answers] == [f"{photos}/écureuil.png", f"{photos}/数字 1.png"]
    for answer in answers:
        assert answer["status"] == "ok"
        assert answer["reason"] == ""
        assert len(answer["id"]) == 32
        assert set(answer["probabilities"]) == {"angle-0", "angle-1", "angle-2"}
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert (
            answer["probabilities"][answer["label"]] == answer["probability"] == max(answer["probabilities"].values())
        )


def test_predictions_as_csv_are_those_of_json(
    trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "書.png").write_bytes(b"no image")
    answers = told_json(["predict", trained_run, photos], capsys, code=3)
    rows = list(csv.DictReader(io.StringIO(told(["predict", trained_run, photos, "--csv"], capsys, code=3))))
    assert [row["source"] for row in rows] == [answer["source"] for answer in answers]
    assert [row["status"] for row in rows] == ["ok", "ok", "not-an-image"]
    for row, answer in zip(rows[:2], answers[:2], strict=True):
        assert row["label"] == answer["label"]
        for name, value in answer["probabilities"].items():
            assert float(row[name]) == pytest.approx(value, abs=1e-6)
    assert rows[2]["label"] == rows[2]["angle-0"] == ""


def test_files_folders_and_tables_are_answered_in_order(
    trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos.parent / "table.csv").write_text(f"path,label\n{photos.name}/数字 1.png,angle-0\n", encoding="utf-8")
    one = photos / "écureuil.png"
    answers = told_json(["predict", trained_run / "bundle", photos.parent / "table.csv", one, photos], capsys)
    assert [Path(answer["source"]).name for answer in answers] == [
        "数字 1.png", "écureuil.png", "écureuil.png", "数字 1.png",
    ]  # fmt: skip
    assert answers[1]["probabilities"] == pytest.approx(answers[2]["probabilities"], abs=1e-5)
    assert answers[0]["id"] == answers[3]["id"] != answers[1]["id"]


def test_every_image_gets_an_answer_whatever_is_wrong_with_it(
    trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (photos / "écureuil.png").read_bytes()
    (photos / "1-truncated.png").write_bytes(content[: len(content) // 2])
    (photos / "2-empty.jpg").write_bytes(b"")
    Image.new("1", (20_000, 10_000)).save(photos / "3-large.png")
    (photos / "4-text.jpg").write_bytes(b"hello")
    answers = told_json(["predict", trained_run, photos, photos / "gone.jpg"], capsys, code=3)
    statuses = [answer["status"] for answer in answers]
    assert statuses == ["truncated", "empty", "too-large", "not-an-image", "ok", "ok", "missing"]
    assert set(statuses) - {"ok"} <= set(STATUSES)
    assert all(answer["reason"] and answer["label"] is None for answer in answers if answer["status"] != "ok")


def test_text_shows_as_many_classes_as_were_asked_for(
    trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(["predict", trained_run, photos, "--top", "2"], capsys).splitlines()
    assert [line.count("%") for line in lines] == [2, 2]
    assert lines[1].startswith(f"{photos}/数字 1.png: angle-")


def test_evaluate_report_and_verify_as_json(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "runs" / "stripes"))
    result = told_json(["evaluate", run, trained_run.parents[1] / "stripes", "--allow-bad", "5%"], capsys)
    assert set(result["seen_left_out"]) == {"train", "val"}
    assert result["metrics"]["images"] == result["own_test_images"] > 0
    assert (
        result["metrics"]["accuracy"]["value"]
        == json.loads((run / "metrics.json").read_text())["test"]["accuracy"]["value"]
    )
    assert [entry["source"] for entry in result["ledger"]] == ["angle-0/broken.png"]
    assert (Path(result["folder"]) / "metrics.json").is_file()
    report = told_json(["report", run], capsys)
    assert Path(report["report"]) == run / "report.html"
    assert (run / "report.html").is_file()
    replays = told_json(["verify", run], capsys)
    assert [replay["runtime"] for replay in replays] == [
        "preprocessing", "onnxruntime", "onnxruntime, conclusions", "torch", "torch, conclusions",
    ]  # fmt: skip
    assert all(replay["passed"] for replay in replays)


def test_lists_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"auto", "scratch"} <= set(told_json(["recipes"], capsys))
    assert {"digits", "fashion-mnist"} <= set(told_json(["datasets"], capsys))
    assert "smallnet" in told_json(["models", "list"], capsys)
    assert told_json(["models", "list", "resnet5?"], capsys) == ["resnet50"]
    facts = told_json(["models", "show", "smallnet"], capsys)
    assert facts["name"] == "smallnet"
    assert facts["parameters_with_1000_classes"] > 100_000


def test_a_pattern_that_no_network_has_is_an_error() -> None:
    answer = ask(["models", "list", "resnet81"])
    assert answer.code == 2
    assert "no network is named 'resnet81' (did you mean 'resnet18'?)" in answer.messages


def every_error(kind: type[errors.EyebrightError]) -> list[type[errors.EyebrightError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in every_error(child))]


KINDS = [kind for kind in every_error(errors.EyebrightError) if kind.__module__ == "eyebright.errors"]


@pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])
def test_every_error_gives_its_exit_code(kind: type[errors.EyebrightError], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise kind("it went wrong", expected="that it goes right", remedy="try again")

    monkeypatch.setattr("eyebright.jobs.verify.verify", fail)
    answer = ask(["verify", "anything"])
    assert answer.code == kind.exit_code
    assert answer.messages == "eyebright: it went wrong\n  expected: that it goes right\n  to fix it: try again\n"
    assert answer.output == ""
    facts = json.loads(ask(["verify", "anything", "--json"]).output)
    assert (facts["error"], facts["exit_code"]) == (kind.__name__, kind.exit_code)


def test_a_reader_that_goes_away_is_no_error(trained_run: Path) -> None:
    images = trained_run.parents[1] / "stripes" / "angle-1"
    process = subprocess.Popen(
        [*ENTRY, "predict", str(trained_run), str(images), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()  # before a word was written
    _, told_of = process.communicate()
    assert (process.returncode, told_of) == (0, b"")


def test_head_takes_what_it_wants(trained_run: Path) -> None:
    images = trained_run.parents[1] / "stripes"
    command = (
        f'{sys.executable} -c "{ENTRY[2]}" predict {trained_run} {images} --csv | head -n 1; echo ${{PIPESTATUS[@]}}'
    )
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    header, statuses = result.stdout.splitlines()
    concluded = "prediction_set,answer,answer_level,outlier,outlier_score"
    assert header == f"source,id,status,reason,label,probability,{concluded},angle-0,angle-1,angle-2"
    assert statuses in ("0 0", "3 0")  # 3 when all was written before `head` left: one of the images is broken
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_the_terminal_cannot_show(encoding: str, trained_run: Path, tmp_path: Path) -> None:
    """A name outside the encoding, and one that is no valid text at all."""
    source = trained_run.parents[1] / "stripes" / "angle-1" / "0.png"
    names = [str(tmp_path / "数字.png").encode(), str(tmp_path).encode() + b"/caf\xe9.png"]
    for name in names:
        shutil.copyfile(source, os.fsdecode(name))
    command = [*map(os.fsencode, [*ENTRY, "predict", trained_run]), *names]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b": angle-") == 2
    assert b"caf\\udce9.png" in result.stdout


def test_arrays_of_grey_and_colour_are_the_same_to_the_command_line(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same picture in five formats gets the same answer, but for JPEG's own loss."""
    pixels = np.asarray(Image.open(trained_run.parents[1] / "stripes" / "angle-2" / "3.png"))
    picture = Image.fromarray(pixels)
    for name in ("a.png", "b.bmp", "c.tiff", "d.webp"):
        picture.save(tmp_path / name, **({"lossless": True} if name == "d.webp" else {}))
    answers = told_json(["predict", trained_run, tmp_path], capsys)
    assert len(answers) == 4
    for answer in answers[1:]:
        assert answer["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-5)
