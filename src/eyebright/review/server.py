"""The web server of a review: for one person on this machine, for as long as the review takes.

It listens on 127.0.0.1 only. Every request must carry the random token of the address, and must be meant for this
machine (a page elsewhere that resolves its own name to 127.0.0.1 sends another Host). The page gets everything from
here and nothing from the network.
"""

from __future__ import annotations

import dataclasses
import errno
import hmac
import importlib.resources
import json
import logging
import os
import secrets
import sys
import threading
import urllib.parse
import webbrowser
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from eyebright.data.audit.findings import Audit
from eyebright.errors import EyebrightError, StorageError, UsageError
from eyebright.review.session import ReviewSession

ADDRESS = "127.0.0.1"
LOCAL_NAMES = ("127.0.0.1", "localhost")
PAGE_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "review.js": ("review.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}

_MAX_BODY_BYTES = 65_536
_SOCKET_TIMEOUT_SECONDS = 30
_POLL_SECONDS = 0.2
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReviewOutcome:
    """How a review ended.

    Attributes:
        corrections: the table with the decisions.
        decided: suggestions that are decided, those of former sittings included.
        left: suggestions that are not.
        finished: whether the person pressed Finish, rather than Ctrl-C.
    """

    corrections: Path
    decided: int
    left: int
    finished: bool


class ReviewServer:
    """Serves one review. `start` and `stop` it, or use it in a `with`.

    Args:
        session: what is asked and what is decided.
        port: of 127.0.0.1; 0 takes a free one.

    Raises:
        UsageError: the port is taken or is none.
    """

    def __init__(self, session: ReviewSession, *, port: int = 0) -> None:
        self.session = session
        self.finished = threading.Event()
        self.token = secrets.token_urlsafe(24)
        self._http = _open_port(port, self)
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """What to open in a browser; whoever knows it can decide."""
        return f"http://{ADDRESS}:{self.port}/{self.token}/"

    def start(self) -> None:
        """Answer requests, in threads of its own."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": _POLL_SECONDS}, name="review", daemon=True
        )
        self._thread.start()

    def wait(self) -> None:
        """Until Finish is pressed."""
        while not self.finished.wait(_POLL_SECONDS):  # short waits, so that Ctrl-C is heard on every system
            pass

    def stop(self) -> None:
        """Stop answering and free the port. Every decision is saved already."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()

    def __enter__(self) -> ReviewServer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def serve_review(
    audit: Audit,
    *,
    images: Callable[[str], Image.Image],
    corrections: Path,
    port: int = 0,
    open_browser: bool = True,
    announce: Callable[[str], None],
) -> ReviewOutcome:
    """Let a person decide about the suggestions of an audit; returns when they press Finish or Ctrl-C.

    Args:
        audit: its suggestions are asked one by one.
        images: gives the image at a place of the manifest (its column `source`), from any thread.
        corrections: the CSV file that every decision is saved in at once.
        port: of 127.0.0.1; 0 takes a free one.
        open_browser: open the page, where there is a screen to open it on.
        announce: told the address, and what was decided before.

    Raises:
        DataError: the corrections table is there and cannot be read.
        UsageError: the port is taken or is none.
    """
    session = ReviewSession(audit, images=images, corrections=corrections)
    decided, left = session.counts()
    if not session.cases:
        announce("the audit suggests nothing: there is nothing to review")
        return ReviewOutcome(corrections=corrections, decided=0, left=0, finished=True)
    with ReviewServer(session, port=port) as server:
        if decided:
            announce(f"{decided} of {decided + left} suggestions are decided in {corrections}: going on after them")
        announce(f"review {left} suggestions at {server.url} (Ctrl-C ends the review; every decision is saved at once)")
        if open_browser and _has_screen():
            webbrowser.open(server.url)
        try:
            server.wait()
        except KeyboardInterrupt:
            _logger.debug("the review was ended with Ctrl-C")
        decided, left = session.counts()
        finished = server.finished.is_set()
    return ReviewOutcome(corrections=corrections, decided=decided, left=left, finished=finished)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], review: ReviewServer) -> None:
        self.review = review
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):  # the browser went away: that is its right
            _logger.error("a request of the review failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request. Every connection serves one, so that stopping waits for nobody."""

    server: _HttpServer
    server_version = "eyebright"
    sys_version = ""
    timeout = _SOCKET_TIMEOUT_SECONDS

    def do_GET(self) -> None:
        path = self._path_after_token()
        if path is None:
            return
        session = self.server.review.session
        if path in PAGE_FILES:
            name, media_type = PAGE_FILES[path]
            content = importlib.resources.files("eyebright.review").joinpath("page", name).read_bytes()
            self._answer(HTTPStatus.OK, content, media_type)
        elif path == "state":
            self._answer_json(HTTPStatus.OK, session.state())
        elif path.startswith("picture/") and path[8:].isdecimal():
            try:
                picture = session.picture(int(path[8:]))
            except Exception as error:  # whatever a damaged image or its source raises: the page says so
                problem = error.problem if isinstance(error, EyebrightError) else f"{type(error).__name__}: {error}"
                self._answer_json(HTTPStatus.UNPROCESSABLE_ENTITY, {"problem": problem})
                return
            self._answer(HTTPStatus.OK, picture.content, picture.media_type, cache="private, max-age=3600")
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        path = self._path_after_token()
        if path is None:
            return
        review = self.server.review
        request = self._json_body()
        if request is None:
            return
        answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "decide": review.session.record,
            "undo": review.session.undo,
        }
        if path == "finish":
            self._answer_json(HTTPStatus.OK, {})
            review.finished.set()
        elif path in answers:
            try:
                self._answer_json(HTTPStatus.OK, answers[path](request))
            except UsageError as error:
                self._answer_json(HTTPStatus.BAD_REQUEST, error.as_dict())
            except StorageError as error:
                self._answer_json(HTTPStatus.INSUFFICIENT_STORAGE, error.as_dict())
        else:
            self._refuse(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *arguments: Any) -> None:
        # Without the token, which opens the review to whoever reads the log.
        _logger.debug("%s", (format % arguments).replace(self.server.review.token, "TOKEN"))

    def _path_after_token(self) -> str | None:
        """What the request asks for; None after refusing one that is not from the page."""
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin")
        if (
            urllib.parse.urlsplit(f"//{host}").hostname not in LOCAL_NAMES
            or (origin is not None and urllib.parse.urlsplit(origin).netloc != host)
            or self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        ):
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        token, _, path = urllib.parse.urlsplit(self.path).path.lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.review.token.encode()):
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        return path

    def _json_body(self) -> dict[str, Any] | None:
        length = self.headers.get("Content-Length", "")
        is_json = self.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"
        if not is_json or not length.isdecimal():
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
            return None
        if int(length) > _MAX_BODY_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return None
        try:
            request = json.loads(self.rfile.read(int(length)))
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._refuse(HTTPStatus.BAD_REQUEST)
            return None
        return request

    def _refuse(self, status: HTTPStatus) -> None:
        self._answer(status, f"{status.phrase}\n".encode(), "text/plain; charset=utf-8")

    def _answer_json(self, status: HTTPStatus, value: dict[str, Any]) -> None:
        self._answer(status, json.dumps(value, ensure_ascii=False).encode(), "application/json; charset=utf-8")

    def _answer(self, status: HTTPStatus, content: bytes, media_type: str, cache: str = "no-store") -> None:
        self.send_response(status)
        headers = {
            "Content-Type": media_type,
            "Content-Length": str(len(content)),
            "Cache-Control": cache,
            "Connection": "close",
        }
        for name, value in {**headers, **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _open_port(port: int, review: ReviewServer) -> _HttpServer:
    if not 0 <= port <= 65_535:
        raise UsageError(f"{port} is no port", expected="a number from 1 to 65535, or 0 for any free one")
    try:
        return _HttpServer((ADDRESS, port), review)
    except OSError as error:
        reason = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise UsageError(
            f"port {port} {reason}", expected="a free port", remedy="choose another one, or 0 for any free one"
        ) from error


def _has_screen() -> bool:
    """Whether a browser window can be opened; a text browser would take over the terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
