"""What goes wrong between this machine and a server, in our words.

The packages below fsspec raise whatever they like, with addresses and signatures in the text. Everything is turned
into a `Trouble` of four kinds here, and from there into the error that fits what was being read.
"""

from __future__ import annotations

import errno
import re
import socket
from typing import Literal

from eyebright.data.sources.address import HTTP, printable, protocol_of, without_secrets
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

TRIES = 3
# How long one answer, or one silence within an answer, may last.
TIMEOUT_SECONDS = 60

_TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
# Of aiohttp, boto and httpx, none of which need be installed.
_BROKEN_CONNECTIONS = {
    *("ConnectionError", "ClientConnectionError", "ClientPayloadError", "HTTPClientError", "TransportError"),
}
_UNKNOWN_NAME = re.compile(r"(?i)name or service not known|name resolution|nodename nor servname|getaddrinfo")

TroubleKind = Literal["missing", "not-allowed", "unreachable", "failed"]


class Trouble(Exception):  # noqa: N818  (turned into an error of ours by whoever knows what was being read)
    """Why a file or folder could not be read; `reason` holds no secrets."""

    def __init__(self, kind: TroubleKind, reason: str, *, transient: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.kind: TroubleKind = kind
        self.reason = reason
        self.status = status
        self.transient = transient

    def as_data_error(self, address: str) -> DataError:
        """The error of a command that cannot go on without `address`."""
        shown = printable(address)
        if self.kind == "missing":
            return DataError(f"there is nothing at {shown}", expected="an address that exists", remedy="check it")
        if self.kind == "not-allowed":
            return DataError(
                f"{shown} may not be read: {self.reason}",
                expected="an address that is public, or credentials in the environment",
                remedy=_where_credentials_come_from(protocol_of(address)),
            )
        if self.kind == "unreachable":
            return DataError(
                f"there is no connection to {shown}: {self.reason}",
                expected=f"a server that answers within {TIMEOUT_SECONDS} seconds",
                remedy="check the network and the address, or fetch the files and point to the folder",
            )
        return DataError(f"{shown} cannot be read: {self.reason}", remedy="check the address, and try again later")

    def as_image_outcome(self, address: str) -> UndecodableImage:
        """The outcome for one image among many."""
        if self.kind == "missing":
            return UndecodableImage("missing", f"there is nothing at {printable(address)}")
        return UndecodableImage("unreadable", f"{printable(address)} cannot be read: {self.reason}")


def trouble_of(error: BaseException) -> Trouble:
    """What an error of fsspec, or of any package below it, means."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        return trouble_of(error.__cause__)  # fsspec's http calls every failed question for facts "not found"
    names = {kind.__name__ for kind in type(error).__mro__}
    status = _status(error)
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) or status in (404, 410):
        return Trouble("missing", "it does not exist")
    if isinstance(error, PermissionError) or status in (401, 403) or "NoCredentialsError" in names:
        reason = f"the server answered {status}" if status else "it asks for credentials"
        return Trouble("not-allowed", reason)
    if status is not None:
        transient = status in _TRANSIENT_STATUSES
        return Trouble("failed", f"the server answered {status}", transient=transient, status=status)
    if isinstance(error, TimeoutError) or "TimeoutException" in names:
        return Trouble("unreachable", f"no answer within {TIMEOUT_SECONDS} seconds", transient=True)
    if any("Certificate" in name or "SSLError" in name for name in names):
        return Trouble("failed", "the certificate of the server is not trusted")
    if isinstance(error, socket.gaierror) or _UNKNOWN_NAME.search(str(error)):
        return Trouble(
            "unreachable", "the name of the server is not known here, or there is no network", transient=True
        )
    if isinstance(error, ConnectionRefusedError) or getattr(error, "errno", None) == errno.ECONNREFUSED:
        return Trouble("unreachable", "the server refused it", transient=True)
    if names & _BROKEN_CONNECTIONS:
        return Trouble("unreachable", "the connection broke off", transient=True)
    text = without_secrets(str(error)).strip().partition("\n")[0][:200]
    return Trouble("failed", f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _status(error: BaseException) -> int | None:
    """The status of http that an error carries, however its package hides it."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # of boto
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        found = getattr(response, "status_code", None)
    if found is None:
        # aiohttp warns of its own `code`, which is what gcsfs calls it.
        found = error.status if hasattr(error, "status") else getattr(error, "code", None)
    return int(found) if str(found).isdigit() and 400 <= int(found) < 600 else None


def _where_credentials_come_from(protocol: str) -> str:
    if protocol in ("s3", "s3a"):
        return (
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for a public bucket FSSPEC_S3_ANON=true"
        )
    if protocol in ("gs", "gcs"):
        return "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
    if protocol in HTTP:
        return "write the user and password into ~/.netrc, or ask for an address that is signed and still valid"
    return "see fsspec's documentation of this protocol"
