"""Comparing runs on disk: what is read, what is refused, and what is written."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyebright.data.manifest import Manifest
from eyebright.errors import BundleError, DataError, UsageError
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.jobs.compare import compare
from eyebright.jobs.entrants import count_weights, read_entrants
from eyebright.jobs.leaderboard import leaderboard
from eyebright.jobs.table_report import report_of_table

Altered = Callable[..., Path]


def again(table: Predictions, *, ids: list[str] | None = None, noise: float = 0.0, seed: int = 0) -> Predictions:
    """The same table with noise in its logits or under other ids."""
    random = np.random.default_rng(seed)
    return make_predictions(
        ids or [str(one) for one in table.column("id")], [str(one) for one in table.column("source")],
        table.column("label"), table.column("split"), table.logits() + noise * random.normal(size=(len(table), 3)),
        table.calibration, table.classes,
    )  # fmt: skip


@pytest.fixture
def altered(trained_run: Path, tmp_path: Path) -> Altered:
    """Makes copies of a finished run, beside each other, whose predictions are changed."""

    def copy(name: str, *, noise: float = 0.0, keep: int | None = None, prefix: str = "", under: str = "runs") -> Path:
        run = tmp_path / under / name
        shutil.copytree(trained_run, run)
        table = Predictions.read(run / "predictions.parquet")
        if keep is not None:
            tests = [row for row, split in enumerate(table.column("split")) if split == "test"]
            table = table.rows(tests[:keep])
        ids = [prefix + str(one) for one in table.column("id")]
        again(table, ids=ids, noise=noise).write(run / "predictions.parquet")
        return run

    return copy


def test_a_comparison_is_written_as_table_page_and_json(altered: Altered) -> None:
    good, poor = altered("good"), altered("poor", noise=8.0)
    found = compare([good, poor])
    assert found.folder == good.parent / "comparison"
    (group,) = found.groups
    assert group.contest.names == ("good", "poor")
    assert group.contest.letters == {"good": "a", "poor": "b"}
    rows = list(csv.DictReader(found.table.read_text().splitlines()))
    assert [row["name"] for row in rows] == ["good", "poor"]
    assert float(rows[1]["difference_to_best"]) == pytest.approx(
        float(rows[1]["accuracy"]) - float(rows[0]["accuracy"])
    )
    assert rows[0]["difference_to_best"] == ""
    assert int(rows[0]["onnx_bytes"]) == (good / "bundle" / "model.onnx").stat().st_size
    assert float(rows[0]["accuracy"]) == json.loads((good / "metrics.json").read_text())["test"]["accuracy"]["value"]
    assert json.loads((found.folder / "comparison.json").read_text())["groups"][0]["models"].keys() == {"good", "poor"}
    page = found.page.read_text()
    assert "good is better than poor" in page
    assert 'href="../good/report.html"' in page


def test_a_bundle_or_predictions_of_a_run_stand_for_the_run(altered: Altered) -> None:
    one, other = altered("one"), altered("other", noise=1.0)
    first, second = read_entrants([one / "bundle", other / "predictions.parquet"])
    assert (first.name, second.name) == ("one", "other")
    assert first.run is not None
    with pytest.raises(UsageError, match="is given twice"):
        read_entrants([one, one / "bundle"])


def test_runs_of_the_same_name_are_told_apart_by_their_folders(altered: Altered) -> None:
    paths = [altered("same", under="morning"), altered("same", under="evening", noise=1.0)]
    assert [entrant.name for entrant in read_entrants(paths)] == ["morning/same", "evening/same"]


def test_weights_are_counted_as_torch_counts_parameters(trained_run: Path) -> None:
    from eyebright.bundle import read_bundle
    from eyebright.models.catalog import restore_network

    expected = sum(part.numel() for part in restore_network(read_bundle(trained_run)).parameters())
    assert count_weights(trained_run / "bundle" / "model.safetensors") == expected


def test_unfinished_runs_are_refused(altered: Altered) -> None:
    good, half = altered("good"), altered("half")
    (half / "state.json").write_text(json.dumps({"state": "interrupted"}))
    with pytest.raises(BundleError, match="did not finish: it is interrupted"):
        compare([good, half])


def test_a_folder_of_runs_and_a_lone_bundle_are_refused(altered: Altered, tmp_path: Path) -> None:
    good = altered("good")
    with pytest.raises(BundleError, match="is a folder of runs"):
        compare([good, good.parent])
    alone = tmp_path / "alone"
    shutil.copytree(good / "bundle", alone)
    with pytest.raises(BundleError, match="bundle without its run"):
        compare([good, alone])
    with pytest.raises(BundleError, match=r"does not exist \(did you mean 'good'"):
        compare([good, good.with_name("goood")])
    with pytest.raises(UsageError, match="1 classifier"):
        compare([good])


def test_other_test_images_are_refused_with_the_reason(altered: Altered) -> None:
    whole, part, other = altered("whole"), altered("part", keep=10), altered("other", prefix="x")
    config = (part / "config.yaml").read_text()
    (part / "config.yaml").write_text(config.replace("seed: 0", "seed: 7"))
    with pytest.raises(DataError) as refused:
        compare([whole, part])
    assert "part on 10; 10 in all of them. They differ in seed: whole 0, part 7" in refused.value.problem
    assert refused.value.remedy is not None
    assert "--common" in refused.value.remedy
    with pytest.raises(DataError, match="no image in all of them") as refused:
        compare([whole, other], common=True)
    assert refused.value.remedy is not None
    assert "--common" not in refused.value.remedy


def test_common_compares_on_the_shared_images_and_says_so(altered: Altered) -> None:
    whole, part = altered("whole"), altered("part", keep=10)
    found = compare([whole, part], common=True)
    assert len(found.groups[0].contest) == 10
    assert "Compared on the 10 images that all were scored on" in found.notes[0]
    assert found.notes[0] in found.page.read_text()


def test_images_that_one_of_them_learnt_from_do_not_count(altered: Altered) -> None:
    """Two evaluations on the same images, five of which both runs were trained on."""
    runs = [altered("one"), altered("two", noise=1.0)]
    folders = []
    for run in runs:
        table = Predictions.read(run / "predictions.parquet").select("test")
        ok = Manifest.read(run / "manifest.parquet").ok
        trained = [row["id"] for row in ok.to_pylist() if row["split"] == "train"][:5]
        ids = [str(one) for one in table.column("id")]
        folder = run / "evaluations" / "photos-20260101"
        again(table, ids=[*trained, *ids[5:]]).write(folder / "predictions.parquet")
        (folder / "metrics.json").write_text(json.dumps({"data": "photos"}))
        folders.append(folder)
    found = compare(folders)
    (group,) = found.groups
    assert len(group.contest) == len(table) - 5
    assert group.contest.names == ("one", "two")
    assert "5 of the images are among those that one learnt from" in group.notes[0]
    assert group.data_set == "photos"


def test_an_outside_table_is_compared_with_a_run(altered: Altered, tmp_path: Path) -> None:
    run = altered("run")
    table = Predictions.read(run / "predictions.parquet").select("test")
    path = tmp_path / "theirs.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "label", *reversed(table.classes)])
        for image, label, shares in zip(table.column("id"), table.column("label"), table.probabilities(), strict=True):
            writer.writerow([image, label, *reversed([f"{share:.9f}" for share in shares])])
    found = compare([run, path], output=tmp_path / "out")
    (group,) = found.groups
    assert group.contest.pair("run", "theirs").only_first == 0
    assert group.facts["theirs"].parameters is None
    assert any("theirs was trained on is not known" in note for note in group.notes)
    report = report_of_table(path)
    assert report == tmp_path / "theirs-report" / "report.html"
    assert "not known" in report.read_text()


def test_several_data_sets_are_put_side_by_side(altered: Altered) -> None:
    runs = [altered("a1"), altered("a2", noise=6.0), altered("b1", prefix="x"), altered("b2", prefix="x", noise=6.0)]
    for run, recipe in zip(runs, ("scratch", "other", "scratch", "other"), strict=True):
        config = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(config.replace("recipe: scratch", f"recipe: {recipe}"))
    found = compare(runs, across=True)
    assert found.across is not None
    assert [len(group.contest.names) for group in found.groups] == [2, 2]
    assert found.across.mean_ranks == {"scratch": 1.0, "other": 2.0}
    assert "Across data sets" in found.page.read_text()
    with pytest.raises(UsageError, match="--across was given"):
        compare(runs[:2], across=True)
    with pytest.raises(DataError, match="different images of the same data"):
        compare([runs[0], altered("a3", keep=10)], across=True)


def test_latency_is_measured_for_all_when_asked(altered: Altered) -> None:
    found = compare([altered("one"), altered("two", noise=1.0)], measure=True)
    facts = found.groups[0].facts.values()
    assert all(fact.latency_measured_now and fact.latency_ms and fact.latency_ms > 0 for fact in facts)
    assert all(fact.latency_p99_ms is not None and fact.latency_p99_ms >= (fact.latency_ms or 0) for fact in facts)


def test_validation_images_can_be_compared_with_a_warning(altered: Altered) -> None:
    found = compare([altered("one"), altered("two", noise=1.0)], split="val")
    assert "validation images" in found.notes[0]
    with pytest.raises(UsageError, match="unknown split 'tset'"):
        compare([altered("three"), altered("four")], split="tset")


def test_a_folder_of_runs_is_ranked_in_groups_of_the_same_images(altered: Altered) -> None:
    runs = [altered("one"), altered("two", noise=6.0), altered("alone", keep=10), altered("half"), altered("broken")]
    (runs[3] / "state.json").write_text(json.dumps({"state": "running"}))
    (runs[4] / "bundle" / "model.onnx").write_bytes(b"no graph")
    found = leaderboard([runs[0].parent])
    assert [group.contest.names for group in found.groups] == [("one", "two"), ("alone",)]
    assert {name for name, _, _ in found.unfinished} == {"half", "broken"}
    assert found.page == runs[0].parent / "leaderboard.html"
    page = found.page.read_text()
    assert "one is better than two" in page
    assert "it is running" in page
    assert 'href="one/report.html"' in page
    assert [row["name"] for row in csv.DictReader(found.table.read_text().splitlines())] == ["one", "two", "alone"]


def test_a_folder_without_finished_runs_is_refused(altered: Altered, tmp_path: Path) -> None:
    half = altered("half")
    (half / "state.json").write_text(json.dumps({"state": "running"}))
    with pytest.raises(UsageError, match="none of 1 run"):
        leaderboard([half.parent])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is not a run"):
        leaderboard([tmp_path / "empty"])
    with pytest.raises(BundleError, match="does not exist"):
        leaderboard([tmp_path / "nothing"])
