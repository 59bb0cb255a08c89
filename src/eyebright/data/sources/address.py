"""Addresses such as `s3://bucket/photos` or `https://host/labels.csv`, as texts: what they are, and how to show them.

An address may hold a password or a signature that gives access. What is shown or written down is therefore always
`printable`; credentials are better given to fsspec by its own environment variables.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

LEFT_OUT = "..."
HTTP = ("http", "https")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ADDRESS_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+")
_SECRET_KEY = re.compile(r"(?i)sig|token|key|secret|passw|pwd|auth|cred|session|sas|code|policy|x-amz|x-goog")
# Longer than words and dates are; shorter than any signature.
_SECRET_VALUE = re.compile(r"[A-Za-z0-9+/=_-]{24,}")
_VERSION_KEYS = ("versionId", "generation")
_VERSION = re.compile(rf"\?({'|'.join(_VERSION_KEYS)})=[^/]*$")
# A user without a password may be a token, for these; elsewhere it is the name of a container or an owner.
_USER_IS_SECRET = (*HTTP, "ftp", "sftp", "ssh")


def is_address(text: str) -> bool:
    """Whether a text begins with a protocol: `https://`, `s3://`, ..."""
    return _ADDRESS.match(text) is not None


def is_file_address(text: str) -> bool:
    """Whether a text begins with `file://`: a path of this machine."""
    return text.lower().startswith("file://")


def protocol_of(address: str) -> str:
    """The part before `://`, in lower case."""
    return address.partition("://")[0].lower()


def printable(address: str) -> str:
    """The address without a user's name and password, and without a query that may give access.

    A query that was left out is shown as `?...`.
    """
    protocol, _, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    user, at, server = host.rpartition("@")
    # `github://owner:repository@branch` has no password.
    if at and protocol.lower() != "github" and (":" in user or protocol.lower() in _USER_IS_SECRET):
        host = server
    place, mark, query = (host + slash + path).partition("?")
    if protocol.lower() in HTTP:
        place, query = place.partition("#")[0], query.partition("#")[0]
    if mark and _may_give_access(query):
        query = LEFT_OUT
    return f"{protocol}://{place}{mark}{query}"


def without_secrets(text: str) -> str:
    """The text with every address in it made `printable`."""
    return _ADDRESS_IN_TEXT.sub(lambda found: printable(found.group()), text)


def is_left_out(address: str) -> bool:
    """Whether this is what `printable` made of an address whose query gave access."""
    return address.endswith(f"?{LEFT_OUT}")


def path_of_file_address(address: str) -> Path:
    """The local path of `file:///home/me/photos`; a path with `%20` for a blank is understood, too."""
    path = Path(urlsplit(address).path if "?" not in address and "#" not in address else address.partition("://")[2])
    return path if path.exists() else Path(unquote(str(path)))


def file_name(address: str) -> str:
    """The last part of the path, decoded."""
    if protocol_of(address) in HTTP:
        return unquote(posixpath.basename(urlsplit(address).path.rstrip("/")))
    return _VERSION.sub("", posixpath.basename(address.partition("://")[2].rstrip("/")))


def parent(address: str) -> str:
    """The folder that a file lies in; a query is left out."""
    protocol, _, rest = address.partition("://")
    if protocol.lower() in HTTP:
        rest = rest.partition("?")[0].partition("#")[0]
    return f"{protocol}://{posixpath.dirname(rest.rstrip('/'))}"


def quoted(path: str) -> str:
    """A file's path as it stands in an address of http."""
    return quote(path, safe="/~!$&'()*+,;=:@")


def _may_give_access(query: str) -> bool:
    pairs = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in _VERSION_KEYS]
    if not pairs:
        return "=" not in query and bool(_SECRET_VALUE.search(query))
    return any(_SECRET_KEY.search(key) or _SECRET_VALUE.search(value) for key, value in pairs)
