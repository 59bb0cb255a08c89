"""Evidence of folders of real images, as an audit would gather it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eyebright.data.audit.evidence import Evidence, gather_evidence
from eyebright.data.audit.properties import probe_images
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source


def look_at(root: Path) -> Evidence:
    """All images below `root`, measured."""
    source = open_source(root)
    manifest = Manifest.scan(source)
    properties, failures = probe_images(manifest, source)
    return gather_evidence(manifest.mark(failures), properties)


@pytest.fixture(scope="session")
def evidence_of() -> Callable[[Path], Evidence]:
    return look_at


@pytest.fixture(scope="session")
def five_flowers(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 150 photos of each of the five kinds of flowers."""
    root = tmp_path_factory.mktemp("five-flowers")
    for folder in sorted((shared_data / "flowers").iterdir()):
        (root / folder.name).mkdir()
        for photo in sorted(folder.iterdir())[:150]:
            shutil.copyfile(photo, root / folder.name / photo.name)
    return root


@pytest.fixture(scope="session")
def five_flowers_evidence(five_flowers: Path) -> Evidence:
    return look_at(five_flowers)
