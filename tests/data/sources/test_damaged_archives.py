from __future__ import annotations

import contextlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_files import patched, read_reason, reasons, write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sources import open_source
from eyebright.data.sources.archive import TarTree, ZipTree
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]
Encode = Callable[..., bytes]


def test_a_zip_behind_a_password_is_refused(encode: Encode, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"cat/1.png": encode(1)})
    flags = struct.pack("<HH", 20, 0), struct.pack("<HH", 20, 1)
    patched(
        path,
        (b"PK\x03\x04" + flags[0], b"PK\x03\x04" + flags[1]),
        (b"PK\x01\x02\x14\x03" + flags[0], b"PK\x01\x02\x14\x03" + flags[1]),
    )
    with zipfile.ZipFile(path) as archive, pytest.raises(RuntimeError, match="encrypted"):
        archive.read("cat/1.png")
    with pytest.raises(
        DataError, match=r"1 of 1 members of .* are protected by a password, such as cat/1.png"
    ) as caught:
        open_source(path)
    assert "7z x" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("declared", "status", "words"),
    [
        (1 << 31, "too-large", "declares 2.1 GB"),
        (10, "unreadable", "holds more of the 10 bytes"),
        (999_999, "unreadable", "of the 999999 bytes"),
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_declared_size_is_not_believed(
    encode: Encode, tmp_path: Path, declared: int, status: str, words: str, method: int
) -> None:
    path, content = tmp_path / "x.zip", encode(1)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("cat/1.png", content)
        archive.writestr("dog/2.png", encode(2))
        packed = archive.getinfo("cat/1.png").compress_size
    if method == zipfile.ZIP_STORED and declared == 10:
        words = "holds more"
    sizes = struct.pack("<III", zlib.crc32(content), packed, len(content))
    source = open_source(patched(path, (sizes, sizes[:8] + struct.pack("<I", declared))))
    error = read_reason(source, "cat/1.png")
    assert error.status == status
    assert words in error.problem
    assert source.read("dog/2.png") == encode(2)


def test_a_bomb_that_declares_little_is_cut_short(tmp_path: Path, encode: Encode) -> None:
    bomb = bytes(50_000_000)
    path = write_zip(tmp_path / "x.zip", {"cat/1.png": bomb, "dog/2.png": encode(2)})
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("cat/1.png")
    sizes = struct.pack("<III", info.CRC, info.compress_size, len(bomb))
    tree = ZipTree(patched(path, (sizes, sizes[:8] + struct.pack("<I", 1000))))
    with pytest.raises(UndecodableImage, match="holds more of the 1000 bytes"):
        tree.read("cat/1.png")
    assert tree.head("cat/1.png") == bytes(16)


def test_a_damaged_member_is_told_by_its_checksum(encode: Encode, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    content = encode(1)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", content)
        archive.writestr("dog/2.png", encode(2))
    source = open_source(patched(path, (content[40:60], bytes(20))))
    assert "checksum" in read_reason(source, "cat/1.png").problem


def test_a_method_that_is_not_known_names_itself(encode: Encode, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"cat/1.png": encode(1), "dog/2.png": encode(2)})
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 10
    content[at : at + 2] = struct.pack("<H", 9)
    path.write_bytes(content)
    assert "Deflate64" in read_reason(open_source(path), "cat/1.png").problem


def test_a_tar_without_an_end_mark_says_so(encode: Encode, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"cat/1.png": encode(1), "dog/2.png": encode(2)})
    with tarfile.open(path) as archive:
        archive.getmembers()
        path.write_bytes(path.read_bytes()[: archive.offset])
    source = open_source(path)
    assert len(list(source.items())) == 2
    assert "no end mark" in reasons(source)["x.tar"]


def test_damage_in_the_middle_of_a_tar_is_no_end(encode: Encode, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"cat/1.png": encode(1), "dog/2.png": encode(2)})
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1].offset
    content = bytearray(path.read_bytes())
    content[second : second + 100] = b"\xff" * 100
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged after 1 members"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.zip", b"<html>404</html>", "cannot be read as a zip archive"),
        ("x.zip", b"", "cannot be read as a zip archive"),
        ("x.tar", b"<html>404</html>" * 100, "cut off or damaged at its beginning"),
        ("x.tar", b"", "cut off or damaged at its beginning"),
        ("x.tgz", b"\x1f\x8b\x08\x00", "cut off or damaged after 0 unpacked bytes"),
        ("x.tar.zst", b"\x28\xb5\x2f\xfd\x00", "Zstandard"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c", "archive of a kind that is not read in place"),
        ("x.RAR", b"Rar!\x1a\x07", "archive of a kind that is not read in place"),
        ("x.gz", b"\x1f\x8b\x08\x00", "compressed file of a kind"),
    ],
)
def test_what_is_no_archive_of_images_is_explained(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        open_source(tmp_path / name)
    assert caught.value.expected
    assert caught.value.remedy


def test_archives_without_images(make_folder: MakeFolder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images in the archive .*: it is empty"):
        open_source(write_zip(tmp_path / "empty.zip", {}))
    with pytest.raises(DataError, match=r"found notes.txt \(not an image \(.txt\)\), photos.zip"):
        open_source(write_tar(tmp_path / "x.tar", {"notes.txt": b"x", "photos.zip": b"PK"}))


SMALL_ZIP = io.BytesIO()
SMALL_TAR = io.BytesIO()
with (
    zipfile.ZipFile(SMALL_ZIP, "w", zipfile.ZIP_DEFLATED) as small_zip,
    tarfile.open(fileobj=SMALL_TAR, mode="w") as small,
):
    for number in range(3):
        small_zip.writestr(f"{number}/ä.png", b"\x89PNG\r\n\x1a\n" + bytes([number]) * 100)
        member = tarfile.TarInfo(f"{number}/{'ä' * (90 * number)}.png")  # a long name has a header of its own
        member.size = 108
        small.addfile(member, io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes([number]) * 100))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["zip", "tar"]))
def test_a_damaged_archive_gives_our_errors_only(
    data: st.DataObject, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray({"zip": SMALL_ZIP, "tar": SMALL_TAR}[kind].getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, min(len(content), 5000) - 1))
        content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(content))))
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind}"
    path.write_bytes(content[:cut])
    try:
        tree = ZipTree(path) if kind == "zip" else TarTree(path)
    except DataError:
        return
    pending = [""]
    while pending:
        folder = pending.pop()
        for entry in tree.entries(folder):
            name = f"{folder}/{entry.name}".lstrip("/")
            if entry.kind == "folder":
                pending.append(name)
            elif entry.kind == "file":
                for read in (tree.read, tree.head):
                    with contextlib.suppress(UndecodableImage):
                        read(name)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(1, len(SMALL_ZIP.getvalue()) - 1))
def test_a_zip_that_is_cut_anywhere_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.zip"
    path.write_bytes(SMALL_ZIP.getvalue()[:cut])
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        ZipTree(path)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(1, 7000))
def test_a_tar_that_is_cut_is_refused_or_noted(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = SMALL_TAR.getvalue()
    path = tmp_path_factory.getbasetemp() / "cut.tar"
    path.write_bytes(whole[:cut])
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        archive.getmembers()
        end = archive.offset
    try:
        noted = bool(TarTree(path).strays())
    except DataError:
        noted = True
    assert noted == (cut <= end)
