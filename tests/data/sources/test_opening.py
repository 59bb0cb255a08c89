from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eyebright.data.sources import named, open_source
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, EyebrightError, MissingDependencyError

MakeFolder = Callable[..., Path]


def test_the_built_in_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    source = open_source("digits")
    items = list(source.items())
    assert [int(item.label or -1) for item in items] == digits.target.tolist()
    image = source.read("digits#5")
    assert isinstance(image, np.ndarray)
    assert image.shape == (8, 8)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, digits.images[5] * 255 / 16, atol=0.5)
    with pytest.raises(UndecodableImage):
        source.read("digits#1797")


def test_a_folder_named_digits_comes_before_the_name(make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2}, name="digits")
    monkeypatch.chdir(root.parent)
    assert open_source("digits").kind == "folder"


def test_fashion_mnist_is_found_in_debians_package() -> None:
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("Debian's package dataset-fashion-mnist is not installed")
    source = open_source("fashion-mnist")
    items = list(source.items())
    assert len(items) == 70000
    assert sum(item.split == "test" for item in items) == 10000
    assert {item.label for item in items} == set(named.FASHION_MNIST_CLASSES)


def test_fashion_mnist_without_files_names_the_choices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(named, "_DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("EYEBRIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(MissingDependencyError) as caught:
        open_source("fashion-mnist")
    assert "dataset-fashion-mnist" in (caught.value.remedy or "")
    assert str(tmp_path / "data" / "fashion-mnist") in (caught.value.expected or "")


def test_fashion_mnist_is_downloaded_with_consent_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(named, "_DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setenv("EYEBRIGHT_DATA", str(tmp_path))
    asked: list[Path] = []

    def download(target: Path) -> None:
        asked.append(target)
        raise MissingDependencyError("no network here")

    monkeypatch.setattr(named, "_download_fashion_mnist", download)
    with pytest.raises(MissingDependencyError, match="no network"):
        open_source("fashion-mnist", consent_download=True)
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "empty"),
        ("digist", "did you mean 'digits'"),
        ("no/such/place", "nothing at no/such/place; the folder no/such does not exist"),
        ("empty", "it is empty"),
        ("texts", "found a.txt"),
        ("photo.png", "single image"),
        ("data.zip", "archive"),
        ("data.npy", "unknown kind"),
        ("images/cast", "did you mean 'cats'"),
        ("broken.parquet", "cannot be read as Parquet"),
    ],
)
def test_what_is_no_source_is_explained(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, spec: str, words: str
) -> None:
    root = make_folder(
        {
            "texts/a.txt": b"x",
            "photo.png": 1,
            "data.zip": b"PK",
            "data.npy": b"x",
            "images/cats/1.png": 1,
            "broken.parquet": b"PAR1",
        }
    )
    (root / "empty").mkdir()
    monkeypatch.chdir(root)
    with pytest.raises(EyebrightError, match=words) as caught:
        open_source(spec)
    assert isinstance(caught.value, DataError)


def test_a_folder_that_may_not_be_listed(make_folder: MakeFolder) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may list every folder")
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    (root / "cat").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be listed"):
            open_source(root)
    finally:
        (root / "cat").chmod(0o755)
