"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# Two test processes share two cores; each may use one, or they would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real images (../shared/data) are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache, catalogue or Keras folder; the tests of one process share theirs."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(cache))
    monkeypatch.setenv("EYEBRIGHT_CATALOGUE", str(cache / "catalogue"))
    monkeypatch.setenv("KERAS_HOME", str(cache / "keras"))
    return cache


@pytest.fixture(scope="session")
def flowers_sample(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 40 photos of three kinds of flowers, a folder for each."""
    root = tmp_path_factory.mktemp("flowers")
    for name in ("daisy", "rose", "tulip"):
        (root / name).mkdir()
        for photo in sorted((shared_data / "flowers" / name).iterdir())[:40]:
            shutil.copyfile(photo, root / name / photo.name)
    return root


@pytest.fixture(scope="session")
def natural_twins() -> set[frozenset[str]]:
    """Names of the pairs in `flowers_sample` that show the same picture, looked at by eye."""
    return {
        frozenset({"10466290366_cc72e33532.jpg", "10994032453_ac7f8d9e2e.jpg"}),
        frozenset({"10993710036_2033222c91.jpg", "10993818044_4c19b86c82.jpg"}),
        frozenset({"12406418663_af20dc225f_n.jpg", "12407768513_3440238148_n.jpg"}),
        frozenset({"13279526615_a3b0059bec.jpg", "13342823005_16d3df58df_n.jpg"}),
    }


def write_stripes(root: Path, *, classes: int = 2, images: int = 12, side: int = 16, seed: int = 0) -> Path:
    """A folder per class of small noisy PNGs; class k has stripes of angle k * 180 / classes degrees."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    for number in range(classes):
        angle = np.pi * number / classes
        folder = root / f"angle-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        for image in range(images):
            wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 1.2 + random.uniform(0, 6.28))
            pixels = 128 + 90 * wave[..., None] + random.normal(0, 12, (side, side, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{image}.png")
    return root


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Two classes of 60 striped images: learnt in seconds."""
    return write_stripes(tmp_path / "stripes", images=60)


@pytest.fixture(scope="session")
def shared_stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same two classes of 60 images for a whole session: not to be changed."""
    return write_stripes(tmp_path_factory.mktemp("stripes") / "stripes", images=60)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: `smallnet` on striped images, a few epochs. Tests that change it must copy it."""
    from eyebright.jobs.train import train

    root = tmp_path_factory.mktemp("trained")
    cache = os.environ.get("EYEBRIGHT_CACHE")
    os.environ["EYEBRIGHT_CACHE"] = str(root / "cache")
    try:
        data = write_stripes(root / "stripes", classes=3, images=60)
        (data / "angle-0" / "broken.png").write_bytes((data / "angle-0" / "0.png").read_bytes()[:200])
        options: dict[str, Any] = {"recipe": "scratch", "epochs": 8, "size": 32, "allow_bad": "5%"}
        options["settings"] = ["optim.batch_size=16", "augment.flip=false"]  # mirrored, one angle is another
        run = train(data, output=root / "runs", name="stripes", **options)
    finally:
        if cache is None:
            del os.environ["EYEBRIGHT_CACHE"]
        else:
            os.environ["EYEBRIGHT_CACHE"] = cache
    return run.path
