"""NumPy archives, SVHN, STL-10, and the MNIST family where torchvision and Keras keep it."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from eyebright.data.manifest import Manifest
from eyebright.data.sources import idx_sets, named, npz, open_source, stl10, svhn
from eyebright.data.sources.base import refuse_colliding_class_names
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """120 real handwritten digits (N, 8, 8), uint8, and what they are."""
    source = named.DigitsSource()
    items = list(source.items())[:120]
    return np.stack([source.read(item.source) for item in items]), np.array([int(item.label or -1) for item in items])


@pytest.fixture(scope="module")
def photos(shared_data: Path) -> np.ndarray:
    """12 real photos of flowers (N, 96, 96, 3), uint8."""
    paths = sorted((shared_data / "flowers" / "tulip").iterdir())[:12]
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((96, 96))) for path in paths])


def thirds(digits: tuple[np.ndarray, np.ndarray]) -> Arrays:
    images, labels = digits
    return {"x_train": images[:80], "y_train": labels[:80], "x_test": images[80:], "y_test": labels[80:]}


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


# NumPy archives.


@pytest.mark.parametrize("compressed", [False, True])
def test_the_arrays_of_keras_mnist(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], compressed: bool) -> None:
    images, labels = digits
    (np.savez_compressed if compressed else np.savez)(tmp_path / "mnist.npz", **thirds(digits))
    for place in (tmp_path / "mnist.npz", tmp_path):
        source = open_source(place)
        items = list(source.items())
        assert source.kind == "npz"
        assert source.class_names == tuple("0123456789")
        assert [item.label for item in items] == [str(label) for label in labels]
        assert [item.split for item in items] == ["train"] * 80 + ["test"] * 40
        assert [item.source for item in items[79:81]] == ["x_train#79", "x_test#0"]
        np.testing.assert_array_equal([source.read(item.source) for item in items], images)
        with pytest.raises(UndecodableImage, match="no row"):
            source.read("y_train#0")
    manifest = Manifest.scan(source)
    assert set(manifest.table["format"].to_pylist()) == {"array"}
    assert {"ok", "duplicate"} >= set(manifest.table["status"].to_pylist())


def test_colour_columns_text_labels_and_a_third_split(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3), dtype=np.uint8)
    names = np.array(["zebra", "ape", "ape"])
    arrays: Arrays = {}
    for number, part in enumerate(("train", "val", "test")):
        arrays |= {f"x_{part}": images[3 * number :][:3], f"y_{part}": names if number else names.astype("S")}
    source = open_source(save(tmp_path / "a.npz", **arrays, notes=np.zeros(3)))
    assert source.class_names == ("ape", "zebra")
    assert [(item.label, item.split) for item in source.items()][2:5] == [
        ("ape", "train"), ("zebra", "val"), ("ape", "val"),
    ]  # fmt: skip
    assert np.array_equal(source.read("x_val#1"), images[4])
    assert [stray.source for stray in source.strays()] == ["notes"]


def test_medmnist_and_labels_in_a_column_with_gaps(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    labels = labels * 1_000_000_000_000  # gaps as wide take no memory
    source = open_source(save(tmp_path / "m.npz", train_images=images, train_labels=labels[:, None].astype(np.uint64)))
    assert source.class_names == tuple(str(n * 1_000_000_000_000) for n in range(10))
    assert [item.label for item in source.items()] == [str(label) for label in labels]


SMALL = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"data": SMALL, "target": [0, 1]}, "holds 'data', 'target'"),
        ({}, "holds nothing"),
        ({"x_train": SMALL.astype(np.float32), "y_train": [0, 1]}, "x_train is of the type float32"),
        ({"x_train": np.zeros((2, 3, 4, 4, 3), np.uint8), "y_train": [0, 1]}, "shape"),
        ({"x_train": np.zeros((2, 3, 28, 28), np.uint8), "y_train": [0, 1]}, r"shape \(2, 3, 28, 28\)"),
        ({"x_train": SMALL, "y_train": [[0, 1], [1, 0]]}, r"y_train .* shape \(2, 2\)"),
        ({"x_train": SMALL, "y_train": [0.5, 1.0]}, "y_train is of the type float64"),
        ({"x_train": SMALL, "y_train": [0, -1]}, "y_train"),
        ({"x_train": SMALL, "y_train": [0, 1, 2]}, "2 images, 3 labels"),
        ({"x_train": SMALL, "y_train": [0, 1], "x_test": SMALL, "y_test": ["a", "b"]}, "numbers and some are text"),
        ({"x_train": SMALL, "y_train": ["cat", "Cat"]}, "differ only by case"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path: Path, arrays: Arrays, words: str) -> None:
    with pytest.raises(DataError, match=words):
        list(open_source(save(tmp_path / "a.npz", **arrays)).items())


class Touching:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_train"])
def test_arrays_of_objects_are_refused_and_run_nothing(tmp_path: Path, name: str) -> None:
    evil = np.array([Touching(tmp_path / "made"), None], dtype=object)
    arrays = {"x_train": SMALL, "y_train": np.array([0, 1]), name: evil}
    path = save(tmp_path / "imdb.npz", **arrays)
    with pytest.raises(DataError, match="cannot be read"):
        list(open_source(path).items())
    assert not (tmp_path / "made").exists()
    # In a folder, an archive of texts such as Keras' imdb.npz is no set of images.
    assert npz.holds_images(path) == (name == "y_train")


def test_what_only_looks_like_an_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SMALL)
    shutil.move(tmp_path / "a.npy", tmp_path / "array.npz")
    (tmp_path / "text.npz").write_text("nothing")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps({"x_train": 1}))
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("x_train.npy", b"not an array")
        archive.writestr("y_train.npy", b"\x93NUMPY\x01\x00")
    for path in sorted(tmp_path.glob("*.npz")):
        assert not npz.holds_images(path)
        with pytest.raises(DataError, match=path.name):
            open_source(path)


def archive_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x_train=SMALL, y_train=np.array([0, 1]))
    return stream.getvalue()


ARCHIVE = archive_bytes()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(ARCHIVE) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_damaged_archive_gives_a_data_error_or_images(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(ARCHIVE)
    for position, value in changes:
        content[position] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    try:
        source = open_source(path)
        images = [source.read(item.source) for item in source.items()]
    except DataError:
        return
    assert all(isinstance(image, np.ndarray) and image.dtype == np.uint8 for image in images)


# SVHN.


def write_svhn(path: Path, pixels: np.ndarray, digits: list[int]) -> None:
    """As published: (32, 32, 3, N), and 10 for the digit 0."""
    savemat = pytest.importorskip("scipy.io").savemat
    labels = np.array([[digit or 10] for digit in digits], np.uint8)
    savemat(path, {"X": pixels.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)


@pytest.fixture
def house_numbers(tmp_path: Path, photos: np.ndarray) -> tuple[Path, np.ndarray, list[int]]:
    pixels, labels = photos[:, :32, 20:52], [0, 1, 2, 9, 0, 3, 4, 5, 6, 7, 8, 1]
    write_svhn(tmp_path / "train_32x32.mat", pixels[:8], labels[:8])
    write_svhn(tmp_path / "test_32x32.mat", pixels[8:], labels[8:])
    return tmp_path, pixels, labels


def test_house_numbers_as_torchvision_reads_them(house_numbers: tuple[Path, np.ndarray, list[int]]) -> None:
    root, pixels, labels = house_numbers
    source = open_source(root)
    items = list(source.items())
    assert source.kind == "svhn"
    assert source.class_names == tuple("0123456789")
    assert [(item.label, item.split) for item in items] == [
        (str(label), "train" if row < 8 else "test") for row, label in enumerate(labels)
    ]
    images = np.stack([source.read(item.source) for item in items])
    np.testing.assert_array_equal(images, pixels)
    datasets = pytest.importorskip("torchvision.datasets")

    class Unchecked(datasets.SVHN):  # type: ignore[misc,name-defined]
        def _check_integrity(self) -> bool:
            return True

    for split in ("train", "test"):
        theirs = Unchecked(str(root), split=split)
        ours = [row for row, item in enumerate(items) if item.split == split]
        assert [int(items[row].label or -1) for row in ours] == theirs.labels.tolist()
        np.testing.assert_array_equal(images[ours].transpose(0, 3, 1, 2), theirs.data)


def test_further_house_numbers_train_and_one_file_stands_alone(
    house_numbers: tuple[Path, np.ndarray, list[int]],
) -> None:
    root, pixels, _ = house_numbers
    write_svhn(root / "extra_32x32.mat", pixels[:2], [4, 0])
    (root / "readme.txt").write_text("mine")
    items = list(open_source(root).items())
    assert [item.source for item in items if item.split == "train"][8:] == ["extra_32x32.mat#0", "extra_32x32.mat#1"]
    assert [stray.source for stray in open_source(root).strays()] == ["readme.txt"]
    assert [item.split for item in open_source(root / "test_32x32.mat").items()] == ["test"] * 4


def test_files_of_matlab_that_are_no_house_numbers(tmp_path: Path, house_numbers: tuple[Path, Any, Any]) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    whole = (tmp_path / "test_32x32.mat").read_bytes()
    savemat(tmp_path / "a.mat", {"A": np.zeros(3)})
    savemat(tmp_path / "b.mat", {"X": np.zeros((3, 3)), "y": np.ones((3, 1), np.uint8)})
    savemat(tmp_path / "c.mat", {"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([[1], [11]], np.uint8)})
    savemat(tmp_path / "d.mat", {"X": np.zeros((4, 4, 3, 2), np.uint8), "y": np.array([[1]], np.uint8)})
    (tmp_path / "e.mat").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "f.mat").write_bytes(b"nothing")
    (tmp_path / "g.mat").write_bytes(b"")
    words = ["X missing", r"X float64 \(3, 3\)", "label 11", "2 images, 1 labels", *["as a MATLAB file"] * 3]
    for name, expected in zip("abcdefg", words, strict=True):
        with pytest.raises(DataError, match=expected):
            list(open_source(tmp_path / f"{name}.mat").items())


# STL-10.

STL_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def write_stl10(folder: Path, pixels: np.ndarray, labels: list[int]) -> Path:
    """As published: each colour column by column, labels from 1."""
    folder.mkdir(parents=True)
    for part, rows in (("train", slice(0, 8)), ("test", slice(8, None))):
        (folder / f"{part}_X.bin").write_bytes(pixels[rows].transpose(0, 3, 2, 1).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels[rows]))
    (folder / "unlabeled_X.bin").write_bytes(pixels[:3].tobytes())
    (folder / "class_names.txt").write_text("\n".join(STL_CLASSES) + "\n")
    return folder


def test_stl_10_as_torchvision_reads_it(tmp_path: Path, photos: np.ndarray) -> None:
    labels = [0, 1, 2, 9, 0, 3, 4, 5, 6, 7, 8, 1]
    folder = write_stl10(tmp_path / "stl10_binary", photos, labels)
    (tmp_path / "stl10_binary.tar.gz").write_bytes(b"packed")
    for place in (folder, tmp_path):
        source = open_source(place)
        items = list(source.items())
        assert source.kind == "stl10"
        assert source.class_names == STL_CLASSES
        assert [(item.label, item.split) for item in items] == [
            (STL_CLASSES[label], "train" if row < 8 else "test") for row, label in enumerate(labels)
        ]
        images = np.stack([source.read(item.source) for item in items])
        np.testing.assert_array_equal(images, photos)
    strays = {stray.source: stray.reason for stray in source.strays()}
    assert strays["unlabeled_X.bin"] == "100,000 images without labels"
    assert "beside stl10_binary" in strays["stl10_binary.tar.gz"]
    datasets = pytest.importorskip("torchvision.datasets")

    class Unchecked(datasets.STL10):  # type: ignore[misc,name-defined]
        def _check_integrity(self) -> bool:
            return True

    for split, rows in (("train", slice(0, 8)), ("test", slice(8, None))):
        theirs = Unchecked(str(tmp_path), split=split)
        assert theirs.labels.tolist() == labels[rows]
        np.testing.assert_array_equal(images[rows].transpose(0, 3, 1, 2), theirs.data)


def test_an_incomplete_stl_10(tmp_path: Path, photos: np.ndarray) -> None:
    folder = write_stl10(tmp_path / "stl10_binary", photos, [0] * 12)
    (folder / "train_y.bin").write_bytes(bytes([1, 2, 3]))
    with pytest.raises(DataError, match="8 images, 3 labels"):
        list(open_source(folder).items())
    (folder / "train_y.bin").write_bytes(bytes([0] * 8))
    with pytest.raises(DataError, match="label -1"):
        list(open_source(folder).items())
    (folder / "train_X.bin").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="has 100 bytes"):
        list(open_source(folder).items())
    (folder / "class_names.txt").unlink()
    with pytest.raises(DataError, match=r"lacks class_names\.txt"):
        stl10.open_stl10(folder, "x")


# The MNIST family.


def idx(array: np.ndarray) -> bytes:
    code = {np.dtype(np.uint8): 8, np.dtype(np.int32): 12}[array.dtype]
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def write_idx(
    folder: Path, digits: tuple[np.ndarray, np.ndarray], prefixes: tuple[str, str] = ("train", "t10k"), suffix: str = ""
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pack: Callable[[bytes], bytes] = gzip.compress if suffix else bytes
    for prefix, rows in zip(prefixes, (slice(0, 80), slice(80, None)), strict=True):
        (folder / f"{prefix}-images-idx3-ubyte{suffix}").write_bytes(pack(idx(digits[0][rows])))
        (folder / f"{prefix}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(digits[1][rows].astype(np.uint8))))
    return folder


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_roots_of_torchvision_as_torchvision_reads_them(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], name: str
) -> None:
    raw = write_idx(tmp_path / "data" / name / "raw", digits)
    (tmp_path / "data" / "notes.txt").write_text("mine")
    datasets = pytest.importorskip("torchvision.datasets")
    theirs = [getattr(datasets, name)(str(tmp_path / "data"), train=train) for train in (False, True)]
    targets = [target for part in theirs for target in part.targets.tolist()]
    for place in (tmp_path / "data", tmp_path / "data" / name, raw):
        source = open_source(place)
        items = list(source.items())
        assert source.kind == "idx"
        assert [item.split for item in items] == ["test"] * 40 + ["train"] * 80
        names = tuple("0123456789") if name == "MNIST" else tuple(theirs[0].classes)
        assert source.class_names == names
        assert [item.label for item in items] == [names[target] for target in targets]
        expected = np.concatenate([part.data.numpy() for part in theirs])
        np.testing.assert_array_equal([source.read(item.source) for item in items], expected)
    assert [stray.source for stray in open_source(tmp_path / "data").strays()] == ["notes.txt"]


def test_keras_fashion_mnist(
    tmp_path: Path, digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = tmp_path / "keras" / "datasets"
    write_idx(datasets / "fashion-mnist", digits, suffix=".gz")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(named, "_DEBIAN_FOLDER", tmp_path / "debian")
    for variable in ("EYEBRIGHT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for place in (datasets, datasets / "fashion-mnist", "fashion-mnist"):
        source = open_source(place)
        assert source.class_names == named.FASHION_MNIST_CLASSES
        assert len(list(source.items())) == 120
    save(datasets / "mnist.npz", **thirds(digits))
    assert open_source("mnist").kind == "npz"
    with pytest.raises(DataError, match="several data sets") as caught:
        open_source(datasets)
    assert str(datasets / "mnist.npz") in caught.value.problem
    assert str(datasets / "fashion-mnist") in caught.value.problem
    # Where the user says that the data are comes first.
    write_idx(tmp_path / "data" / "MNIST" / "raw", digits)
    monkeypatch.setenv("EYEBRIGHT_DATA", str(tmp_path / "data"))
    assert open_source("mnist").kind == "idx"


def test_emnist_is_turned_upright_and_asks_which_set(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    stored = np.ascontiguousarray(images.transpose(0, 2, 1))  # column by column, as published
    raw = write_idx(tmp_path / "EMNIST" / "raw", (stored, labels), ("emnist-digits-train", "emnist-digits-test"))
    source = open_source(tmp_path)
    items = list(source.items())
    assert {item.split for item in items} == {"train", "test"}
    assert source.class_names == tuple("0123456789")
    read = {item.source: source.read(item.source) for item in items}
    np.testing.assert_array_equal(read["emnist-digits-train-images-idx3-ubyte#5"], images[5])
    np.testing.assert_array_equal(read["emnist-digits-test-images-idx3-ubyte#2"], images[82])

    write_idx(raw, (stored, labels + 1), ("emnist-letters-train", "emnist-letters-test"), ".gz")
    for place in (tmp_path, raw):
        with pytest.raises(DataError, match="several sets of EMNIST: emnist-digits, emnist-letters") as caught:
            open_source(place)
        assert str(raw / "emnist-digits-test-images-idx3-ubyte") in (caught.value.remedy or "")
    letters = open_source(raw / "emnist-letters-train-images-idx3-ubyte.gz")
    items = list(letters.items())
    assert sorted({item.split for item in items if item.split}) == ["test", "train"]
    assert [item.label for item in items if item.split == "train"][:3] == ["a", "b", "c"]


def test_class_names_of_emnist_agree_with_torchvisions(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    for name, theirs in datasets.EMNIST.classes_split_dict.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"emnist-{name}-test-images-idx3-ubyte").write_bytes(idx(np.zeros((1, 2, 2), np.uint8)))
        (folder / f"emnist-{name}-test-labels-idx1-ubyte").write_bytes(idx(np.ones(1, np.uint8)))
        ours = open_source(folder).class_names
        assert ours is not None
        assert [label.removeprefix("capital ").removeprefix("small ") for label in ours] == theirs
        refuse_colliding_class_names(ours, remedy="")  # A and a are two names


def test_qmnist_as_torchvision_reads_it(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    table = np.zeros((120, 8), np.int32)
    table[:, 0], table[:, 2] = labels, 1000 + np.arange(120)
    for part, rows in (("train", slice(0, 80)), ("test", slice(80, None))):
        (raw / f"qmnist-{part}-images-idx3-ubyte").write_bytes(idx(images[rows]))
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(idx(table[rows]))
    source = open_source(tmp_path)
    items = list(source.items())
    assert [item.extra["writer"] for item in items if item.split == "train"] == list(range(1000, 1080))
    datasets = pytest.importorskip("torchvision.datasets")
    for split in ("train", "test"):
        theirs = datasets.QMNIST(str(tmp_path), what=split)
        ours = [item for item in items if item.split == split]
        assert [int(item.label or -1) for item in ours] == theirs.targets[:, 0].tolist()
        np.testing.assert_array_equal([source.read(item.source) for item in ours], theirs.data.numpy())
    table[0, 0] = 2**30
    (raw / "qmnist-test-labels-idx2-int").write_bytes(idx(table[80:]))
    (raw / "qmnist-train-labels-idx2-int").write_bytes(idx(table[:80]))
    with pytest.raises(DataError, match="qmnist-train-labels"):
        open_source(tmp_path)


def test_labels_must_lie_beside_images_in_a_root(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    raw = write_idx(tmp_path / "MNIST" / "raw", digits)
    (raw / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="no labels beside it"):
        open_source(tmp_path)


def test_folders_of_images_are_not_taken_for_published_sets(make_folder: Callable[..., Path]) -> None:
    root = make_folder({"MNIST/1.png": 1, "raw/2.png": 2, "fashion-mnist/3.png": 3, "stl10/4.png": 4, "meta": b"x"})
    for name in ("train", "test"):
        make_folder({f"{name}/cat/1.png": 5, f"{name}/dog/1.png": 6, "meta": b"x"}, name="split")
    assert open_source(root).kind == "folder"
    assert open_source(root.parent / "split").kind == "split-folders"


def test_names_of_the_sets_are_known() -> None:
    assert len(idx_sets.FASHION_MNIST_CLASSES) == len(idx_sets.KMNIST_CLASSES) == 10
    assert {"mnist", "cifar10", "cifar100"} < set(named.NAMES)
    assert list(svhn.SPLITS.values()) == ["train", "train", "test"]
