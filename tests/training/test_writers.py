"""What other tools read of a history is what was recorded, also after a resume."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.errors import DataError, MissingDependencyError, StorageError
from eyebright.training.hooks import LoopState
from eyebright.training.writers import CsvWriter, TensorBoardWriter, scalar_name

STATE = LoopState()


def line(epoch: int, *, stage: str = "all", validated: bool = True, **more: Any) -> dict[str, Any]:
    record = {
        "stage": stage,
        "epoch": epoch,
        "step": 10 * epoch,
        "train_loss": 1 / epoch / 3,
        "learning_rate": 1e-3 / 3,
    }
    if validated:
        record |= {"val_loss": 0.1 + 1 / epoch, "val_accuracy": 1 - 0.1 / epoch, "new_best": epoch != 3}
    return record | more


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_every_figure_to_the_last_bit(tmp_path: Path) -> None:
    writer = CsvWriter(tmp_path / "history.csv")
    for epoch in (1, 2, 3):
        writer.on_epoch_end(STATE, line(epoch))
    rows = table(tmp_path / "history.csv")
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    for epoch, row in enumerate(rows, start=1):
        for name, value in line(epoch).items():
            assert row[name] == str(value)
            if isinstance(value, float):
                assert float(row[name]) == value
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"]


def test_columns_are_the_union_in_a_stable_order(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    writer = CsvWriter(path)
    writer.write({"stage": "probe", "strength": 0.1, "val_loss": 0.5, "val_accuracy": 0.9})
    writer.on_epoch_end(STATE, line(1, validated=False))
    before = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert before == ["stage", "epoch", "step", "train_loss", "val_loss", "val_accuracy", "learning_rate", "strength"]
    writer.on_epoch_end(STATE, line(2, val_top5_accuracy=0.99))
    after = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert after == [*before, "new_best", "val_top5_accuracy"]
    rows = table(path)
    assert (rows[0]["epoch"], rows[1]["val_loss"], rows[2]["val_top5_accuracy"]) == ("", "", "0.99")


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(tmp_path: Path) -> None:
    path, whole = tmp_path / "history.csv", tmp_path / "whole.csv"
    first = CsvWriter(path)
    for epoch in (1, 2, 3, 4):
        first.on_epoch_end(STATE, line(epoch, stage="head"))
    first.on_epoch_end(STATE, line(1, seconds=99.0))
    second = CsvWriter(path)
    for epoch in (1, 2):
        second.on_epoch_end(STATE, line(epoch, seconds=float(epoch)))
    uninterrupted = CsvWriter(whole)
    for epoch in (1, 2, 3, 4):
        uninterrupted.on_epoch_end(STATE, line(epoch, stage="head"))
    for epoch in (1, 2):
        uninterrupted.on_epoch_end(STATE, line(epoch, seconds=float(epoch)))
    assert path.read_bytes() == whole.read_bytes()
    third = CsvWriter(path)
    third.on_epoch_end(STATE, line(3, stage="head", seconds=7.0))
    assert [(row["stage"], row["epoch"]) for row in table(path)][:4] == [("head", str(epoch)) for epoch in (1, 2, 3, 4)]
    assert table(path)[2]["seconds"] == "7.0"


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=1, max_size=4))
def test_any_name_of_a_stage_survives_the_table(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "history.csv"
    for epoch, name in enumerate(names, start=1):
        CsvWriter(path).on_epoch_end(STATE, line(epoch, stage=name))
    with open(path, newline="", encoding="utf-8") as file:
        assert [row["stage"] for row in csv.DictReader(file)] == names


@pytest.mark.parametrize(
    "content", [b"image,label\na.jpg,cat\n", b"stage,epoch\nall,1,2\n", b"stage,epoch\nall\n", b"\xff\xfe\x00"]
)
def test_another_file_under_that_name_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not the history of a run"):
        CsvWriter(path)
    assert path.read_bytes() == content


def test_a_table_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        CsvWriter(tmp_path / "file" / "history.csv").on_epoch_end(STATE, line(1))


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself would show of a folder: (step, value) of each scalar."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def _tensorboard() -> None:
    pytest.importorskip("tensorboard")


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_shows_every_figure_of_every_stage(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path / "tensorboard")
    writer.on_epoch_end(STATE, line(1, stage="head"))
    for epoch in (1, 2):
        writer.on_epoch_end(STATE, line(epoch, validated=epoch == 2, images_per_second=81.5, train_accuracy=None))
    shown = scalars(tmp_path / "tensorboard" / "all")  # flushed, though not yet closed
    writer.close()
    assert set(shown) == {"train/loss", "val/loss", "val/accuracy", "learning_rate", "images_per_second"}
    assert [step for step, _ in shown["train/loss"]] == [1, 2]
    assert [step for step, _ in shown["val/accuracy"]] == [2]
    assert shown["val/accuracy"][0][1] == pytest.approx(0.95)
    assert shown["learning_rate"][1][1] == pytest.approx(1e-3 / 3)
    assert set(scalars(tmp_path / "tensorboard" / "head")) == {
        "train/loss",
        "val/loss",
        "val/accuracy",
        "learning_rate",
    }


@pytest.mark.usefixtures("_tensorboard")
def test_tensorboard_forgets_the_epochs_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    killed = TensorBoardWriter(tmp_path)
    for epoch in (1, 2, 3):
        killed.on_epoch_end(STATE, line(epoch, seconds=1.0))
    resumed = TensorBoardWriter(tmp_path)
    resumed.on_epoch_end(STATE, line(2, seconds=2.0))
    killed.close()
    resumed.close()
    assert scalars(tmp_path / "all")["seconds"] == [(1, 1.0), (2, 2.0)]


@pytest.mark.usefixtures("_tensorboard")
@pytest.mark.parametrize("stage", [".", ".."])
def test_no_name_of_a_stage_leads_out_of_the_folder(tmp_path: Path, stage: str) -> None:
    writer = TensorBoardWriter(tmp_path / "run" / "tensorboard")
    writer.on_epoch_end(STATE, line(1, stage=stage))
    writer.close()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tensorboard"]
    assert [path.name for path in (tmp_path / "run" / "tensorboard").iterdir()] == ["stage"]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"eyebright\[tensorboard\]"):
        TensorBoardWriter(tmp_path / "tensorboard")
    assert not (tmp_path / "tensorboard").exists()


def test_names_in_tensorboard_are_grouped_by_split() -> None:
    names = {
        "train_loss": "train/loss",
        "val_macro_f1": "val/macro_f1",
        "learning_rate": "learning_rate",
        "size": "size",
    }
    assert {name: scalar_name(name) for name in names} == names
