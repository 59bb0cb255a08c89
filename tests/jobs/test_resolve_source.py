"""What a run writes down about where its images are, so that it can be resumed from another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from eyebright.data.sources import open_source
from eyebright.jobs.prepare import resolve_source


def test_a_relative_pattern_becomes_absolute(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stripes)
    resolved = resolve_source("angle-*/1*.png")
    monkeypatch.chdir(stripes.parent)
    items = list(open_source(resolved).items())
    assert {item.label for item in items} == {"angle-0", "angle-1"}
    assert len(items) == 22


def test_a_relative_path_becomes_absolute(stripes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stripes.parent)
    assert resolve_source(stripes.name) == str(stripes.resolve())


LONG = "https://host/labels.csv?X-Amz-Signature=" + 500 * "a"


@pytest.mark.parametrize(
    "spec", ["https://host/a*b.csv?x=[1]", "s3://bucket/*/*.png", "hf://datasets/a/b", "digits", LONG]
)
def test_addresses_and_names_stay_as_they_are(spec: str) -> None:
    assert resolve_source(spec) == spec
