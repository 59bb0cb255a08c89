"""The main job: what a run holds, how it survives kills and Ctrl-C, and that its numbers are what they claim."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score, f1_score

import eyebright
from eyebright.data.manifest import Manifest
from eyebright.errors import UsageError
from eyebright.evaluation.predictions import Predictions
from eyebright.run import open_run

RUN_FILES = {
    "audit.json", "bundle", "config.yaml", "environment.json", "features.npz", "figures", "history.csv",
    "history.jsonl", "manifest.parquet", "metrics.json", "plan.json", "predictions.parquet", "properties.parquet",
    "report.html", "state.json",
}  # fmt: skip


def test_a_finished_run_holds_everything_and_nothing_half_written(trained_run: Path) -> None:
    assert {path.name for path in trained_run.iterdir()} - {"evaluations"} == RUN_FILES
    assert not list(trained_run.rglob("*.partial*"))
    assert open_run(trained_run).state["state"] == "complete"


def test_it_learnt_and_says_so_truly(trained_run: Path) -> None:
    """The metrics are those that scikit-learn computes from the predictions table."""
    metrics = open_run(trained_run).metrics["test"]
    predictions = Predictions.read(trained_run / "predictions.parquet").select("test")
    truth, said = predictions.column("label"), predictions.column("predicted")
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(truth, said))
    assert metrics["macro_f1"]["value"] == pytest.approx(f1_score(truth, said, average="macro"))
    assert metrics["accuracy"]["low"] < metrics["accuracy"]["value"] <= metrics["accuracy"]["high"] <= 1
    assert metrics["accuracy"]["value"] > 0.8


def test_temperature_comes_from_validation_alone(trained_run: Path) -> None:
    from eyebright.evaluation.calibrate import fit_temperature

    run = open_run(trained_run)
    val = Predictions.read(trained_run / "predictions.parquet").select("val")
    calibration = run.bundle.record.decisions.calibration
    assert calibration.temperature == pytest.approx(fit_temperature(val.logits(), val.labels_index()), rel=1e-6)


def test_predictions_are_those_of_the_loaded_classifier_on_the_files(trained_run: Path) -> None:
    """From the files on disk, not from the pack: training and serving see the same pixels."""
    run = open_run(trained_run)
    classifier = eyebright.load(trained_run)
    table = Predictions.read(trained_run / "predictions.parquet").select("test")
    root = Path(Manifest.read(run.file("manifest.parquet")).spec)
    again = classifier.predict_proba([root / source for source in table.column("source")])
    assert np.abs(again - table.probabilities()).max() < 1e-5


def test_the_broken_image_is_in_the_ledger_and_the_report(trained_run: Path) -> None:
    ledger = Manifest.read(trained_run / "manifest.parquet").ledger()
    assert [(entry["source"], entry["status"]) for entry in ledger] == [("angle-0/broken.png", "truncated")]
    assert "angle-0/broken.png" in (trained_run / "report.html").read_text()


def test_same_seed_gives_the_same_classifier_and_another_seed_another(stripes: Path, tmp_path: Path) -> None:
    runs = [
        eyebright.train(stripes, output=tmp_path / "runs", name="a", recipe="scratch", epochs=1, seed=seed)
        for seed in (1, 1, 2)
    ]
    one, same, other = (load_file(run.file("bundle/model.safetensors")) for run in runs)
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert any(not np.array_equal(one[key], other[key]) for key in one)


def start_training(data: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "eyebright", "train", str(data), "--output", str(output), "--name", "r", *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"{text!r} never came; exit code {process.wait()}")


LONG = ("--recipe", "scratch", "--epochs", "12", "--set", "optim.batch_size=32")


def test_killed_in_training_it_resumes_to_the_same_weights(stripes: Path, tmp_path: Path) -> None:
    process = start_training(stripes, tmp_path / "killed", *LONG)
    wait_for(process, "train epoch 3/")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    folder = tmp_path / "killed" / "r"
    assert not (folder / "bundle").exists()
    assert not (folder / "metrics.json").exists()
    with pytest.raises(eyebright.EyebrightError, match="did not finish"):
        eyebright.load(folder)
    # In a process of its own, as a user would, with the threads that the uninterrupted run has.
    subprocess.run([sys.executable, "-m", "eyebright", "resume", str(folder)], check=True, capture_output=True)
    whole = start_training(stripes, tmp_path / "whole", *LONG)
    whole.communicate()
    one, other = (load_file(tmp_path / name / "r/bundle/model.safetensors") for name in ("killed", "whole"))
    assert all(np.array_equal(one[key], other[key]) for key in one)
    epochs = [line["epoch"] for line in open_run(folder).history()]
    assert epochs == list(range(1, 13))
    with pytest.raises(UsageError, match="is complete"):
        eyebright.resume(folder)


def test_ctrl_c_once_keeps_and_reports_what_was_learnt(stripes: Path, tmp_path: Path) -> None:
    process = start_training(stripes, tmp_path, "--recipe", "scratch", "--epochs", "500")
    wait_for(process, "train epoch 2/")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0
    run = open_run(tmp_path / "r")
    assert run.environment["outcome"]["stopped"] is True
    assert "stopped before its planned end" in run.report.read_text()
    assert eyebright.load(run.path).classes == ("angle-0", "angle-1")
    assert run.metrics["times_test_scored"] == 1
    assert (run.checkpoint / "loop").is_dir()  # it may still be resumed; the second look at the test set is counted


def test_ctrl_c_twice_quits_and_can_be_resumed(stripes: Path, tmp_path: Path) -> None:
    process = start_training(stripes, tmp_path, "--recipe", "scratch", "--epochs", "500", "--set", "optim.batch_size=1")
    wait_for(process, "run ")
    deadline = time.monotonic() + 120
    while not (tmp_path / "r/plan.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    if process.returncode == 130:
        assert open_run(tmp_path / "r").state["state"] == "interrupted"


def test_auto_probes_and_fine_tunes_a_pretrained_network(flowers_sample: Path, tmp_path: Path) -> None:
    run = eyebright.train(flowers_sample, output=tmp_path, epochs=1, size=64, name="auto")
    stages = [line["stage"] for line in run.history()]
    assert stages == ["probe", "fine-tune"]
    assert run.bundle.record.architecture == "tf_efficientnet_lite0"
    assert run.bundle.record.preprocess.mean == (0.5, 0.5, 0.5)
    assert run.bundle.record.licence == "Apache-2.0"
    reasons = " ".join(run.environment["outcome"]["reasons"])
    assert "mirroring is" in reasons
    assert "kept the" in reasons
    # Chance is a third; pretrained features see more than that in 84 photos.
    assert run.metrics["val"]["accuracy"]["value"] > 0.45


def test_a_budget_too_short_for_anything_still_ends_with_a_classifier(flowers_sample: Path, tmp_path: Path) -> None:
    run = eyebright.train(flowers_sample, output=tmp_path, budget="1s", size=64, name="short")
    warnings = run.environment["outcome"]["warnings"]
    assert any("more than the budget of 1 s" in warning for warning in warnings)
    assert [line["stage"] for line in run.history()] == ["probe"]


def test_evaluate_leaves_out_what_was_trained_on(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    root = Path(Manifest.read(run.file("manifest.parquet")).spec)
    counts = Manifest.read(run.file("manifest.parquet")).counts()
    result = eyebright.evaluate(trained_run, root, allow_bad=0.05)
    assert result.seen == {split: sum(counts[split].values()) for split in ("train", "val")}
    assert result.metrics.images == result.test_images == sum(counts["test"].values())
    assert result.metrics.accuracy.value == pytest.approx(run.metrics["test"]["accuracy"]["value"])
    everything = eyebright.evaluate(trained_run, root, allow_bad=0.05, include_seen=True)
    assert everything.metrics.images == sum(sum(classes.values()) for classes in counts.values())


def test_a_run_that_was_moved_still_reports_without_its_images(trained_run: Path, tmp_path: Path) -> None:
    from eyebright.jobs.reporting import make_report

    moved = Path(shutil.copytree(trained_run, tmp_path / "moved"))
    manifest = Manifest.read(moved / "manifest.parquet")
    Manifest(manifest.table, classes=manifest.classes, spec="/nowhere/at/all", kind=manifest.kind).write(
        moved / "manifest.parquet"
    )
    (moved / "report.html").unlink()
    assert "stripes" in make_report(open_run(moved)).read_text()


def test_environment_says_what_is_needed_to_repeat_the_run(trained_run: Path) -> None:
    environment = json.loads((trained_run / "environment.json").read_text())
    assert {"versions", "platform", "processor", "cores", "command", "git", "device", "outcome"} <= set(environment)
    assert environment["outcome"]["peak_memory_bytes"] > 0
    assert set(environment["outcome"]["seconds"]) == {
        "look at the images", "plan", "decode", "train", "export and score", "report",
    }  # fmt: skip


def test_two_runs_of_one_name_do_not_meet(stripes: Path, tmp_path: Path) -> None:
    options = {"output": tmp_path, "name": "same", "recipe": "scratch", "epochs": 1}
    assert [eyebright.train(stripes, **options).path.name for _ in range(2)] == ["same", "same-2"]  # type: ignore[arg-type]
