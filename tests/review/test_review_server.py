"""The server answers this machine and the holder of the token, and nobody else; what it cannot do, it says."""

from __future__ import annotations

import http.client
import importlib.resources
import io
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sitting import Sitting

from eyebright.data.audit.corrections import read_corrections
from eyebright.data.audit.findings import Audit
from eyebright.errors import DataError, UsageError
from eyebright.review import ReviewServer, ReviewSession, serve_review
from eyebright.review import server as server_module
from eyebright.review.pictures import KEPT, MAX_SIDE, Pictures, encode


@pytest.fixture
def server(sitting: Sitting) -> Iterator[ReviewServer]:
    with ReviewServer(sitting.session()) as running:
        yield running


def ask(
    server: ReviewServer, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        sent = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent is not None:
            named.setdefault("Content-Type", "application/json")
        where = f"/{server.token if token is None else token}/{path}"
        connection.request(method, where, sent, named)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def answer(server: ReviewServer, body: object, path: str = "decide", **headers: str) -> tuple[int, Any]:
    status, content, _ = ask(server, "POST", path, body, **headers)
    return status, json.loads(content) if content.startswith(b"{") else content.decode()


def test_the_page_and_its_parts_come_from_here_and_name_nothing_else(server: ReviewServer) -> None:
    status, page, headers = ask(server, "GET", "")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    for name in re.findall(r'(?:src|href)="([^"]+)"', page.decode()):
        assert ask(server, "GET", name)[0] == 200, name
    folder = importlib.resources.files("eyebright.review").joinpath("page")
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "//" not in re.sub(r"^\s*//.*|\s// .*", "", text, flags=re.MULTILINE), file.name


def test_every_picture_is_served(server: ReviewServer) -> None:
    state = json.loads(ask(server, "GET", "state")[1])
    assert len(state["cases"]) == 10
    for case in state["cases"]:
        for image in case["images"]:
            status, content, headers = ask(server, "GET", f"picture/{image['picture']}")
            assert status == 200
            assert headers["Content-Type"] == "image/png"
            with Image.open(io.BytesIO(content)) as picture:
                assert picture.size == (image["width"], image["height"])


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ({"Host": "evil.example"}, None, 403),
        ({"Host": "evil.example:80"}, None, 403),
        ({"Host": "127.0.0.1.evil.example"}, None, 403),
        ({"Host": ""}, None, 403),
        ({"Origin": "http://evil.example"}, None, 403),
        ({"Origin": "null"}, None, 403),
        ({"Sec_Fetch_Site": "cross-site"}, None, 403),
        ({}, "", 404),
        ({}, "wrong", 404),
        ({}, "wr%C3%B6ng", 404),
        ({"Host": "localhost:4321"}, None, 200),
    ],
)
def test_only_this_machine_and_the_holder_of_the_token_are_answered(
    server: ReviewServer, headers: dict[str, str], token: str | None, status: int
) -> None:
    for path in ("", "state", "picture/0", "style.css"):
        assert ask(server, "GET", path, token=token, **headers)[0] == status
    body = {"case": 0, "choice": "accept"}
    assert ask(server, "POST", "decide", body, token=token, **headers)[0] == status
    decided = 1 if status == 200 else 0
    assert server.session.counts() == (decided, 10 - decided)


def test_a_page_elsewhere_cannot_post_a_form(server: ReviewServer) -> None:
    body = json.dumps({"case": 0, "choice": "accept"}).encode()
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        assert ask(server, "POST", "decide", body, Content_Type=content_type)[0] == 415
    assert server.session.counts() == (0, 10)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "../../etc/passwd", None, 404),
        ("GET", "page/index.html", None, 404),
        ("GET", "picture/9999", None, 422),
        ("GET", "picture/-1", None, 404),
        ("GET", "picture/%C2%B2", None, 404),
        ("GET", "decide", None, 404),
        ("POST", "nothing", {}, 404),
        ("POST", "decide", b"{", 400),
        ("POST", "decide", [1], 400),
        ("POST", "decide", {"case": 99, "choice": "accept"}, 400),
        ("POST", "decide", {"case": "0", "choice": "accept"}, 400),
        ("POST", "decide", {"case": 2, "choice": "relabel", "label": "peony"}, 400),
        ("POST", "undo", {}, 400),
        ("POST", "decide", b" " * 70_000, 413),
        ("PUT", "decide", {}, 501),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(
    server: ReviewServer, method: str, path: str, body: object, status: int
) -> None:
    assert ask(server, method, path, body)[0] == status
    assert server.session.counts() == (0, 10)


def test_an_answer_is_in_the_table_when_the_page_hears_of_it(server: ReviewServer, sitting: Sitting) -> None:
    status, made = answer(server, {"case": 2, "choice": "relabel", "label": "daisy"})
    assert (status, made["outcome"]) == (200, "changed")
    (decision,) = read_corrections(sitting.corrections)
    assert (decision.verdicts[0].source, decision.verdicts[0].label_after) == (sitting.photos["rose"][2], "daisy")
    assert answer(server, {"case": 2}, "undo") == (200, {"case": 2})
    assert read_corrections(sitting.corrections) == []


def test_an_answer_that_cannot_be_saved_is_refused_with_the_reason(
    server: ReviewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    status, said = answer(server, {"case": 2, "choice": "accept"})
    assert status == 507
    assert "the disk is full" in said["problem"]
    assert "free some space" in said["remedy"]
    monkeypatch.undo()
    assert server.session.counts() == (0, 10)


def test_an_image_that_cannot_be_read_says_why(sitting: Sitting) -> None:
    def broken(source: str) -> Image.Image:
        raise DataError("the file is cut off") if "rose" in source else RuntimeError("who knows")

    session = ReviewSession(sitting.audit, images=broken, corrections=sitting.corrections)
    with ReviewServer(session) as server:
        problems = {json.loads(ask(server, "GET", f"picture/{n}")[1])["problem"] for n in range(10)}
    assert problems == {"the file is cut off", "RuntimeError: who knows"}


def test_serving_ends_with_finish_and_tells_what_is_left(sitting: Sitting) -> None:
    told: list[str] = []
    ended: list[Any] = []

    def serve() -> None:
        ended.append(
            serve_review(
                sitting.audit,
                images=sitting.images,
                corrections=sitting.corrections,
                open_browser=False,
                announce=told.append,
            )
        )

    for expected in (1, 2):
        thread = threading.Thread(target=serve)
        told.clear()
        thread.start()
        while not any("http://" in text for text in told):
            thread.join(0.02)
        found = re.search(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", told[-1])
        assert found is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(found.group(1)), timeout=20)
        for path, body in (("decide", {"case": expected, "choice": "accept"}), ("finish", {})):
            where = f"/{found.group(2)}/{path}"
            connection.request("POST", where, json.dumps(body), {"Content-Type": "application/json"})
            assert connection.getresponse().read()
            connection.close()
        thread.join(20)
        assert not thread.is_alive()
        assert (ended[-1].decided, ended[-1].left, ended[-1].finished) == (expected, 10 - expected, True)
    assert told[0].startswith("1 of 10 suggestions are decided")


def test_ctrl_c_ends_the_review_and_keeps_what_was_decided(sitting: Sitting, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(server: ReviewServer) -> None:
        answer(server, {"case": 0, "choice": "accept"})
        raise KeyboardInterrupt

    monkeypatch.setattr(server_module.ReviewServer, "wait", interrupted)
    opened: list[str] = []
    monkeypatch.setattr(server_module.webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    told: list[str] = []
    ended = serve_review(
        sitting.audit, images=sitting.images, corrections=sitting.corrections, announce=told.append
    )  # fmt: skip
    assert (ended.decided, ended.left, ended.finished) == (1, 9, False)
    assert len(read_corrections(sitting.corrections)) == 1
    assert opened[0] in told[-1]


def test_no_browser_is_started_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server_module.sys, "platform", "linux")
    assert not server_module._has_screen()


def test_nothing_to_review_is_said_and_no_server_started(sitting: Sitting, tmp_path: Path) -> None:
    told: list[str] = []
    empty = Audit(manifest=sitting.audit.manifest, findings=[])
    ended = serve_review(empty, images=sitting.images, corrections=tmp_path / "none.csv", announce=told.append)
    assert ended.finished
    assert told == ["the audit suggests nothing: there is nothing to review"]


def test_a_port_that_is_taken_or_none_is_refused(server: ReviewServer, sitting: Sitting) -> None:
    for port, said in ((server.port, "is taken"), (70_000, "is no port"), (-1, "is no port")):
        with pytest.raises(UsageError, match=said):
            ReviewServer(sitting.session(), port=port)


def test_the_log_does_not_hold_the_token(server: ReviewServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="eyebright.review.server"):
        ask(server, "GET", "state")
    assert "/TOKEN/state" in caplog.text
    assert server.token not in caplog.text


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "LA", "1", "I;16"])
def test_images_of_every_mode_can_be_shown(mode: str) -> None:
    for size in ((40, 30), (MAX_SIDE + 400, 300)):
        picture = encode(Image.new(mode, size))
        with Image.open(io.BytesIO(picture.content)) as shown:
            assert max(shown.size) == min(size[0], MAX_SIDE)
            assert picture.media_type == f"image/{str(shown.format).lower()}"


def test_pictures_are_encoded_once_and_not_hoarded() -> None:
    read: list[str] = []

    def open_image(source: str) -> Image.Image:
        read.append(source)
        return Image.new("RGB", (4, 4))

    pictures = Pictures(open_image)
    for _ in range(2):
        pictures.get("a")
    assert read == ["a"]
    for number in range(KEPT):
        pictures.get(str(number))
    pictures.get("a")
    assert read.count("a") == 2
