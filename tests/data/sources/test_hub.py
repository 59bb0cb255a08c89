"""Data sets of the Hugging Face hub, from a server in a thread that answers as the hub does."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import hub, open_source
from eyebright.errors import DataError, MissingDependencyError

huggingface_hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub (extra `hub`) is not installed")
constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "c0ffee" + 34 * "0"
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


class Hub:
    """A hub with one data set, `flora/flowers`.

    Attributes:
        files: paths and contents.
        refusal: the `X-Error-Code` and status to answer every question with, or None.
        asked: paths asked for, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refusal: tuple[int, str] | None = None
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                outer.asked.append(f"{self.command} {path}")
                status, headers, body = outer.answer(path)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.refusal is not None:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b"{}"
        if path in (
            "/api/datasets/flora/flowers",
            *(f"/api/datasets/flora/flowers/revision/{r}" for r in ("main", COMMIT)),
        ):
            facts = {"id": "flora/flowers", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return 200, {"Content-Type": "application/json"}, json.dumps(facts).encode()
        if path.startswith("/api/datasets/flora/flowers/revision/"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if path.startswith("/api/datasets/flora/flowers/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(body), "oid": hashlib.sha1(body).hexdigest()}
                for name, body in self.files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
        name = path.removeprefix(f"/datasets/flora/flowers/resolve/{COMMIT}/")
        if name in self.files:
            etag = hashlib.sha1(self.files[name]).hexdigest()
            return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}, self.files[name]
        return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fetched(self) -> set[str]:
        return {path.split(f"/{COMMIT}/")[1] for path in self.asked if path.startswith("GET /datasets/")}


@pytest.fixture
def flora(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    served = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", served.url)
    template = served.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path / "cache"))
    yield served
    served.close()


def shard(encode: Callable[..., bytes], seeds: list[int], labels: list[str]) -> bytes:
    images = pa.array([{"bytes": encode(seed), "path": None} for seed in seeds], IMAGE_TYPE)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": images, "label": labels}), sink)
    return bytes(sink.getvalue())


def test_real_photos_in_folders(flora: Hub, flowers_sample: Path) -> None:
    photos = [photo for name in ("daisy", "rose") for photo in sorted((flowers_sample / name).iterdir())[:4]]
    for split in ("train", "test"):
        for photo in photos[split == "test" :: 2]:
            flora.files[f"{split}/{photo.parent.name}/{photo.name}"] = photo.read_bytes()
    flora.files |= {"README.md": b"# Flowers", "script.py": b"raise SystemExit"}
    source = open_source("hf://datasets/flora/flowers")
    assert source.kind == "split-folders"
    assert source.spec == f"hf://datasets/flora/flowers@{COMMIT}"
    manifest = Manifest.scan(source)
    assert manifest.counts() == {"train": {"daisy": 2, "rose": 2}, "test": {"daisy": 2, "rose": 2}}
    # What is no image is not fetched.
    assert flora.fetched() == {name for name in flora.files if name.endswith(".jpg")}


def test_a_commit_that_was_fetched_opens_without_a_network(flora: Hub, encode: Callable[..., bytes]) -> None:
    flora.files = {"cat/1.png": encode(1), "dog/2.png": encode(2)}
    spec = open_source("hf://datasets/flora/flowers").spec
    asked = len(flora.asked)
    again = open_source(spec)
    assert {item.label: again.read(item.source) for item in again.items()} == {"cat": encode(1), "dog": encode(2)}
    assert len(flora.asked) == asked
    flora.close()
    assert len(list(open_source(spec).items())) == 2
    with pytest.raises(DataError, match="there is no connection to hf://datasets/flora/flowers") as caught:
        open_source("hf://datasets/flora/flowers")
    assert f"this commit is here already: {spec}" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "folders", [("data/", "data/"), ("", ""), ("plain_text/", "plain_text/"), ("default/train/", "default/test/")]
)
def test_parquet_files_wherever_they_lie(flora: Hub, encode: Callable[..., bytes], folders: tuple[str, str]) -> None:
    flora.files = {
        f"{folders[0]}train-00000-of-00001.parquet": shard(encode, [1, 2], ["cat", "dog"]),
        f"{folders[1]}test-00000-of-00001.parquet": shard(encode, [3], ["cat"]),
    }
    source = open_source("hf://datasets/flora/flowers@main")
    assert source.kind == "hf-parquet"
    assert sorted((str(item.split), str(item.label)) for item in source.items()) == [
        ("test", "cat"),
        ("train", "cat"),
        ("train", "dog"),
    ]
    assert Manifest.scan(source).ok.num_rows == 3


def test_several_configurations_must_be_told_apart(flora: Hub, encode: Callable[..., bytes]) -> None:
    flora.files = {
        "big/train-0.parquet": shard(encode, [1, 2], ["a", "b"]),
        "small/train-0.parquet": shard(encode, [3], ["a"]),
    }
    with pytest.raises(DataError, match="several sets of Parquet files, in 'big', 'small'") as caught:
        open_source("hf://datasets/flora/flowers")
    assert "hf://datasets/flora/flowers/small" in str(caught.value.remedy)
    source = open_source("hf://datasets/flora/flowers/small")
    assert source.spec == f"hf://datasets/flora/flowers@{COMMIT}/small"
    assert len(list(source.items())) == 1
    assert flora.fetched() == {"small/train-0.parquet"}


def test_images_with_metadata_and_a_table_by_name(flora: Hub, encode: Callable[..., bytes]) -> None:
    flora.files = {
        "set/1.png": encode(1),
        "set/2.png": encode(2),
        "set/metadata.jsonl": b'{"file_name": "1.png", "label": "cat"}\n{"file_name": "2.png", "label": "dog"}\n',
        "set/other.csv": b"path,label\n1.png,black\n2.png,white\n",
    }
    source = open_source("hf://datasets/flora/flowers/set")
    assert [(item.source, item.label) for item in source.items()] == [("1.png", "cat"), ("2.png", "dog")]
    table = open_source("hf://datasets/flora/flowers/set/other.csv")
    assert [(item.label, table.read(item.source)) for item in table.items()] == [
        ("black", encode(1)),
        ("white", encode(2)),
    ]


@pytest.mark.parametrize(
    ("refusal", "spec", "words", "remedy"),
    [
        ((401, "RepoNotFound"), "hf://datasets/flora/flowers", "shows no data set flora/flowers to you", "HF_TOKEN"),
        ((404, "RepoNotFound"), "hf://datasets/flora/flowrs", "shows no data set flora/flowrs", "check the name"),
        (
            (403, "GatedRepo"),
            "hf://datasets/flora/flowers",
            "flora/flowers is gated",
            "agree on https://huggingface.co/d",
        ),
        (None, "hf://datasets/flora/flowers@v9", "has no revision 'v9'", "see https"),
        (None, "hf://datasets/flora/flowers/nowhere", "no folder or file 'nowhere'", "correct the name"),
        (None, "hf://datasets/flora/flowers", "holds no images: README.md", "name the archive, table or list"),
        (None, "hf://flora/flowers", "is no name of a data set", "correct the name"),
        (None, "hf://datasets/flora", "is no name of a data set", "correct the name"),
        ((503, ""), "hf://datasets/flora/flowers", "the server answered 503", "try again later"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    flora: Hub,
    refusal: tuple[int, str] | None,
    spec: str,
    words: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub waits between its own tries
    flora.files = {"README.md": b"# Flowers"}
    flora.refusal = refusal
    with pytest.raises(DataError, match=words) as caught:
        open_source(spec)
    assert remedy in str(caught.value.remedy)


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, flora: Hub) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(DataError, match="there is no connection to hf://datasets/flora/flowers"):
        open_source("hf://datasets/flora/flowers")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE forbids"):
        open_source("hf://datasets/flora/flowers")


def test_a_fetch_that_leaves_files_out_is_told(
    flora: Hub, encode: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flora.files = {"cat/1.png": encode(1), "dog/2.png": encode(2)}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **options: str(tmp_path))
    with pytest.raises(DataError, match="2 of 2 files of flora/flowers did not come"):
        open_source("hf://datasets/flora/flowers")


def test_the_hub_is_asked_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flora: Hub) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="there is nothing at flora/flowers") as caught:
        open_source("flora/flowers")
    assert "hf://datasets/flora/flowers" in str(caught.value.remedy)
    with pytest.raises(DataError) as caught:
        open_source("some/path/flowers")
    assert "hf://" not in str(caught.value.remedy)
    assert flora.asked == []


def test_a_missing_package_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hub.importlib, "import_module", absent)
    with pytest.raises(MissingDependencyError) as caught:
        open_source("hf://datasets/flora/flowers")
    assert caught.value.remedy == "pip install 'eyebright[hub]'"
