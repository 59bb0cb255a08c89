"""Data sets of the Hugging Face hub by name: `hf://datasets/OWNER/NAME[@REVISION][/FOLDER or FILE]`.

The name is the one that fsspec and pandas use. The files with images are fetched by `huggingface_hub` into its own
cache, all of one commit, and opened like any folder; the commit becomes part of what the manifest records. A commit
that was fetched once opens without a network. Naming a data set is the user's consent to fetching it.
"""

from __future__ import annotations

import contextlib
import glob
import importlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from eyebright.atomic import write_json
from eyebright.data.cache import default_cache
from eyebright.data.sources.base import SPLIT_ALIASES, Source
from eyebright.data.sources.by_address import OpenFile
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.hf_parquet import HfParquetSource, image_column
from eyebright.data.sources.metadata import FILE_NAMES
from eyebright.data.sources.shard_names import TAR_ENDINGS
from eyebright.data.sources.tree import LocalTree
from eyebright.data.sources.trouble import TIMEOUT_SECONDS, trouble_of
from eyebright.errors import DataError, MissingDependencyError

PREFIX = "hf://"
SPELLING = "hf://datasets/OWNER/NAME, with @REVISION or /FOLDER after it if wanted"

OpenFolder = Callable[[Path, str], Source]

_NAME = re.compile(r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<inner>.*))?")
_SHORT_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LISTS = (".csv", ".tsv", ".jsonl", ".txt", ".lst", ".list")
_ARCHIVES = (".zip", *TAR_ENDINGS)
_SHOWN = 8
# So many names still fit into one request.
_FEW = 1000


class _Snapshot(NamedTuple):
    """A data set at one commit, and the paths of all its files."""

    repository: str
    commit: str
    files: list[str]

    def name(self, inner: str) -> str:
        return f"{PREFIX}datasets/{self.repository}@{self.commit}{f'/{inner}' if inner else ''}"


def is_hub_name(text: str) -> bool:
    """Whether a text names something on the hub."""
    return text.startswith(PREFIX)


def hint(text: str) -> str:
    """What to add to the remedy for a path that does not exist, if it may be a name of the hub."""
    if _SHORT_NAME.fullmatch(text) is None:
        return ""
    return f"; a data set of the Hugging Face hub is named hf://datasets/{text}"


def open_hub(text: str, *, open_file: OpenFile, open_folder: OpenFolder) -> Source:
    """Open the images of a data set of the hub, fetching what is not yet on this machine.

    Args:
        text: the name, as `SPELLING` says.
        open_file: opens a table, a list or an archive.
        open_folder: opens a folder of images.

    Raises:
        DataError: the name is misspelt, nothing is there, it is private or gated, or the hub does not answer.
        MissingDependencyError: `huggingface_hub` is not installed.
    """
    name = _NAME.fullmatch(text)
    if name is None:
        raise DataError(f"{text} is no name of a data set", expected=SPELLING, remedy="correct the name")
    inner = (name["inner"] or "").strip("/")
    snapshot = _look_up(name["repository"], None if name["revision"] is None else unquote(name["revision"]))
    spec = snapshot.name(inner)
    if inner in snapshot.files:
        return _open_one_file(snapshot, inner, spec, open_file)
    below = [path for path in snapshot.files if not inner or path.startswith(f"{inner}/")]
    shards = [path for path in below if path.endswith(".parquet") and PurePosixPath(path).name not in FILE_NAMES]
    if shards:
        folder = _one_configuration(snapshot, shards)
        root = _fetch(snapshot, shards)
        with_images = [root / path for path in shards if _holds_images(root / path)]
        if with_images:
            return HfParquetSource(root / folder, with_images, spec)
    images = _images(below)
    if images:
        described = [path for path in below if PurePosixPath(path).name in FILE_NAMES]
        return open_folder(_fetch(snapshot, [*images, *described]) / inner, spec)
    archives = [path for path in below if path.lower().endswith(_ARCHIVES)]
    if len(archives) == 1:
        return _open_one_file(snapshot, archives[0], spec, open_file)
    if archives:
        return open_folder(_fetch(snapshot, archives) / inner, spec)
    raise _no_images(snapshot, inner, below)


def _open_one_file(snapshot: _Snapshot, path: str, spec: str, open_file: OpenFile) -> Source:
    """A table or list comes with the images beside and below it."""
    folder = path.rpartition("/")[0]
    beside = [other for other in _images(snapshot.files) if other.startswith(f"{folder}/" if folder else "")]
    lists = PurePosixPath(path).suffix.lower() in _LISTS
    file = _fetch(snapshot, [path, *(beside if lists else [])]) / path
    return open_file(file, spec, LocalTree(file.parent))


def _images(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES]


def _holds_images(path: Path) -> bool:
    try:
        return image_column(pq.read_schema(path)) is not None
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}", remedy="fetch the data set again") from error


def _one_configuration(snapshot: _Snapshot, shards: Sequence[str]) -> str:
    """The folder of all the Parquet files; folders named after splits do not count."""
    folders = set()
    for path in shards:
        parts = PurePosixPath(path).parts[:-1]
        while parts and parts[-1].lower() in SPLIT_ALIASES:
            parts = parts[:-1]
        folders.add("/".join(parts))
    if len(folders) > 1:
        raise DataError(
            f"the data set {snapshot.repository} has several sets of Parquet files, in "
            + ", ".join(sorted(repr(folder or ".") for folder in folders)[:_SHOWN]),
            expected="one of them",
            remedy=f"name its folder: hf://datasets/{snapshot.repository}/{max(folders)}",
        )
    return folders.pop()


def _no_images(snapshot: _Snapshot, inner: str, below: Sequence[str]) -> DataError:
    place = f"{snapshot.repository}/{inner}" if inner else snapshot.repository
    if not below and inner:
        return DataError(
            f"the data set {snapshot.repository} has no folder or file {inner!r}",
            expected="one of its own: " + ", ".join(sorted({path.split("/")[0] for path in snapshot.files})[:_SHOWN]),
            remedy="correct the name",
        )
    more = f" and {len(below) - _SHOWN} more" if len(below) > _SHOWN else ""
    return DataError(
        f"the data set {place} of the hub holds no images: " + (", ".join(below[:_SHOWN]) + more or "it is empty"),
        expected="Parquet files with images, or image files",
        remedy=f"name the archive, table or list that counts: hf://datasets/{snapshot.repository}/FILE",
    )


def _look_up(repository: str, revision: str | None) -> _Snapshot:
    """The commit that a revision means now, and its files; from our record when that commit was fetched before."""
    if revision is not None and _COMMIT.fullmatch(revision):
        record = _record(repository, revision)
        if record.is_file():
            with contextlib.suppress(OSError, ValueError, KeyError):
                return _Snapshot(repository, revision, json.loads(record.read_text(encoding="utf-8"))["files"])
    hub = _package()
    try:
        with _quiet():
            facts = hub.HfApi().dataset_info(repository, revision=revision, timeout=TIMEOUT_SECONDS)
    except Exception as error:  # whatever the package, and the one that it talks http with, may raise
        raise _explained(error, repository, revision) from None
    return _Snapshot(repository, str(facts.sha), sorted(file.rfilename for file in facts.siblings or []))


def _fetch(snapshot: _Snapshot, paths: Sequence[str]) -> Path:
    """The folder of this machine with all these files."""
    hub = _package()
    options = {"repo_id": snapshot.repository, "repo_type": "dataset", "revision": snapshot.commit}
    with contextlib.suppress(Exception):  # any error means that not all is here
        root = Path(hub.snapshot_download(**options, local_files_only=True))
        if all((root / path).is_file() for path in paths):
            return root
    with _quiet():
        try:
            root = Path(hub.snapshot_download(**options, allow_patterns=_patterns(paths)))
        except Exception as error:
            raise _explained(error, snapshot.repository, snapshot.commit) from None
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} files of {snapshot.repository} did not come, such as {missing[0]}",
            expected="the whole data set",
            remedy="try again when the network is better",
        )
    write_json(_record(snapshot.repository, snapshot.commit), {"files": snapshot.files})
    return root


def _patterns(paths: Sequence[str]) -> list[str]:
    """What `huggingface_hub` is to fetch: few files by name, many by folder and ending."""
    if len(paths) <= _FEW:
        return [glob.escape(path) for path in paths]
    return sorted(
        {
            f"{glob.escape(str(PurePosixPath(path).parent))}/*{PurePosixPath(path).suffix}".removeprefix("./")
            for path in paths
        }
    )


def _record(repository: str, commit: str) -> Path:
    return default_cache() / "hub" / f"{repository.replace('/', '--')}@{commit}.json"


def _package() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise MissingDependencyError(
            "data sets of the Hugging Face hub are read by huggingface_hub, which is not installed",
            remedy="pip install 'eyebright[hub]'",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Only the command line prints: no bars, and no log of every try of a connection that is gone."""
    bars = importlib.import_module("huggingface_hub.utils")
    log = logging.getLogger("huggingface_hub")
    off, level = bars.are_progress_bars_disabled(), log.level
    bars.disable_progress_bars()
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        if not off:
            bars.enable_progress_bars()


def _explained(error: Exception, repository: str, revision: str | None) -> DataError:
    """What an error of the hub means for the user."""
    names = {kind.__name__ for kind in type(error).__mro__}
    page = f"https://huggingface.co/datasets/{repository}"
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if "GatedRepoError" in names:
        return DataError(
            f"the data set {repository} is gated: its owner asks for an agreement first",
            expected="an account that was given access",
            remedy=f"agree on {page}, then {log_in}",
        )
    if "RevisionNotFoundError" in names:
        return DataError(
            f"the data set {repository} has no revision {revision!r}",
            expected="a branch, a tag or a commit",
            remedy=f"see {page}",
        )
    if "RepositoryNotFoundError" in names or "HFValidationError" in names:
        return DataError(
            f"the hub shows no data set {repository} to you: the name is wrong, or it is private",
            expected=SPELLING,
            remedy=f"check the name; for a private one {log_in}",
        )
    if "OfflineModeIsEnabled" in names:
        return DataError(
            f"the data set {repository} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it",
            expected="a network, or a commit that was fetched before: hf://datasets/OWNER/NAME@COMMIT",
            remedy="unset HF_HUB_OFFLINE",
        )
    error = trouble_of(error).as_data_error(f"{PREFIX}datasets/{repository}")
    fetched = sorted(
        path.stem.partition("@")[2] for path in _record(repository, "*").parent.glob(_record(repository, "*").name)
    )
    if fetched:
        error.remedy = f"{error.remedy}; this commit is here already: {PREFIX}datasets/{repository}@{fetched[-1]}"
    return DataError(error.problem, expected=error.expected, remedy=error.remedy)
