"""The report of a run on disk: it shows what the run's files say, and nothing that goes wrong besides stops it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eyebright.errors import UsageError
from eyebright.jobs import explain, reporting
from eyebright.jobs.reporting import make_report
from eyebright.report.pictures import OVERLAYS
from eyebright.run import Run, open_run

Give = Callable[[Sequence[str]], Mapping[str, Image.Image]]


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Run:
    shutil.copytree(trained_run, tmp_path / "run")
    return open_run(tmp_path / "run")


def given(monkeypatch: pytest.MonkeyPatch, overlays: Callable[..., Give]) -> None:
    monkeypatch.setattr(explain, "explanation_of", lambda run: {"method": "Grad-CAM", "layer": "last", "why": "it is"})
    monkeypatch.setattr(explain, "overlays_of", overlays)


def red(ids: Sequence[str]) -> dict[str, Image.Image]:
    return {id_: Image.new("RGB", (40, 40), (200, 0, 0)) for id_ in ids}


def test_overlays_are_shown_with_how_they_were_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def overlays(run: Run, manifest: Any, source: Any) -> Give:
        return lambda ids: asked.extend(ids) or red(ids)

    given(monkeypatch, overlays)
    text = make_report(run).read_text(encoding="utf-8")
    assert 0 < len(asked) <= OVERLAYS
    assert text.count('<img class="laid"') == len(asked)
    assert "by Grad-CAM" in text
    assert 'class="laid"' not in make_report(run, overlays=False).read_text(encoding="utf-8")


def test_a_classifier_that_cannot_be_explained_has_a_report_that_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overlays(run: Run, manifest: Any, source: Any) -> Give:
        raise UsageError("no layer of this network can be looked at", expected="a layer with maps")

    given(monkeypatch, overlays)
    text = make_report(run).read_text(encoding="utf-8")
    assert "could not be shown: no layer of this network can be looked at" in text
    assert 'class="laid"' not in text


def test_overlays_end_with_their_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(reporting.time, "monotonic", lambda: next(clock))
    given(monkeypatch, lambda run, manifest, source: red)
    text = make_report(run, overlay_seconds=15).read_text(encoding="utf-8")
    assert text.count('<img class="laid"') == 8
    assert "There was no time for more than 8 overlays" in text


def test_the_page_says_what_the_run_cost_and_where_it_comes_from(run: Run) -> None:
    text = make_report(run, overlays=False).read_text(encoding="utf-8").replace("&#39;", "'")
    record = run.bundle.record
    for part in (record.data_fingerprint, "Licence of the weights", "model.safetensors", str(run.path), "Memory"):
        assert part in text, part
    assert "What it is good at" in text


def test_a_run_of_an_earlier_version_has_a_report(run: Run) -> None:
    metrics = run.metrics
    later = ("decisions", "cost", "slices", "worst_slices", "importance")
    kept = {name: value for name, value in metrics.items() if name not in later}
    run.file("metrics.json").write_text(json.dumps(kept), encoding="utf-8")
    for name in ("audit.json", "features.npz", "robustness.json", "embedding.json"):
        run.file(name).unlink(missing_ok=True)
    text = make_report(run, overlays=False).read_text(encoding="utf-8")
    assert "Can its confidence be trusted?" in text
