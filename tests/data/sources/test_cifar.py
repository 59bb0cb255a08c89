from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import python2_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, cifar, named, open_source
from eyebright.decode import UndecodableImage, decode_image
from eyebright.errors import DataError, MissingDependencyError
from eyebright.identity import content_id

FOLDERS = {layout.folder: layout for layout in cifar.LAYOUTS}
# What torchvision knows the published files with class names by.
PUBLISHED_MD5 = {
    "cifar-10-batches-py": "5ff9c542aee3614f3951f8cda6e48888",
    "cifar-100-python": "7973b15100ade9c7d40fb424638fde48",
}
ROWS = {"train": 300, "test": 100}


class Part(NamedTuple):
    """Real rows of one split: encoded images, pixels (N, 32, 32, 3), labels and superclasses by number."""

    encoded: list[bytes]
    pixels: npt.NDArray[np.uint8]
    labels: list[int]
    superclasses: list[int]


class Real(NamedTuple):
    """Real rows of CIFAR-10 or CIFAR-100 and the names of their classes."""

    parts: dict[str, Part]
    names: list[str]
    superclass_names: list[str]


def read_rows(folder: Path) -> Real:
    parts, names, above = {}, [], []
    for split, count in ROWS.items():
        file = pq.ParquetFile(next(iter(sorted(folder.glob(f"{split}-*.parquet")))))
        features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        table = next(file.iter_batches(count))
        encoded = [row["bytes"] for row in table["image" if "image" in features else "img"].to_pylist()]
        names, above = features["label"]["names"], features.get("superclass", {}).get("names", [])
        coarse = table["superclass"].to_pylist() if above else []
        pixels = np.stack([np.asarray(decode_image(content)) for content in encoded])
        parts[split] = Part(encoded, pixels, table["label"].to_pylist(), coarse)
    return Real(parts, names, above)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> dict[str, Real]:
    return {"cifar10": read_rows(shared_data / "cifar10"), "cifar100": read_rows(shared_data / "cifar100-fifth")}


def batches(part: Part, count: int) -> list[Part]:
    edges = np.linspace(0, len(part.labels), count + 1).astype(int)
    return [Part(*(values[start:end] for values in part)) for start, end in itertools.pairwise(edges)]


def published_files(folder: str, real: Real) -> dict[str, bytes]:
    """The files of one layout, in the published form, with few images."""
    layout = FOLDERS[folder]
    files: dict[str, bytes] = {"readme.html": b"<html></html>"}
    ten = layout.data_set == "cifar10"
    names = [name.encode() for name in real.names]
    above = [name.encode() for name in real.superclass_names]
    if layout.form == "binary":
        texts = [names] if ten else [names, above]
        files |= {file: b"\n".join(lines) + b"\n" for file, lines in zip(layout.meta, texts, strict=True)}
    elif ten:
        meta = {b"num_cases_per_batch": 10000, b"label_names": names, b"num_vis": 3072}
        files["batches.meta"] = python2_pickle.dumps(meta)
    else:
        files["meta"] = python2_pickle.dumps({b"fine_label_names": names, b"coarse_label_names": above})
    parts = [*batches(real.parts["train"], 5 if ten else 1), real.parts["test"]]
    for file, part in zip(layout.splits, parts, strict=True):
        planes = part.pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)
        if layout.form == "binary":
            numbers = [part.labels] if ten else [part.superclasses, part.labels]
            columns = [np.array(values, np.uint8)[:, None] for values in numbers]
            files[file] = np.hstack([*columns, planes]).tobytes()
            continue
        content: dict[bytes, object] = {b"batch_label": f"batch {file}".encode()}
        content |= {b"labels": part.labels} if ten else {b"fine_labels": part.labels}
        content |= {} if ten else {b"coarse_labels": part.superclasses}
        content[b"data"] = np.ascontiguousarray(planes)
        content[b"filenames"] = [
            f"{real.names[label]}_s_{row:06}.png".encode() for row, label in enumerate(part.labels)
        ]
        files[file] = python2_pickle.dumps(content)
    return files


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (root / name).write_bytes(content)
    return root


def write_archive(path: Path, folder: str, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        archive.addfile(top)
        for name in sorted(files, reverse=True):  # in no useful order, as in the published archives
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return path


Write = Callable[[str], dict[str, bytes]]


@pytest.fixture(scope="module")
def files_of(real: dict[str, Real]) -> Write:
    """The files of a layout by its folder's name."""
    made = {folder: published_files(folder, real[layout.data_set]) for folder, layout in FOLDERS.items()}
    return lambda folder: dict(made[folder])


def assert_is(source: Source, real: Real) -> None:
    """Labels, splits, superclasses and pixels are those of the decoded Parquet rows."""
    assert source.kind == "cifar"
    assert source.class_names == tuple(real.names)
    items = list(source.items())
    train, test = real.parts["train"], real.parts["test"]
    assert [item.split for item in items] == ["train"] * ROWS["train"] + ["test"] * ROWS["test"]
    assert [item.label for item in items] == [real.names[label] for label in train.labels + test.labels]
    above = [real.superclass_names[label] for label in train.superclasses + test.superclasses]
    assert [item.superclass for item in items] == (above or [None] * len(items))
    expected = [content_id(np.asarray(decode_image(content))) for content in train.encoded + test.encoded]
    images = [source.read(item.source) for item in items]
    assert [content_id(image) for image in images] == expected
    assert all(isinstance(i, np.ndarray) and i.shape == (32, 32, 3) and i.flags["C_CONTIGUOUS"] for i in images)


def test_the_files_written_here_are_in_the_published_form(real: dict[str, Real], files_of: Write) -> None:
    for folder, md5 in PUBLISHED_MD5.items():
        meta = files_of(folder)[FOLDERS[folder].meta[0]]
        assert hashlib.md5(meta).hexdigest() == md5


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("form", ["folder", "renamed folder", "root", "tar.gz", "tar", "unknown name"])
def test_every_form_gives_the_same_images(
    tmp_path: Path, real: dict[str, Real], files_of: Write, folder: str, form: str
) -> None:
    layout, files = FOLDERS[folder], files_of(folder)
    place = {
        "folder": lambda: write_folder(tmp_path / folder, files),
        "renamed folder": lambda: write_folder(tmp_path / "mine", files),
        "root": lambda: write_folder(tmp_path / "data" / folder, files).parent,
        "tar.gz": lambda: write_archive(tmp_path / layout.archives[0], folder, files),
        "tar": lambda: write_archive(tmp_path / layout.archives[0].removesuffix(".gz"), folder, files, "w"),
        "unknown name": lambda: write_archive(tmp_path / "download", folder, files),
    }[form]()
    before = sorted(tmp_path.rglob("*"))
    source = open_source(place)
    assert source.spec == str(place)
    assert_is(source, real[layout.data_set])
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked
    (stray,) = source.strays()
    assert Path(stray.source).name == "readme.html"


def test_rows_are_named_alike_in_every_form(tmp_path: Path, files_of: Write) -> None:
    files = files_of("cifar-10-batches-py")
    folder = open_source(write_folder(tmp_path / "mine", files))
    archive = open_source(write_archive(tmp_path / "x.tgz", "cifar-10-batches-py", files))
    assert list(folder.items()) == list(archive.items())
    names = [item.source for item in folder.items()]
    assert names[0] == "data_batch_1#0"
    assert names[-1] == f"test_batch#{ROWS['test'] - 1}"


def test_file_names_of_the_authors_are_kept_where_there_are_any(tmp_path: Path, files_of: Write) -> None:
    python = open_source(write_folder(tmp_path / "py", files_of("cifar-100-python")))
    binary = open_source(write_folder(tmp_path / "bin", files_of("cifar-100-binary")))
    for row, item in enumerate(python.items()):
        assert item.extra == {"filename": f"{item.label}_s_{row % ROWS['train']:06}.png"}
    assert all(not item.extra for item in binary.items())


@pytest.mark.parametrize(("name", "folder"), [("CIFAR10", "cifar-10-batches-py"), ("CIFAR100", "cifar-100-python")])
def test_torchvisions_reader_sees_the_same(tmp_path: Path, files_of: Write, name: str, folder: str) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    write_folder(tmp_path / folder, files_of(folder))

    class Unchecked(getattr(datasets, name)):  # type: ignore[misc]
        def _check_integrity(self) -> bool:
            return True  # of the batches, which hold few images here; that of the class names stays

    source = open_source(tmp_path)
    items = list(source.items())
    for split in ("train", "test"):
        theirs = Unchecked(str(tmp_path), train=split == "train")
        ours = [item for item in items if item.split == split]
        assert [item.label for item in ours] == [theirs.classes[label] for label in theirs.targets]
        np.testing.assert_array_equal(np.stack([source.read(item.source) for item in ours]), theirs.data)


# Where torchvision and Keras keep it.


def keras_2(root: Path, folder: str, files: dict[str, bytes]) -> None:
    write_folder(root / folder, files)
    write_archive(root / f"{folder}.tar.gz", folder, files)


def keras_3(root: Path, folder: str, files: dict[str, bytes]) -> None:
    write_folder(root / f"{folder}-target" / folder, files)
    write_archive(root / f"{folder}-target_archive", folder, files)


def keras_3_without_the_folder(root: Path, folder: str, files: dict[str, bytes]) -> None:
    write_archive(root / f"{folder}-target_archive", folder, files)


def torchvision(root: Path, folder: str, files: dict[str, bytes]) -> None:
    write_folder(root / folder, files)
    write_archive(root / FOLDERS[folder].archives[0], folder, files)


@pytest.mark.parametrize("keep", [keras_2, keras_3, keras_3_without_the_folder, torchvision])
@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar-100-python"])
def test_the_caches_of_keras_and_torchvision(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    real: dict[str, Real],
    files_of: Write,
    keep: Callable[[Path, str, dict[str, bytes]], None],
    folder: str,
) -> None:
    name = FOLDERS[folder].data_set
    root = tmp_path / "home" / ".keras" / "datasets"
    root.mkdir(parents=True)
    keep(root, folder, files_of(folder))
    (root / "notes.txt").write_text("mine")
    source = open_source(root)
    assert_is(source, real[name])
    strays = {stray.source: stray.reason for stray in source.strays()}
    assert "beside" in strays["notes.txt"]
    # By name, too; and nothing is taken from a folder `data` that was not named.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("KERAS_HOME", "EYEBRIGHT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    found = open_source(name)
    assert found.spec == name
    assert_is(found, real[name])
    for variable in ("EYEBRIGHT_DATA", "KERAS_HOME"):
        monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
        monkeypatch.setenv(variable, str(root if variable == "EYEBRIGHT_DATA" else root.parent))
        assert_is(open_source(name), real[name])
        monkeypatch.delenv(variable)


def test_a_name_is_not_looked_for_in_folders_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_of: Write
) -> None:
    for place in (tmp_path / "data", tmp_path / "home" / "data"):
        write_folder(place / "cifar-10-batches-py", files_of("cifar-10-batches-py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in ("KERAS_HOME", "EYEBRIGHT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("cifar10", "cifar100", "mnist"):
        with pytest.raises(MissingDependencyError, match=f"{name} is not on this machine") as caught:
            open_source(name)
        assert str(tmp_path / "home" / ".keras" / "datasets") in (caught.value.expected or "")
        assert "--download" in (caught.value.remedy or "")


def test_a_download_needs_consent_and_is_found_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: dict[str, Real], files_of: Write
) -> None:
    monkeypatch.setenv("EYEBRIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KERAS_HOME", raising=False)
    asked: list[tuple[str, Path]] = []

    def download(name: str, target: Path) -> None:
        asked.append((name, target))
        write_folder(target / "cifar-100-python", files_of("cifar-100-python"))

    monkeypatch.setattr(named, "_download", download)
    with pytest.raises(MissingDependencyError):
        open_source("cifar100")
    assert not asked
    assert_is(open_source("cifar100", consent_download=True), real["cifar100"])
    assert_is(open_source("cifar100", consent_download=True), real["cifar100"])
    assert asked == [("cifar100", tmp_path / "data")]


def test_a_failing_download_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    monkeypatch.setenv("EYEBRIGHT_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    def fail(root: str, train: bool, download: bool) -> None:
        assert (root, download) == (str(tmp_path), True)
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(MissingDependencyError, match=r"cifar10 could not be downloaded.*no route to host"):
        open_source("cifar10", consent_download=True)


def test_several_sets_in_one_root_are_listed(tmp_path: Path, files_of: Write, make_folder: Callable[..., Path]) -> None:
    for folder in ("cifar-10-batches-py", "cifar-100-python"):
        write_folder(tmp_path / folder, files_of(folder))
    with pytest.raises(DataError, match="holds several data sets") as caught:
        open_source(tmp_path)
    assert f"{tmp_path / 'cifar-10-batches-py'} (CIFAR-10, Python version)" in caught.value.problem
    assert f"{tmp_path / 'cifar-100-python'} (CIFAR-100, Python version)" in caught.value.problem
    assert str(tmp_path / "cifar-10-batches-py") in (caught.value.remedy or "")
    root = make_folder({"photos/cat/1.png": 1, "photos/dog/2.png": 2}, name="root")
    write_folder(root / "cifar-100-python", files_of("cifar-100-python"))
    with pytest.raises(DataError, match=r"photos \(a folder of images\)"):
        open_source(root)
    assert open_source(root / "photos").kind == "folder"


# Lazily, once, from many threads.


@pytest.mark.parametrize("packed", [False, True])
def test_batches_are_read_at_first_use_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files_of: Write, packed: bool
) -> None:
    folder = "cifar-10-batches-py"
    files = files_of(folder)
    place = write_archive(tmp_path / "a.tar.gz", folder, files) if packed else write_folder(tmp_path / folder, files)
    read: list[str] = []
    original = cifar.read_pickle
    monkeypatch.setattr(cifar, "read_pickle", lambda content, name: (read.append(name), original(content, name))[1])
    source = open_source(place)
    assert len(read) == 1  # the class names
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(source.read, ["data_batch_2#3", "data_batch_3#0"] * 20))
    assert len(read) == (7 if packed else 3)
    assert all(np.array_equal(image, images[n % 2]) for n, image in enumerate(images))
    list(source.items())
    list(source.items())
    assert len(read) == 7
    images[0][:] = 0  # a reader's copy is its own
    assert np.array_equal(source.read("data_batch_2#3"), images[2])


@pytest.mark.parametrize("row", ["data_batch_1#60", "data_batch_1#-1", "data_batch_1#x", "data_batch_9#0", "nothing"])
def test_rows_that_are_not_there(tmp_path: Path, files_of: Write, row: str) -> None:
    source = open_source(write_folder(tmp_path / "c", files_of("cifar-10-batches-py")))
    with pytest.raises(UndecodableImage, match="no row") as caught:
        source.read(row)
    assert caught.value.status == "missing"


def test_a_manifest_of_a_real_batch(tmp_path: Path, real: dict[str, Real], files_of: Write) -> None:
    place = write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files_of("cifar-100-python"))
    manifest = Manifest.scan(open_source(place))
    rows = manifest.table.to_pylist()
    assert len([row for row in rows if row["status"] == "ok"]) == sum(ROWS.values())
    assert {(row["width"], row["height"], row["format"]) for row in rows if row["id"]} == {(32, 32, "array")}
    assert rows[0]["superclass"] == real["cifar100"].superclass_names[real["cifar100"].parts["train"].superclasses[0]]
    assert rows[0]["filename"].endswith("_s_000000.png")
    assert manifest.kind == "cifar"


def test_strange_names_beside_a_set_are_listed(tmp_path: Path, files_of: Write) -> None:
    write_folder(tmp_path / "cifar-10-batches-bin", files_of("cifar-10-batches-bin"))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("not UTF-8")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere.npz").symlink_to("gone")
    (tmp_path / "notes").mkdir()
    manifest = Manifest.scan(open_source(tmp_path))
    manifest.write(tmp_path / "manifest.parquet")
    strays = {row["source"] for row in manifest.ledger() if row["status"] == "stray"}
    assert strays == {"caf\\udce9.txt", "loop", "nowhere.npz", "notes/", "readme.html"}


# Damage.


@pytest.mark.parametrize("folder", FOLDERS)
def test_missing_files_are_named(tmp_path: Path, files_of: Write, folder: str) -> None:
    layout, files = FOLDERS[folder], files_of(folder)
    for gone in (layout.meta[0], list(layout.splits)[-1]):
        rest = {name: content for name, content in files.items() if name != gone}
        with pytest.raises(DataError, match=f"lacks {gone}"):
            open_source(write_folder(tmp_path / gone / folder, rest))
        with pytest.raises(DataError, match=f"lacks {gone}"):
            open_source(write_archive(tmp_path / gone / "x.tar.gz", folder, rest))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_archives_cut_off_are_refused(tmp_path: Path, files_of: Write, mode: str, share: float) -> None:
    folder = "cifar-10-batches-bin"
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", folder, files_of(folder), mode)
    content = path.read_bytes()
    # The end of a tar is 10 kB of padding that nobody misses.
    path.write_bytes(content[: int((len(content) - (11_000 if mode == "w" else 0)) * share)])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):
        list(open_source(path).items())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_archive_gives_a_data_error_or_what_a_tar_reader_finds(
    tmp_path_factory: pytest.TempPathFactory, files_of: Write, data: st.DataObject
) -> None:
    folder = "cifar-100-binary"
    files = {name: content[: 20 * 3074] if ".bin" in name else content for name, content in files_of(folder).items()}
    path = write_archive(
        tmp_path_factory.mktemp("damaged") / "x.tar.gz", folder, files, data.draw(st.sampled_from(["w", "w:gz"]))
    )
    content = bytearray(path.read_bytes())
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        source = open_source(path)
        items = list(source.items())
    except DataError:
        return
    assert source.kind == "cifar"
    assert len(items) == 40


def test_a_page_saved_under_the_name_of_an_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_text("<html>404</html>")
    with pytest.raises(DataError, match="cannot be read") as caught:
        open_source(tmp_path / "cifar-10-python.tar.gz")
    assert "fetch the data set again" in (caught.value.remedy or "")


def test_links_and_strangers_in_an_archive_are_not_followed(tmp_path: Path, files_of: Write) -> None:
    folder = "cifar-10-batches-bin"
    files = files_of(folder)
    secret = tmp_path / "secret"
    secret.write_bytes(files.pop("test_batch.bin"))
    path = write_archive(tmp_path / "x.tar", folder, files, "w")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo(f"{folder}/test_batch.bin")
            member.type, member.linkname = kind, str(secret)
            archive.addfile(member)
            outside = tarfile.TarInfo("test_batch.bin")
            outside.size = secret.stat().st_size
            archive.addfile(outside, io.BytesIO(secret.read_bytes()))
        with pytest.raises(DataError, match=r"lacks test_batch\.bin"):
            open_source(path)


BAD_BATCHES: dict[str, tuple[dict[bytes, object], str]] = {
    "a label without a name": ({b"labels": [0, 10]}, "label 10 where 10 class names"),
    "a negative label": ({b"labels": [0, -1]}, "label -1"),
    "a huge label": ({b"labels": [0, 2**31 - 1]}, "label 2147483647"),
    "too few labels": ({b"labels": [0]}, "2 images, 1 labels"),
    "labels of text": ({b"labels": [b"cat", b"dog"]}, "no list of numbers named 'labels'"),
    "no pixels": ({b"data": None}, "pixels NoneType"),
    "pixels of another size": ({b"data": np.zeros((2, 100), np.uint8)}, r"pixels uint8 \(2, 100\)"),
    "pixels of another type": ({b"data": np.zeros((2, 3072), np.float32)}, "pixels float32"),
    "pixels in rows": ({b"data": np.zeros((2, 3072, 1), np.uint8)}, "pixels uint8"),
    "too few file names": ({b"filenames": [b"x.png"]}, "1 filename"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_batches_that_cannot_be_right_are_refused(tmp_path: Path, files_of: Write, name: str) -> None:
    change, words = BAD_BATCHES[name]
    batch = {b"labels": [0, 1], b"data": np.zeros((2, 3072), np.uint8), b"filenames": [b"a.png", b"b.png"], **change}
    files = files_of("cifar-10-batches-py") | {"data_batch_3": python2_pickle.dumps(batch)}
    source = open_source(write_folder(tmp_path / "c", files))
    with pytest.raises(DataError, match=words) as caught:
        list(source.items())
    assert "data_batch_3" in caught.value.problem


def test_other_damage(tmp_path: Path, files_of: Write) -> None:
    binary, python = files_of("cifar-10-batches-bin"), files_of("cifar-10-batches-py")
    short = write_folder(tmp_path / "short", binary | {"data_batch_2.bin": binary["data_batch_2.bin"][:-1]})
    with pytest.raises(DataError, match=r"data_batch_2\.bin has .* bytes"):
        list(open_source(short).items())
    with pytest.raises(DataError, match="names no classes"):
        open_source(write_folder(tmp_path / "nameless", binary | {"batches.meta.txt": b"\n"}))
    with pytest.raises(DataError, match="holds a list"):
        open_source(write_folder(tmp_path / "list", python | {"batches.meta": python2_pickle.dumps([])}))
    twice = {b"label_names": [b"cat", b"Cat"]}
    with pytest.raises(DataError, match="differ only by case"):
        open_source(write_folder(tmp_path / "twice", python | {"batches.meta": python2_pickle.dumps(twice)}))
    source = open_source(write_folder(tmp_path / "gone", python))
    (tmp_path / "gone" / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch cannot be read"):
        source.read("test_batch#0")


class Touching:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("file", ["batches.meta", "data_batch_1"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_that_would_run_a_command_does_not(tmp_path: Path, files_of: Write, file: str, packed: bool) -> None:
    evil = pickle.dumps({b"labels": Touching(tmp_path / "made")}, 2)
    folder, files = "cifar-10-batches-py", files_of("cifar-10-batches-py") | {file: evil}
    place = write_archive(tmp_path / "a.tgz", folder, files) if packed else write_folder(tmp_path / folder, files)
    with pytest.raises(DataError, match=r"posix\.system.*nothing of it was executed"):
        list(open_source(place).items())
    assert not (tmp_path / "made").exists()


SMALL = {
    b"labels": [3, 1],
    b"data": np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8),
    b"filenames": [b"a.png", b"b.png"],
}
WHOLE = python2_pickle.dumps(SMALL)
FIRST_PIXEL = WHOLE.index(SMALL[b"data"].tobytes())  # type: ignore[attr-defined]
# Every position outside the pixels, and a few of them.
POSITIONS = [n for n in range(len(WHOLE)) if not FIRST_PIXEL + 20 <= n < FIRST_PIXEL + 2 * 3072]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, files_of: Write) -> Path:
    """An unpacked archive with two images in each batch."""
    files = files_of("cifar-10-batches-py")
    return write_folder(
        tmp_path_factory.mktemp("few"), files | dict.fromkeys(FOLDERS["cifar-10-batches-py"].splits, WHOLE)
    )


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(POSITIONS), st.integers(0, 255)), max_size=4),
    st.integers(0, len(WHOLE)) | st.none(),
)
def test_a_damaged_batch_gives_a_data_error_or_images(
    few: Path, changes: list[tuple[int, int]], end: int | None
) -> None:
    content = bytearray(WHOLE)
    for position, value in changes:
        content[position] = value
    (few / "data_batch_4").write_bytes(content[:end])
    source = open_source(few)
    try:
        items = [item for item in source.items() if item.source.startswith("data_batch_4")]
        images = [source.read(item.source) for item in items]
    except DataError:
        assert bytes(content[:end]) != WHOLE
        return
    assert source.class_names is not None
    assert {item.label for item in items} <= set(source.class_names)
    for row, image in enumerate(images):
        assert isinstance(image, np.ndarray)
        assert image.shape == (32, 32, 3)
        if bytes(content[:end]) == WHOLE:
            expected = np.asarray(SMALL[b"data"])[row].reshape(3, 32, 32).transpose(1, 2, 0)
            np.testing.assert_array_equal(image, expected)
