"""Explaining a finished run: the choice of a method, panels, overlays for the report, and the check."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.errors import BundleError, DataError, UsageError
from eyebright.explain.methods import METHODS
from eyebright.jobs import explain_check, explain_choice
from eyebright.jobs.explain import explain, explanation_of, overlays_of
from eyebright.jobs.explain_check import CHECK_FILE, check, keep_check, pixels_to_check
from eyebright.jobs.explain_choice import EXPLANATION_FILE, stored_choice, validation_pixels
from eyebright.jobs.explainer import Explainer
from eyebright.progress import Silent
from eyebright.run import Run


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_choice, "IMAGES", 4)
    monkeypatch.setattr(explain_check, "CHECKED_IMAGES", 3)


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Run:
    shutil.copytree(trained_run, tmp_path / "stripes")
    return Run(tmp_path / "stripes")


@pytest.fixture
def photo(trained_run: Path) -> Path:
    return trained_run.parents[1] / "stripes" / "angle-1" / "7.png"


def test_the_most_faithful_method_is_measured_once_and_kept(run: Run, photo: Path) -> None:
    heard = Heard()
    explainer = Explainer(run.path)
    (answer,) = explain(explainer, [photo], progress=heard)
    assert len(heard.lines) == 1
    assert "once for this run" in heard.lines[0]
    assert "4 validation images" in heard.lines[0]
    choice = stored_choice(run)
    assert choice is not None
    assert answer.methods == (choice.method,)
    scores = {row["method"]: row["difference"]["value"] for row in choice.faithfulness}
    assert set(explainer.able()) < set(scores)
    assert scores[choice.method] == max(value for name, value in scores.items() if name in METHODS)
    quick = [name for name in scores if name in METHODS and METHODS[name].quick]
    assert scores[choice.quick_method] == max(scores[name] for name in quick)

    list(explain(Explainer(run.path), [photo], progress=heard))
    assert len(heard.lines) == 1
    again = explainer.choice(measure=True, progress=heard)
    assert len(heard.lines) == 2
    assert [row["method"] for row in again.faithfulness] == [row["method"] for row in choice.faithfulness]


def test_a_panel_is_written_for_each_image_and_broken_ones_are_listed(run: Run, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    shutil.copyfile(photo, folder / "one.two.png")
    (folder / "cut.png").write_bytes(photo.read_bytes()[:100])
    answers = list(explain(Explainer(run.path), [folder, photo, tmp_path / "gone.png"], method="layer-cam"))
    by_name = {Path(answer.source).name: answer for answer in answers}
    assert list(by_name) == ["cut.png", "one.two.png", "7.png", "gone.png"]
    assert by_name["cut.png"].status == "truncated"
    assert by_name["gone.png"].status == "missing"
    assert by_name["cut.png"].panel is by_name["gone.png"].panel is None
    good = by_name["one.two.png"]
    assert good.panel == run.path / "explanations" / "one.two-layer-cam.png"
    with Image.open(good.panel) as panel:
        assert panel.format == "PNG"
    assert good.layer == "blocks"
    assert good.probability == max(good.probabilities.values())  # type: ignore[union-attr]
    assert good.label == good.class_name
    assert good.id == by_name["7.png"].id
    assert not [file for file in (run.path / "explanations").iterdir() if ".partial" in file.name]


def test_images_of_one_name_have_panels_of_their_own(run: Run, photo: Path, tmp_path: Path) -> None:
    answers = list(
        explain(
            Explainer(run.path), [photo, photo.parents[1] / "angle-0" / "7.png"], method="grad-cam", output=tmp_path
        )
    )
    assert [answer.panel for answer in answers] == [tmp_path / "7-grad-cam.png", tmp_path / "7-grad-cam-2.png"]


def test_another_class_can_be_asked_for(run: Run, photo: Path) -> None:
    explainer = Explainer(run.path)
    (answer,) = explain(explainer, [photo], method="all", class_name="angle-2")
    assert answer.class_name == "angle-2"
    assert answer.class_probability == answer.probabilities["angle-2"]  # type: ignore[index]
    assert answer.panel is not None
    assert answer.panel.name == "7-angle-2-all.png"
    assert list(answer.methods) == explainer.able()
    with pytest.raises(UsageError, match=r"no class 'angle2'.*did you mean 'angle-2'"):
        list(explain(explainer, [photo], class_name="angle2"))


def test_wrong_words_cost_no_measuring(run: Run, photo: Path, tmp_path: Path) -> None:
    explainer = Explainer(run.path)
    with pytest.raises(UsageError, match="unknown method"):
        list(explain(explainer, [photo], method="gradcam"))
    with pytest.raises(DataError):
        list(explain(explainer, [tmp_path / "nowhere"]))
    with pytest.raises(UsageError, match="no attention"):
        list(explain(explainer, [photo], method="rollout"))
    assert not run.file(EXPLANATION_FILE).exists()
    with pytest.raises(UsageError, match="no layer 'blockz'"):
        Explainer(run.path, layer="blockz")


def test_a_bundle_without_run_is_explained_by_its_kind(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(run.path / "bundle", bundle)
    monkeypatch.chdir(tmp_path)
    heard = Heard()
    (answer,) = explain(Explainer(bundle), [photo], progress=heard)
    assert heard.lines == []
    assert METHODS[answer.methods[0]].quick
    assert answer.panel is not None
    assert answer.panel.exists()
    assert answer.panel.parent == Path("explanations")
    assert sorted(path.name for path in bundle.iterdir()) == sorted(
        path.name for path in (run.path / "bundle").iterdir()
    )


def test_a_run_whose_images_have_gone_is_explained_by_its_kind(run: Run, photo: Path) -> None:
    manifest = Manifest.read(run.file("manifest.parquet"))
    Manifest(manifest.table, classes=manifest.classes, spec="/nowhere/at/all", kind="folder").write(
        run.file("manifest.parquet")
    )
    heard = Heard()
    (answer,) = explain(Explainer(run.path), [photo], progress=heard)
    assert answer.status == "ok"
    assert "no longer at their place" in heard.lines[0]
    assert not run.file(EXPLANATION_FILE).exists()


def test_a_damaged_choice_says_how_to_go_on(run: Run, photo: Path) -> None:
    run.file(EXPLANATION_FILE).write_text('{"method": "grad-cam"}')
    with pytest.raises(BundleError, match=r"explain\.json cannot be read") as error:
        list(explain(Explainer(run.path), [photo]))
    assert "remove" in str(error.value.remedy)


def test_overlays_are_made_for_the_images_that_are_there(run: Run) -> None:
    manifest = Manifest.read(run.file("manifest.parquet"))
    source = open_source(manifest.spec)
    ids = manifest.ok.filter(pc.equal(manifest.ok["split"], "test"))["id"].to_pylist()[:20]
    broken = manifest.table.filter(pc.equal(manifest.table["status"], "truncated"))["id"].to_pylist()
    assert broken
    made = overlays_of(run, manifest, source)([*ids, "unknown", *broken])
    assert list(made) == ids
    assert {picture.size for picture in made.values()} == {(16, 16)}
    with Image.open(Path(manifest.spec) / _source_of(manifest, ids[0])) as picture:
        assert (np.asarray(made[ids[0]]) != np.asarray(picture.convert("RGB"))).any()


def _source_of(manifest: Manifest, id_: str) -> str:
    return str(manifest.table.filter(pc.equal(manifest.table["id"], id_))["source"][0].as_py())


def test_the_report_learns_how_its_overlays_are_made(run: Run) -> None:
    assert set(explanation_of(run)) == {"method", "layer", "why"}
    assert "on average" in explanation_of(run)["why"]
    explainer = Explainer(run.path)
    choice = explainer.choice(measure=True, progress=Silent())
    told = explanation_of(run)
    assert told["method"] == METHODS[choice.quick_method].title
    assert told["layer"] == "blocks"
    assert "this run's validation images" in told["why"]


def test_validation_images_are_the_same_each_time(run: Run) -> None:
    explainer = Explainer(run.path)
    first = validation_pixels(run, explainer.classifier, 5)
    assert first.shape == (5, 32, 32, 3)
    np.testing.assert_array_equal(first, validation_pixels(run, explainer.classifier, 5))


def test_the_check_against_random_weights_is_kept(run: Run, tmp_path: Path, photo: Path) -> None:
    explainer = Explainer(run.path)
    pixels = pixels_to_check(explainer, [])
    assert len(pixels) == 3
    rows = check(explainer, ["grad-cam", "occlusion"], pixels)
    keep_check(explainer, rows)
    kept = json.loads(run.file(CHECK_FILE).read_text())["checks"]
    assert [row["method"] for row in kept] == ["grad-cam", "occlusion"]
    assert set(kept[0]["rank_correlation"]) == {"classifier", "upper half", "all"}

    shutil.copytree(run.path / "bundle", tmp_path / "alone")
    with pytest.raises(DataError, match="1 images to check"):
        pixels_to_check(Explainer(tmp_path / "alone"), [photo])
    assert len(pixels_to_check(Explainer(tmp_path / "alone"), [photo.parent])) == 3
