"""Addresses, read over http from a real server in a thread, from fsspec's memory, and from a stand-in for s3."""

from __future__ import annotations

import http.server
import importlib
import logging
import os
import socket
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source, remote
from eyebright.data.sources.remote import Connection, RemoteTree
from eyebright.data.sources.trouble import Trouble, trouble_of
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, EyebrightError, MissingDependencyError

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
MakeFolder = Callable[..., Path]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Server:
    """A web server of one folder that can be made to fail.

    Attributes:
        url: of the folder, without a slash at the end.
        root: the folder.
        answers: for a path, the statuses to answer with before the file is given; -1 cuts the answer short.
        asked: how often each (method, path) was asked for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, list[int]] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, directory=str(root), **options)

            def log_message(self, *arguments: Any) -> None:
                pass

            def send_head(self) -> Any:
                path = unquote(urlsplit(self.path).path)
                outer.asked[self.command, path] += 1
                statuses = outer.answers.get(path, [])
                if statuses and self.command == "GET":
                    status = statuses.pop(0)
                    if status > 0:
                        self.send_error(status)
                        return None
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b"x")
                    self.close_connection = True
                    return None
                return super().send_head()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    pytest.importorskip("aiohttp", reason="aiohttp (extra `remote`) is not installed")
    servers: list[Server] = []

    def start(root: Path) -> Server:
        servers.append(Server(root))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody waits between tries; the pauses are noted."""
    noted: list[float] = []
    monkeypatch.setattr(remote, "_pause", noted.append)
    return noted


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def upload(files: Any, root: Path, place: str) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            files.pipe(f"{place}/{path.relative_to(root).as_posix()}", path.read_bytes())


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def same(one: str | Path, other: str | Path) -> None:
    """Both stand for the same images, labels and splits, under the same names."""
    ours, theirs = Manifest.scan(open_source(one)), Manifest.scan(open_source(other))
    assert ours.fingerprint() == theirs.fingerprint()
    assert ours.ok.num_rows > 0
    assert ours.table["source"].to_pylist() == theirs.table["source"].to_pylist()
    assert ours.table["status"].to_pylist() == theirs.table["status"].to_pylist()


# Folders.


def test_real_photos_over_http_are_those_of_the_folder(flowers_sample: Path, serve: Callable[[Path], Server]) -> None:
    server = serve(flowers_sample.parent)
    source = open_source(f"{server.url}/{flowers_sample.name}")
    assert (source.kind, source.spec) == ("folder", f"{server.url}/{flowers_sample.name}")
    same(source.spec, flowers_sample)
    same(f"{server.url}/{flowers_sample.name}/", flowers_sample)


def test_odd_names_and_strays_over_http(make_folder: MakeFolder, serve: Callable[[Path], Server]) -> None:
    names = ["a b", "100%", "50%20", "q?x", "h#y", "a&b", "ü", "semi;colon", "plus+", "quote'"]
    root = make_folder(
        {f"cat {n}/{name}.png": 10 * n + i for n in (1, 2) for i, name in enumerate(names)}
        | {"train notes.txt": b"x", "cat 1/scan": 99, "cat 1/empty": b"", "cat 1/data.bin": b"\0\1"},
        name="my photos",
    )
    server = serve(root.parent)
    same(f"{server.url}/my photos", root)
    same(f"{server.url}/my%20photos", root)


def test_split_folders_and_metadata_in_memory(make_folder: MakeFolder, memory: Any) -> None:
    root = make_folder({"train/cat/1.png": 1, "train/dog/2.png": 2, "test/cat/3.png": 3, ".git/x": b"x"})
    upload(memory, root, "/photos")
    same("memory://photos", root)
    described = make_folder(
        {"1.png": 4, "2.png": 5, "metadata.csv": b"file_name,label\n1.png,cat\n2.png,dog\n"}, name="m"
    )
    upload(memory, described, "/described")
    assert open_source("memory://described").kind == "metadata"
    same("memory://described", described)


def test_patterns_of_addresses(make_folder: MakeFolder, memory: Any, serve: Callable[[Path], Server]) -> None:
    root = make_folder({"cat/1.png": 1, "cat/2.jpg": 2, "dog/3.png": 3})
    upload(memory, root, "/photos")
    same("memory://photos/*/*.png", f"{root}/*/*.png")
    same(f"{serve(root).url}/{{cat,dog}}/*.png", f"{root}/*/*.png")
    with pytest.raises(
        DataError, match=r"nothing matches memory://photos/\*/\*.gif; .* memory://photos, holds cat/, dog/"
    ):
        open_source("memory://photos/*/*.gif")


def test_an_image_is_read_twice_and_nothing_is_kept(
    make_folder: MakeFolder, serve: Callable[[Path], Server], own_cache: Path
) -> None:
    server = serve(make_folder({"cat/1.png": 1, "dog/2.png": 2}))
    source = open_source(server.url)
    Manifest.scan(source)
    source.read("cat/1.png")
    assert server.asked["GET", "/cat/1.png"] == 2
    assert not list(own_cache.rglob("1.png"))


def test_many_threads_read_at_once(make_folder: MakeFolder, serve: Callable[[Path], Server], memory: Any) -> None:
    root = make_folder({f"cat/{n}.png": n for n in range(40)} | {"dog/x.png": 99})
    upload(memory, root, "/photos")
    for source in (open_source(serve(root).url), open_source("memory://photos")):
        paths = [item.source for item in source.items()] * 3
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(source.read, paths)) == [(root / path).read_bytes() for path in paths]


# Single files.


def test_a_table_whose_paths_are_relative_or_addresses(
    make_folder: MakeFolder, serve: Callable[[Path], Server]
) -> None:
    other = serve(make_folder({"3.png": 3}, name="other"))
    root = make_folder({"images/a b/1.png": 1, "images/2.png": 2})
    server = serve(root)
    rows = f"a b/1.png,cat\n../images/2.png,dog\n{other.url}/3.png?token=secret,cat\n/images/2.png,dog\ngone.png,dog\n"
    (root / "images" / "labels.csv").write_text(f"image_path,label\n{rows}", encoding="utf-8")
    source = open_source(f"{server.url}/images/labels.csv?X-Amz-Signature=secret")
    assert source.spec == f"{server.url}/images/labels.csv?..."
    manifest = Manifest.scan(source)
    assert manifest.table["status"].to_pylist() == ["ok", "ok", "ok", "duplicate", "missing"]
    assert manifest.table["source"].to_pylist()[2] == f"{other.url}/3.png?..."
    assert source.read(f"{other.url}/3.png?...") == (root.parent / "other" / "3.png").read_bytes()
    assert "secret" not in str(manifest.table.to_pylist()) + manifest.spec


def test_a_local_table_may_name_addresses(make_folder: MakeFolder, serve: Callable[[Path], Server]) -> None:
    server = serve(make_folder({"1.png": 1}))
    table = make_folder({}, name="tables") / "t.csv"
    table.write_text(f"path,label\n{server.url}/1.png,cat\n{server.url}/2.png,dog\n", encoding="utf-8")
    manifest = Manifest.scan(open_source(table))
    assert manifest.table["status"].to_pylist() == ["ok", "missing"]
    assert f"there is nothing at {server.url}/2.png" in manifest.table["reason"].to_pylist()[1]


def test_a_table_from_elsewhere_names_no_file_of_this_machine(
    memory: Any, serve: Callable[[Path], Server], tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("path,label\nfile:///etc/passwd,cat\n", encoding="utf-8")
    (tmp_path / "u.csv").write_text("path,label\n../../../../etc/passwd,cat\n", encoding="utf-8")
    server = serve(tmp_path)
    with pytest.raises(DataError, match="names a file of this machine: file:///etc/passwd"):
        open_source(f"{server.url}/t.csv")
    assert Manifest.scan(open_source(f"{server.url}/u.csv")).table["status"].to_pylist() == ["missing"]
    memory.pipe("/bucket/t.csv", b"path,label\n../../etc/passwd,cat\n/etc/passwd,dog\n")
    assert Manifest.scan(open_source("memory://bucket/t.csv")).table["status"].to_pylist() == ["missing", "missing"]


def test_two_signed_addresses_of_one_path_stay_two_images(
    make_folder: MakeFolder, serve: Callable[[Path], Server]
) -> None:
    server = serve(make_folder({"1.png": 1}))
    table = make_folder({}, name="tables") / "t.csv"
    table.write_text(f"path,label\n{server.url}/1.png?sig=a,cat\n{server.url}/1.png?sig=b,cat\n", encoding="utf-8")
    assert [item.source for item in open_source(table).items()] == [
        f"{server.url}/1.png?...",
        f"{server.url}/1.png?...#2",
    ]


def test_a_list_an_archive_and_parquet_are_fetched_once(
    make_folder: MakeFolder, serve: Callable[[Path], Server], encode: Callable[..., bytes], own_cache: Path
) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2, "all.txt": b"cat/1.png\ndog/2.png\n"})
    with zipfile.ZipFile(root / "all.zip", "w") as archive:
        for path in ("cat/1.png", "dog/2.png"):
            archive.write(root / path, path)
    images = pa.array([{"bytes": encode(n), "path": None} for n in (1, 2)], IMAGE_TYPE)
    pq.write_table(pa.table({"image": images, "label": ["cat", "dog"]}), root / "all.parquet")
    server = serve(root)
    for name, kind in (("all.txt", "text-list"), ("all.zip", "folder"), ("all.parquet", "hf-parquet")):
        for _ in range(2):
            source = open_source(f"{server.url}/{name}")
            assert (source.kind, source.spec) == (kind, f"{server.url}/{name}")
            assert Manifest.scan(source).fingerprint() == Manifest.scan(open_source(f"{root}/*/*.png")).fingerprint()
        assert server.asked["GET", f"/{name}"] == 1
    # Another version of the file is fetched again.
    os.utime(root / "all.zip", (1, 1))
    open_source(f"{server.url}/all.zip")
    assert server.asked["GET", "/all.zip"] == 2
    assert not list(own_cache.rglob("*.partial"))


def test_a_folder_of_parquet_files(memory: Any, encode: Callable[..., bytes], tmp_path: Path) -> None:
    for name, seeds in (("train-0", (1, 2)), ("test-0", (3, 4))):
        images = pa.array([{"bytes": encode(n), "path": None} for n in seeds], IMAGE_TYPE)
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(pa.table({"image": images, "label": ["cat", "dog"]}), tmp_path / "data" / f"{name}.parquet")
    upload(memory, tmp_path, "/set")
    same("memory://set", tmp_path)


def test_a_file_that_comes_incomplete_is_not_kept(memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path))
    memory.pipe("/set/t.csv", b"path,label\n1.png,cat\n")
    monkeypatch.setattr(Connection, "fetch", lambda self, path, target: target.write_bytes(b"path"))
    with pytest.raises(DataError, match="came incomplete: 4 of 21 bytes"):
        open_source("memory://set/t.csv")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# What goes wrong.


def test_a_busy_server_is_asked_again(
    make_folder: MakeFolder, serve: Callable[[Path], Server], pauses: list[float]
) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    server = serve(root)
    source = open_source(server.url)
    server.answers["/cat/1.png"] = [503, -1]
    assert source.read("cat/1.png") == (root / "cat/1.png").read_bytes()
    assert server.asked["GET", "/cat/1.png"] == 3
    assert pauses == [0.5, 1.0]


@pytest.mark.parametrize(
    ("statuses", "status", "words", "tries"),
    [
        ([404], "missing", "there is nothing at", 1),
        ([403], "unreadable", "the server answered 403", 1),
        ([500, 502, 503], "unreadable", "the server answered 503", 3),
        ([418], "unreadable", "the server answered 418", 1),
    ],
)
def test_an_image_that_a_server_does_not_give(
    make_folder: MakeFolder, serve: Callable[[Path], Server], statuses: list[int], status: str, words: str, tries: int
) -> None:
    server = serve(make_folder({"cat/1.png": 1, "dog/2.png": 2}))
    source = open_source(server.url)
    server.answers["/cat/1.png"] = statuses
    with pytest.raises(UndecodableImage, match=words) as caught:
        source.read("cat/1.png")
    assert caught.value.status == status
    assert server.asked["GET", "/cat/1.png"] == tries


def test_a_server_that_is_gone_ends_the_work(make_folder: MakeFolder, serve: Callable[[Path], Server]) -> None:
    server = serve(make_folder({"cat/1.png": 1, "dog/2.png": 2}))
    source = open_source(server.url)
    server._server.shutdown()
    server._server.server_close()
    with pytest.raises(DataError, match=r"there is no connection to http.*/cat/1.png") as caught:
        Manifest.scan(source)
    assert not isinstance(caught.value, UndecodableImage)


def test_a_server_that_never_answers_is_not_waited_for_image_by_image(
    closed_port: int, pauses: list[float], tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    rows = "".join(f"http://127.0.0.1:{closed_port}/{n}.png,cat\n" for n in range(50))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    source = open_source(tmp_path / "t.csv")
    for item in source.items():
        with pytest.raises(UndecodableImage, match=r"no answer to the last 5|the server refused it"):
            source.read(item.source)
    assert len(pauses) == 2 * 5


@pytest.mark.parametrize(
    ("spec", "kind", "words"),
    [
        (
            "http://127.0.0.1:{port}/photos",
            DataError,
            "there is no connection to http://127.0.0.1.*the server refused it",
        ),
        ("http://127.0.0.1:{port}/labels.csv", DataError, "there is no connection"),
        (
            "https://me:word@127.0.0.1:{port}/labels.csv?sig=word",
            DataError,
            r"to https://127.0.0.1:\d+/labels.csv\?\.\.\.",
        ),
        ("memory://nowhere", DataError, "there is nothing at memory://nowhere"),
        ("memory://set", DataError, "there are no images at memory://set: found notes.txt"),
        ("memory://set/1.png", DataError, "single image"),
        ("memory://set/notes.doc", DataError, "memory://set/notes.doc is a file of an unknown kind"),
        ("htps://host/photos", DataError, "protocol htps:// is not known .did you mean 'https'"),
        ("zip://photos.zip", DataError, "begins with zip://"),
        ("https://host/labels.csv?...", DataError, "left out when this was written down"),
        ("abfs://container@account.host/x", MissingDependencyError, "the package that reads abfs:// is not installed"),
        ("file:///nowhere/photos", DataError, "there is nothing at file:///nowhere/photos"),
    ],
)
def test_an_address_that_cannot_be_opened_is_explained(
    memory: Any, closed_port: int, spec: str, kind: type[EyebrightError], words: str
) -> None:
    pytest.importorskip("aiohttp")
    memory.pipe("/set/notes.txt", b"x")
    memory.pipe("/set/1.png", b"x")
    memory.rm("/set/1.png") if "found notes" in words else None
    memory.pipe("/set/notes.doc", b"x") if "notes.doc" in spec else None
    with pytest.raises(kind, match=words) as caught:
        open_source(spec.format(port=closed_port))
    assert "word" not in str(caught.value)
    assert caught.value.remedy
    # No cause with a secret in it is printed either.
    assert caught.value.__cause__ is None or isinstance(caught.value, MissingDependencyError)


def test_http_answers_for_the_whole_data_set(make_folder: MakeFolder, serve: Callable[[Path], Server]) -> None:
    server = serve(
        make_folder({"page.html": b"<a href='https://elsewhere/x.png'>x</a>", "index.html": b"<p>hello</p>"})
    )
    with pytest.raises(DataError, match=r"there are no images at .*the server lists nothing there"):
        open_source(server.url)
    with pytest.raises(DataError, match=r"there is nothing at .*/labels.csv"):
        open_source(f"{server.url}/labels.csv")
    server.answers["/"] = [401]
    with pytest.raises(DataError, match="may not be read: the server answered 401") as caught:
        open_source(server.url)
    assert "netrc" in str(caught.value.remedy)


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = pytest.importorskip("fsspec.registry")

    def absent(protocol: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(registry, "get_filesystem_class", absent)
    with pytest.raises(MissingDependencyError, match="Install s3fs to access S3") as caught:
        open_source("s3://bucket/photos")
    assert caught.value.remedy == "pip install 'eyebright[remote]'"


def test_nothing_is_asked_of_the_network_for_a_local_path(
    monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(Connection, "__init__", refuse)
    Manifest.scan(open_source(make_folder({"cat/1.png": 1, "dog/2.png": 2})))
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    assert open_source(f"file://{root}").kind == "folder"


# s3, through a stand-in, because s3fs and a server are not on every machine.


class _NoCredentialsError(Exception):
    pass


_NoCredentialsError.__name__ = "NoCredentialsError"


class _ClientError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("An error occurred when calling https://bucket.host/k?X-Amz-Signature=word")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.fixture
def s3(memory: Any, monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """`s3://` served from memory, with an error to raise."""
    from fsspec.implementations.memory import MemoryFileSystem

    class StandIn(MemoryFileSystem):  # type: ignore[misc]
        protocol = ("s3", "s3a")
        cachable = False
        error: Exception | None = None

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix("s3://").strip("/")

        def cat_file(self, path: str, *arguments: Any, **options: Any) -> bytes:
            if StandIn.error is not None:
                raise StandIn.error
            return bytes(super().cat_file(path, *arguments, **options))

    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "s3", StandIn)
    return StandIn


def test_a_bucket(make_folder: MakeFolder, memory: Any, s3: type[Any]) -> None:
    root = make_folder({"cat/1.png": 1, "dog/2.png": 2})
    upload(memory, root, "/bucket/photos")
    (root / "t.csv").write_text("path,label\ncat/1.png,cat\n../photos/dog/2.png,dog\n../../other/3.png,dog\n")
    memory.pipe("/bucket/photos/t.csv", (root / "t.csv").read_bytes())
    memory.pipe("/other/3.png", b"of another bucket")
    assert Manifest.scan(open_source("s3://bucket/photos/t.csv")).table["status"].to_pylist() == ["ok", "ok", "missing"]
    memory.rm("/bucket/photos/t.csv")
    (root / "t.csv").unlink()
    same("s3://bucket/photos", root)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (_NoCredentialsError("no credentials"), "unreadable", "it asks for credentials"),
        (PermissionError("word"), "unreadable", "it asks for credentials"),
        (_ClientError(403), "unreadable", "the server answered 403"),
        (_ClientError(404), "missing", "there is nothing at s3://bucket/photos/cat/1.png"),
        (RuntimeError("https://h/k?X-Amz-Signature=word"), "unreadable", r"RuntimeError: https://h/k\?\.\.\."),
    ],
)
def test_errors_of_its_packages_are_told_in_our_words(
    make_folder: MakeFolder, memory: Any, s3: type[Any], error: Exception, status: str, words: str
) -> None:
    upload(memory, make_folder({"cat/1.png": 1, "dog/2.png": 2}), "/bucket/photos")
    source = open_source("s3://bucket/photos")
    s3.error = error
    with pytest.raises(UndecodableImage, match=words) as caught:
        source.read("cat/1.png")
    assert caught.value.status == status
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "transient"),
    [
        (TimeoutError(), "unreachable", True),
        (socket.gaierror(-2, "Name or service not known"), "unreachable", True),
        (ConnectionResetError(), "unreachable", True),
        (_ClientError(503), "failed", True),
        (_ClientError(400), "failed", False),
        (NotADirectoryError(), "missing", False),
        (Trouble("missing", "x"), "missing", False),
    ],
)
def test_kinds_of_trouble(error: Exception, kind: str, transient: bool) -> None:
    trouble = trouble_of(error)
    assert (trouble.kind, trouble.transient) == (kind, transient)


def test_the_packages_print_nothing(s3: type[Any], capfd: pytest.CaptureFixture[str]) -> None:
    Connection("s3://bucket")
    logging.getLogger("gcsfs").warning("Could not determine the bucket")
    assert capfd.readouterr().err == ""


def test_a_tree_lists_reads_and_counts(make_folder: MakeFolder, memory: Any) -> None:
    root = make_folder({"cat/1.png": 1, "cat/deep/2.png": 2, "dog/3.png": 3, "empty": b""})
    upload(memory, root, "/photos")
    tree = RemoteTree("memory://photos/")
    assert [(entry.name, entry.kind) for entry in tree.entries("")] == [
        ("cat", "folder"),
        ("dog", "folder"),
        ("empty", "file"),
    ]
    assert tree.count_files("cat") == 2
    assert tree.head("dog/3.png", 8) == b"\x89PNG\r\n\x1a\n"
    assert tree.read("empty") == tree.head("empty") == b""
    assert tree.identity("cat") != tree.identity("dog")
    assert tree.strays() == []
    with pytest.raises(DataError, match="nothing at memory://photos/nowhere"):
        tree.entries("nowhere")
    assert np.frombuffer(tree.read("cat/1.png"), np.uint8).size == (root / "cat/1.png").stat().st_size
