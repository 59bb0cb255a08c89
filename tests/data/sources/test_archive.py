from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from archive_files import patched, read_reason, reasons, write_tar, write_zip

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.base import Source
from eyebright.errors import StorageError

MakeFolder = Callable[..., Path]
Encode = Callable[..., bytes]

PACKERS = {
    "stored.zip": ("zip", zipfile.ZIP_STORED),
    "deflated.zip": ("zip", zipfile.ZIP_DEFLATED),
    "bzip2.zip": ("zip", zipfile.ZIP_BZIP2),
    "lzma.zip": ("zip", zipfile.ZIP_LZMA),
    "plain.tar": ("tar", "w:"),
    "gzip.tar.gz": ("tar", "w:gz"),
    "gzip.TGZ": ("tar", "w:gz"),
    "bzip2.tar.bz2": ("tar", "w:bz2"),
    "xz.txz": ("tar", "w:xz"),
    "misnamed.tar": ("tar", "w:gz"),
}

METADATA = b"file_name,label\ntrain/1.png,cat\ntest/2.png,dog\n"


def pack(root: Path, target: Path, top: str = "") -> Path:
    """Write the folder `root` into an archive of the kind that the name of `target` stands for in `PACKERS`."""
    kind, mode = PACKERS[target.name]
    paths = sorted(root.rglob("*"))
    if kind == "zip":
        assert isinstance(mode, int)
        with zipfile.ZipFile(target, "w", mode) as archive:
            for path in paths:
                archive.write(path, f"{top}{path.relative_to(root)}")
    else:
        assert isinstance(mode, str)
        with tarfile.open(target, mode) as packed:  # type: ignore[call-overload]
            for path in paths:
                packed.add(path, f"{top}{path.relative_to(root)}", recursive=False)
    return target


def rows(source: Source) -> list[tuple[str, str | None, str, str]]:
    table = Manifest.scan(source).table
    columns = (table[name].to_pylist() for name in ("id", "label", "source", "status"))
    return sorted(zip(*columns, strict=True), key=lambda row: row[2])


@pytest.mark.parametrize("name", PACKERS)
def test_an_archive_of_real_flowers_is_the_same_data_as_the_folder(
    flowers_sample: Path, tmp_path: Path, name: str
) -> None:
    packed = open_source(pack(flowers_sample, tmp_path / name))
    assert rows(packed) == rows(open_source(flowers_sample))
    assert packed.kind == "folder"
    assert packed.strays() == []
    with ThreadPoolExecutor(8) as pool:
        names = [item.source for item in packed.items()] * 3
        contents = pool.map(packed.read, names)
        assert all(
            content == (flowers_sample / name).read_bytes() for name, content in zip(names, contents, strict=True)
        )


def test_all_flowers_in_a_zip_and_a_tar(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "flowers"
    listed = [(item.source, item.label) for item in open_source(root).items()]
    for kind in ("zip", "tar"):
        made = shutil.make_archive(str(tmp_path / "flowers"), kind, root)
        assert [(item.source, item.label) for item in open_source(made).items()] == listed


@pytest.mark.parametrize("name", ["deflated.zip", "plain.tar"])
def test_a_single_top_folder_is_looked_through(make_folder: MakeFolder, tmp_path: Path, name: str) -> None:
    root = make_folder({"train/cat/1.png": 1, "train/dog/2.png": 2, "test/cat/3.png": 3, "README.md": b"#"})
    source = open_source(pack(root, tmp_path / name, top="pets-main/"))
    assert source.kind == "split-folders"
    assert [(item.source, item.label, item.split) for item in source.items()] == [
        ("pets-main/test/cat/3.png", "cat", "test"),
        ("pets-main/train/cat/1.png", "cat", "train"),
        ("pets-main/train/dog/2.png", "dog", "train"),
    ]
    assert set(reasons(source)) == {"pets-main/README.md"}


def test_a_metadata_file_counts_as_it_does_in_a_folder(encode: Encode, tmp_path: Path) -> None:
    members = {"train/1.png": encode(1), "test/2.png": encode(2), "metadata.csv": METADATA}
    source = open_source(write_zip(tmp_path / "x.zip", members))
    assert {(item.source, item.label, item.split) for item in source.items()} == {
        ("train/1.png", "cat", "train"),
        ("test/2.png", "dog", "test"),
    }
    assert source.read("test/2.png") == encode(2)


def test_a_zip_made_on_a_mac(encode: Encode, tmp_path: Path) -> None:
    members = {"pets/cat/1.png": encode(1), "pets/dog/2.png": encode(2), "pets/.DS_Store": b"x"}
    source = open_source(write_zip(tmp_path / "pets.zip", members | {"__MACOSX/pets/cat/._1.png": b"x"}))
    assert [(item.source, item.label) for item in source.items()] == [
        ("pets/cat/1.png", "cat"),
        ("pets/dog/2.png", "dog"),
    ]
    assert reasons(source) == {
        "__MACOSX/": "made by macOS when zipping (1 file inside)",
        "pets/.DS_Store": "made by macOS",
    }


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_that_lead_out_of_the_archive_are_strays(
    encode: Encode, tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    place = tmp_path / "deep" / "place"
    place.mkdir(parents=True)
    members = {
        "cat/1.png": encode(1),
        "./dog//./2.png": encode(2),
        "../evil.png": encode(3),
        "cat/../../evil.png": encode(4),
        "/tmp/evil.png": encode(5),
        "C:/evil.png": encode(6),
        "/".join("a" * 200) + "/7.png": encode(7),
        "cat/inner.zip": b"PK\x03\x04",
    }
    source = open_source(write(place / ("x.zip" if write is write_zip else "x.tar"), members))
    assert [(item.source, item.label) for item in source.items()] == [("cat/1.png", "cat"), ("dog/2.png", "dog")]
    found = reasons(source)
    assert set(found) == {*list(members)[2:]}
    assert "absolute path" in found["/tmp/evil.png"]
    assert "absolute path" in found["C:/evil.png"]
    assert "`..`" in found["../evil.png"]
    assert "100 folders deep" in found["/".join("a" * 200) + "/7.png"]
    assert read_reason(source, "../evil.png").status == "missing"
    Manifest.scan(source)
    assert {path.name for path in tmp_path.rglob("*.png")} == set()


def test_the_last_of_two_members_of_one_name_counts(encode: Encode, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"cat/1.png": encode(1), "dog/2.png": encode(2)})
    with tarfile.open(path, "a") as archive:
        for name, seed in (("cat/1.png", 3), ("cat/1.png/x.png", 4)):
            info = tarfile.TarInfo(name)
            info.size = len(encode(seed))
            archive.addfile(info, io.BytesIO(encode(seed)))
    source = open_source(path)
    assert source.read("cat/1.png") == encode(3)
    assert [(stray.source, stray.reason) for stray in source.strays()] == [
        ("cat/1.png", "a later member of the archive has the same name and takes its place"),
        ("cat/1.png/x.png", "cat/1.png is a file in the archive, and no folder"),
    ]


def test_links_within_a_tar_are_what_unpacking_makes_of_them(encode: Encode, tmp_path: Path) -> None:
    members = {"cat/1.png": encode(1), "cat/deep/2.png": encode(2), "dog/3.png": encode(3)}
    links = {
        "dog/link.png": (tarfile.SYMTYPE, "../cat/1.png"),
        "dog/hard.png": (tarfile.LNKTYPE, "cat/deep/2.png"),
        "bird": (tarfile.SYMTYPE, "cat/deep"),
        "dog/chain.png": (tarfile.SYMTYPE, "./../bird/2.png"),
        "dog/up": (tarfile.SYMTYPE, "../dog"),
        "dog/gone.png": (tarfile.SYMTYPE, "nowhere.png"),
        "dog/self.png": (tarfile.SYMTYPE, "self.png"),
    }
    path = write_tar(tmp_path / "x.tar", members, links)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "unpacked", filter="tar")
    source, unpacked = open_source(path), open_source(tmp_path / "unpacked")
    assert list(source.items()) == list(unpacked.items())
    assert reasons(source) == reasons(unpacked)
    for item in source.items():
        assert source.read(item.source) == unpacked.read(item.source)
    assert {item.source for item in source.items()} >= {"bird/2.png", "dog/hard.png", "dog/chain.png"}


@pytest.mark.parametrize("target", ["../../secret.png", "/etc/passwd", "{outside}/secret.png"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_out_of_a_tar_lead_nowhere(encode: Encode, tmp_path: Path, target: str, kind: bytes) -> None:
    (tmp_path / "secret.png").write_bytes(encode(9))
    members = {"cat/1.png": encode(1), "dog/2.png": encode(2)}
    links = {"dog/x.png": (kind, target.format(outside=tmp_path))}
    source = open_source(write_tar(tmp_path / "x.tar", members, links))
    assert reasons(source) == {"dog/x.png": "a link that leads nowhere"}
    assert read_reason(source, "dog/x.png").status == "missing"


def test_links_and_devices_in_a_zip(encode: Encode, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"cat/1.png": encode(1), "dog/2.png": encode(2)})
    with zipfile.ZipFile(path, "a") as archive:
        for name, mode, content in (
            ("dog/link.png", stat.S_IFLNK, b"../cat/1.png"),
            ("dog/out.png", stat.S_IFLNK, b"../../../etc/passwd"),
            ("dog/pipe", stat.S_IFIFO, b""),
        ):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, (mode | 0o644) << 16
            archive.writestr(info, content)
    source = open_source(path)
    assert source.read("dog/link.png") == encode(1)
    assert reasons(source) == {
        "dog/out.png": "a link that leads nowhere",
        "dog/pipe": "neither a file nor a folder",
    }


@pytest.mark.parametrize(
    ("raw", "extra", "system", "label"),
    [
        ("Käse".encode("cp437"), b"", 0, "Käse"),
        ("Käse".encode(), b"", 3, "Käse"),
        ("Käse".encode("cp850"), "Käse".encode(), 0, "Käse"),
        (b"K\xe4se", b"", 3, b"K\xe4se".decode("cp437")),
    ],
)
def test_names_in_other_encodings(
    encode: Encode, tmp_path: Path, raw: bytes, extra: bytes, system: int, label: str
) -> None:
    path = tmp_path / "x.zip"
    name = raw + b"/1.png"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("x" * len(raw) + "/1.png")
        info.create_system = system
        if extra:
            field = struct.pack("<BI", 1, zlib.crc32(name)) + extra + b"/1.png"
            info.extra = struct.pack("<HH", 0x7075, len(field)) + field
        archive.writestr(info, encode(1))
        archive.writestr("dog/2.png", encode(2))
    source = open_source(patched(path, (b"x" * len(raw) + b"/1.png", name)))
    assert sorted(item.label or "" for item in source.items()) == sorted([label, "dog"])
    assert source.read(f"{label}/1.png") == encode(1)


def test_backward_slashes_of_old_windows_tools(encode: Encode, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, seed in (("cat\\1.png", 1), ("dog\\2.png", 2)):
            info = zipfile.ZipInfo(name)
            info.create_system = 0
            archive.writestr(info, encode(seed))
    assert [item.label for item in open_source(path).items()] == ["cat", "dog"]


def test_a_compressed_tar_is_unpacked_once_and_again_when_it_changes(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path / "cache"))
    path = pack(make_folder({"cat/1.png": 1, "dog/2.png": 2}), tmp_path / "gzip.tar.gz")
    open_source(path)
    (copy,) = (tmp_path / "cache" / "archives").iterdir()
    made = copy.stat()
    assert open_source(path).read("cat/1.png") == (tmp_path / "images/cat/1.png").read_bytes()
    assert copy.stat() == made
    pack(make_folder({"cat/3.png": 3}), path)
    os.utime(path, ns=(0, made.st_mtime_ns + 1_000_000_000))
    assert len(list(open_source(path).items())) == 3
    (copy_of_change,) = (tmp_path / "cache" / "archives").iterdir()
    assert copy_of_change != copy


def test_a_plain_tar_and_a_zip_leave_the_cache_alone(
    make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path / "cache"))
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    for name in ("plain.tar", "deflated.zip"):
        Manifest.scan(open_source(pack(root, tmp_path / name)))
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_while_unpacking(make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(make_folder({"cat/1.png": 1, "dog/2.png": 2}), tmp_path / "gzip.tar.gz")
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path / "cache"))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("eyebright.atomic.os.fsync", full)
    with pytest.raises(StorageError, match="disk is full") as caught:
        open_source(path)
    assert "EYEBRIGHT_CACHE" in (caught.value.remedy or "")
    assert list((tmp_path / "cache" / "archives").iterdir()) == []


@pytest.mark.parametrize("change", ["touch", "remove"])
def test_an_archive_that_changes_under_the_reader(make_folder: MakeFolder, tmp_path: Path, change: str) -> None:
    path = pack(make_folder({"cat/1.png": 1, "dog/2.png": 2}), tmp_path / "plain.tar")
    source = open_source(path)
    if change == "touch":
        os.utime(path, ns=(0, 0))
        assert "was changed" in read_reason(source, "cat/1.png").problem
    else:
        path.unlink()
        assert read_reason(source, "cat/1.png").status == "missing"
