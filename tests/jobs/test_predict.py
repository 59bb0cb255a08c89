"""Predictions as a stream and into files: right, in order, gone on with, shared, and in bounded memory."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eyebright import atomic
from eyebright.classifier import Classifier, load
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, Interrupted, StorageError, UsageError
from eyebright.jobs import prediction_flow
from eyebright.jobs.inputs import Opened, open_input
from eyebright.jobs.merge_predictions import merge_parts
from eyebright.jobs.predict import predict
from eyebright.jobs.predict_to_file import Part, predict_to_file
from eyebright.jobs.prediction_flow import Listing, batches
from eyebright.jobs.prediction_table import FACTS_KEY
from eyebright.progress import Silent


class Notes(Silent):
    """Remembers what the user was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture(scope="module")
def classifier(trained_run: Path) -> Classifier:
    return load(trained_run, threads=1)


@pytest.fixture(scope="module")
def data(trained_run: Path) -> Path:
    """181 images in three folders; one of them is broken."""
    return trained_run.parents[1] / "stripes"


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_answers_are_those_of_each_image_alone(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    predict_to_file(classifier, [data], tmp_path / "all.parquet", batch_size=7)
    rows = rows_of(tmp_path / "all.parquet")
    usable = [row for row in rows if row["status"] == "ok"]
    assert len(usable) == 180
    for row in usable[::9]:
        alone = classifier.predict(row["source"])
        assert (row["id"], row["label"], row["answer"]) == (alone.id, alone.label, alone.answer)
        assert (row["answer_level"], row["outlier"]) == (alone.answer_level, alone.outlier)
        assert tuple(row["prediction_set"]) == alone.prediction_set
        np.testing.assert_allclose(row["probabilities"], list(alone.probabilities.values()), atol=1e-5)
        assert row["probability"] == pytest.approx(alone.probability, abs=1e-5)
        used = classifier.record.decisions.outliers.used  # type: ignore[union-attr]
        assert row["outlier_score"] == pytest.approx(alone.outlier_scores[used], rel=1e-4)


def test_the_file_has_the_rows_of_the_stream_in_its_order(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    photo = data / "angle-2" / "5.png"
    answers = list(predict(classifier, [photo, data, data / "angle-1"]))
    predict_to_file(classifier, [photo, data, data / "angle-1"], tmp_path / "all.parquet")
    rows = rows_of(tmp_path / "all.parquet")
    assert [(row["source"], row["id"], row["status"], row["label"]) for row in rows] == [
        (a.source, a.id, a.status, a.prediction and a.prediction.label) for a in answers
    ]
    assert len(rows) == 1 + 181 + 60


def test_an_image_that_cannot_be_read_has_its_reason_and_nothing_else(
    classifier: Classifier, data: Path, tmp_path: Path
) -> None:
    written = predict_to_file(classifier, [data], tmp_path / "all.parquet")
    (bad,) = [row for row in rows_of(tmp_path / "all.parquet") if row["status"] != "ok"]
    assert written.bad == 1
    assert bad["source"].endswith("angle-0/broken.png")
    assert bad["status"] == "truncated"
    assert bad["reason"]
    assert {value for key, value in bad.items() if key not in ("source", "id", "status", "reason")} == {None}
    only = predict_to_file(classifier, [bad["source"]], tmp_path / "bad.csv")
    assert (only.images, only.bad) == (1, 1)


def test_the_three_kinds_of_files_say_the_same(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        predict_to_file(classifier, [data], tmp_path / f"all.{suffix}")
    rows = rows_of(tmp_path / "all.parquet")
    with open(tmp_path / "all.csv", encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    classes = json.loads(pq.read_schema(tmp_path / "all.parquet").metadata[FACTS_KEY])["classes"]
    assert tuple(classes) == classifier.classes
    assert len(rows) == len(table) == len(lines) == 181
    for row, cells, line in zip(rows, table, lines, strict=True):
        assert row["source"] == cells["source"] == line["source"]
        assert row["status"] == cells["status"] == line["status"]
        if row["status"] != "ok":
            assert line["probabilities"] is None
            assert cells[classes[0]] == cells["label"] == ""
            continue
        assert row["label"] == cells["label"] == line["label"]
        assert "|".join(row["prediction_set"]) == cells["prediction_set"] == "|".join(line["prediction_set"])
        # The shortest text of a float32 gives the same float32 back.
        assert [np.float32(cells[name]) for name in classes] == [np.float32(value) for value in row["probabilities"]]
        np.testing.assert_allclose(list(line["probabilities"].values()), row["probabilities"], rtol=1e-6)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, images: int, error: BaseException) -> None:
    """Raise in the thread of the caller when so many images have gone through the network."""
    seen = 0
    whole = Classifier.run_pixels_all

    def counted(self: Classifier, pixels: Any) -> Any:
        nonlocal seen
        if seen >= images:
            raise error
        seen += len(pixels)
        return whole(self, pixels)

    monkeypatch.setattr(Classifier, "run_pixels_all", counted)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_ctrl_c_keeps_what_was_done_and_the_same_call_goes_on(
    suffix: str, classifier: Classifier, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_to_file(classifier, [data], tmp_path / f"whole.{suffix}", batch_size=8)
    output = tmp_path / f"all.{suffix}"
    with monkeypatch.context() as patched:
        interrupt_after(patched, 100, KeyboardInterrupt())
        with pytest.raises(Interrupted, match=r"104 of 181 images are kept") as stop:
            predict_to_file(classifier, [data], output, batch_size=8)
    assert stop.value.exit_code == 130
    assert not output.exists()
    notes = Notes()
    written = predict_to_file(classifier, [data], output, batch_size=8, progress=notes)
    assert notes.told == ["continuing: 104 of 181 are there"]
    assert written.continued == 104
    assert output.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_rows_that_are_there_are_not_classified_again(
    classifier: Classifier, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_after(patched, 150, KeyboardInterrupt())
        with pytest.raises(Interrupted):
            predict_to_file(classifier, [data], tmp_path / "all.csv")
    read: list[str] = []
    whole = prediction_flow._look

    def counted(classifier: Classifier, opened: Opened, name: str) -> Any:
        read.append(name)
        return whole(classifier, opened, name)

    monkeypatch.setattr(prediction_flow, "_look", counted)
    predict_to_file(classifier, [data], tmp_path / "all.csv")
    assert len(read) == 181 - 160


@pytest.mark.parametrize("change", ["another image", "another batch", "another bundle"])
def test_partial_results_of_other_work_are_refused_and_never_mixed(
    change: str, trained_run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, bundle = tmp_path / "photos", tmp_path / "bundle"
    shutil.copytree(data / "angle-1", photos)
    shutil.copytree(trained_run / "bundle", bundle)
    output, options = tmp_path / "all.csv", {"batch_size": 8}
    with monkeypatch.context() as patched:
        interrupt_after(patched, 16, KeyboardInterrupt())
        with pytest.raises(Interrupted):
            predict_to_file(load(bundle, threads=1), [photos], output, **options)  # type: ignore[arg-type]
    if change == "another image":
        shutil.copyfile(data / "angle-2" / "3.png", photos / "added.png")
        said = r"images are not the same \(60 then, 61 now\)"
    elif change == "another batch":
        options, said = {"batch_size": 4}, "batch was 8 and is 4"
    else:
        record = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
        (bundle / "bundle.json").write_text(json.dumps(record | {"name": "renamed"}), encoding="utf-8")
        said = "the classifier is another one"
    with pytest.raises(UsageError, match=said):
        predict_to_file(load(bundle, threads=1), [photos], output, **options)  # type: ignore[arg-type]
    written = predict_to_file(load(bundle, threads=1), [photos], output, overwrite=True, **options)  # type: ignore[arg-type]
    assert written.continued == 0


def test_a_finished_file_is_replaced_only_when_asked(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "all.csv"
    output.write_text("mine")
    with pytest.raises(UsageError, match="is there already") as refusal:
        predict_to_file(classifier, [data], output)
    assert "--overwrite" in str(refusal.value)
    assert output.read_text() == "mine"
    predict_to_file(classifier, [data], output, overwrite=True)
    assert output.read_text().startswith('"source"')


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_parts_hold_every_image_once_and_merge_to_the_whole(
    suffix: str, trained_run: Path, classifier: Classifier, data: Path, tmp_path: Path
) -> None:
    inputs = [data, data / "angle-1" / "3.png", data / "angle-2"]
    predict_to_file(classifier, inputs, tmp_path / f"whole.{suffix}", batch_size=1)
    output = tmp_path / f"all.{suffix}"
    counts = [
        predict_to_file(classifier, inputs, output, part=Part(number=number, count=5), batch_size=1).images
        for number in (3, 1, 5, 2, 4)
    ]
    assert sum(counts) == 242
    assert max(counts) - min(counts) <= 1
    merged = merge_parts(trained_run, inputs, output)
    assert (merged.images, merged.bad) == (242, 1)
    assert output.read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()


@pytest.mark.parametrize("images", [0, 1, 7, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_parts_are_neighbours_that_cover_all_rows(images: int, count: int) -> None:
    covered = [row for number in range(1, count + 1) for row in range(*Part(number=number, count=count).rows(images))]
    assert covered == list(range(images))


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--part"):
        Part.parse(text)


def test_a_missing_or_doubled_part_is_told(
    trained_run: Path, classifier: Classifier, data: Path, tmp_path: Path
) -> None:
    output = tmp_path / "all.csv"
    with pytest.raises(DataError, match="there are no parts"):
        merge_parts(trained_run, [data], output)
    predict_to_file(classifier, [data], output, part=Part(number=1, count=2))
    with pytest.raises(DataError, match="2 is missing") as missing:
        merge_parts(trained_run, [data], output)
    assert "--part 2/2" in str(missing.value)
    shutil.copyfile(Part(number=1, count=2).path(output), Part(number=2, count=2).path(output))
    with pytest.raises(DataError, match="belongs"):
        merge_parts(trained_run, [data], output)
    assert not output.exists()


def test_what_is_held_does_not_grow_with_the_number_of_images(
    classifier: Classifier, data: Path, tmp_path: Path
) -> None:
    content = (data / "angle-1" / "3.png").read_bytes()

    def peak(images: int) -> int:
        names = [str(number) for number in range(images)]
        listing = Listing([Opened("many", names, "", lambda name: content)])
        tracemalloc.start()
        for _batch in batches(classifier, listing, threads=2, size=8):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(50)
    few, many = peak(200), peak(2000)
    assert many < few + 300_000  # held back, 1,800 images would take 5.5 MB


def test_reading_stays_a_few_batches_ahead(classifier: Classifier, data: Path) -> None:
    content = (data / "angle-1" / "3.png").read_bytes()
    read = 0
    lock = threading.Lock()

    def counted(name: str) -> bytes:
        nonlocal read
        with lock:
            read += 1
        return content

    listing = Listing([Opened("many", [str(number) for number in range(500)], "", counted)])
    stream: Iterator[Any] = batches(classifier, listing, threads=2, size=16)
    for number in range(1, 6):
        next(stream)
        assert 16 * number <= read <= 16 * (number + prediction_flow.BATCHES_AHEAD + 1)
    stream.close()  # type: ignore[attr-defined]
    assert read < 200


def test_a_file_that_vanishes_in_between_is_a_row_like_any(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(data / "angle-1", photos)
    opened = open_input(photos)
    (photos / "7.png").unlink()
    (batch, *_) = batches(classifier, Listing([opened]), threads=1, size=64)
    problems = [image.problem for image in batch.images if image.problem is not None]
    assert [type(problem) for problem in problems] == [UndecodableImage]
    assert problems[0].status == "missing"


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_classified(
    classifier: Classifier, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Classifier, "run_pixels_all", lambda *_: pytest.fail("something was classified"))
    with pytest.raises(StorageError):
        predict_to_file(classifier, [data], tmp_path / "file" / "all.csv")


def test_a_full_disk_keeps_what_was_written(
    classifier: Classifier, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "all.parquet"
    written = 0
    whole = pq.write_table

    def full(*given: Any, **options: Any) -> None:
        nonlocal written
        if written == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += 1
        whole(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        with pytest.raises(StorageError, match="the disk is full"):
            predict_to_file(classifier, [data], output, batch_size=10, save_seconds=0.0)
    assert not list(tmp_path.rglob(f"*{atomic.TEMPORARY_SUFFIX}/*{atomic.TEMPORARY_SUFFIX}"))
    assert predict_to_file(classifier, [data], output, batch_size=10).continued == 30


def test_two_processes_do_not_write_one_file(classifier: Classifier, data: Path, tmp_path: Path) -> None:
    import fcntl

    folder = tmp_path / ".all.csv.partial"
    folder.mkdir()
    with open(folder / "lock", "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another process is writing"):
            predict_to_file(classifier, [data], tmp_path / "all.csv")
    assert predict_to_file(classifier, [data], tmp_path / "all.csv").images == 181


def test_a_truncated_partial_file_is_made_again(
    classifier: Classifier, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_to_file(classifier, [data], tmp_path / "whole.csv", batch_size=10)
    output = tmp_path / "all.csv"
    with monkeypatch.context() as patched:
        interrupt_after(patched, 100, KeyboardInterrupt())
        with pytest.raises(Interrupted):
            predict_to_file(classifier, [data], output, batch_size=10, save_seconds=0.0)
    saved = sorted((tmp_path / ".all.csv.partial").glob("*.parquet"))
    saved[4].write_bytes(saved[4].read_bytes()[:100])
    written = predict_to_file(classifier, [data], output, batch_size=10)
    assert written.continued == 40
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_superclasses_are_told_as_for_one_image(trained_run: Path, data: Path, tmp_path: Path) -> None:
    import dataclasses

    plain = load(trained_run, threads=1)
    above = {"angle-0": "slanted", "angle-1": "upright", "angle-2": "slanted"}
    bundle = dataclasses.replace(plain.bundle, record=dataclasses.replace(plain.record, superclasses=above))
    nested = Classifier(bundle, threads=1)
    predict_to_file(nested, [data], tmp_path / "all.parquet")
    for row in [row for row in rows_of(tmp_path / "all.parquet") if row["status"] == "ok"][::10]:
        alone = nested.predict(row["source"])
        assert (row["superclass"], row["answer"], row["answer_level"]) == (
            alone.superclass, alone.answer, alone.answer_level
        )  # fmt: skip
        assert row["superclass_probability"] == pytest.approx(alone.superclass_probability, abs=1e-5)
