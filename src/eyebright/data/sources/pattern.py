"""Images that a glob pattern names: `photos/**/*.jpg`, `photos/{cat,dog}*/*.png`.

`*` and `?` stand for letters of one name, `[ab]` for one of several, `{jpg,png}` for one of several words, `**` for any
number of folders. Names that begin with a dot, and folders that tools make, are matched only when they are spelled out.
Labels and splits come from the folders in the matched paths, which are relative to the part before the first wildcard.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from eyebright.data.sources.base import Item, Stray, refuse_colliding_class_names
from eyebright.data.sources.folder import IMAGE_SUFFIXES, STRAY_FILES, STRAY_FOLDERS
from eyebright.data.sources.folder_labels import items_of_paths
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.decode import UndecodableImage, sniff_format
from eyebright.errors import DataError

_BRACES = re.compile(r"\{([^{}/]*,[^{}/]*)\}")
_WILDCARD = re.compile(r"[*?\[]|" + _BRACES.pattern)
_ANY_FOLDERS = "**"
_SHOWN_NAMES = 8


def is_pattern(text: str) -> bool:
    """Whether a text that is no path of something that exists may be a pattern."""
    return _WILDCARD.search(text) is not None


def open_pattern(spec: str) -> PatternSource:
    """The images on this machine that `spec` matches.

    Raises:
        DataError: nothing matches, or no image does.
    """
    base, rest = _fixed_part(Path(spec).expanduser())
    if not base.is_dir():
        nearest = next(folder for folder in (base, *base.absolute().parents) if folder.is_dir())
        raise DataError(
            f"nothing matches {spec}: there is no folder {base}; the nearest that exists is {nearest}",
            expected="a pattern below a folder that exists",
            remedy="check the part before the first wildcard",
        )
    return PatternSource(LocalTree(base, str(base)), rest, spec)


def images_below(tree: Tree) -> tuple[list[str], list[Stray]]:
    """Every image of a tree, sorted by path, and what is none."""
    found = _Walk(tree, [_ANY_FOLDERS]).run()
    images, strays = _sort_out(tree, found)
    hidden = [Stray(path, "a hidden folder" if path.endswith("/") else "a hidden file") for path in found.hidden]
    return images, strays + hidden


class PatternSource:
    """The images of a tree that a pattern matches.

    Args:
        tree: what lies below the part of the pattern without wildcards.
        segments: the rest of the pattern, one text for each folder and one for the file.
        spec: what the user gave.

    Raises:
        DataError: nothing matches, no image does, or class names collide.
    """

    kind = "glob"

    def __init__(self, tree: Tree, segments: Sequence[str], spec: str) -> None:
        self.spec = spec
        self.class_names: tuple[str, ...] | None = None
        self._tree = tree
        found = _Walk(tree, segments).run()
        images, self._strays = _sort_out(tree, found)
        if not images:
            raise _no_image(tree, segments, spec, found)
        self._strays += _matched_folders(found)
        self._items = items_of_paths(images)
        refuse_colliding_class_names(
            {item.label for item in self._items if item.label is not None},
            remedy="give the folders one spelling, or write a pattern that leaves one of them out",
        )

    def items(self) -> Iterator[Item]:
        """All images, sorted by path."""
        return iter(self._items)

    def strays(self) -> list[Stray]:
        """What the pattern matches and is no image."""
        return list(self._strays)

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return self._tree.read(source)


@dataclasses.dataclass
class _Found:
    """What a walk met: matched files and folders, folders of tools that it did not enter, and hidden names."""

    files: list[str] = dataclasses.field(default_factory=list)
    folders: list[str] = dataclasses.field(default_factory=list)
    of_tools: list[str] = dataclasses.field(default_factory=list)
    hidden: list[str] = dataclasses.field(default_factory=list)


class _Walk:
    """One pass over a tree that lists every folder at most once, whatever the pattern."""

    def __init__(self, tree: Tree, segments: Sequence[str], ignore_case: bool = False) -> None:
        # `**` at the end stands for every file below, as people expect.
        self._segments = [*segments, "*"] if segments[-1] == _ANY_FOLDERS else list(segments)
        flags = re.IGNORECASE if ignore_case else 0
        self._expressions = [
            re.compile("|".join(map(fnmatch.translate, _alternatives(text))), flags) for text in self._segments
        ]
        self._tree = tree
        self._found = _Found()

    def run(self) -> _Found:
        self._visit("", frozenset({0}), ())
        self._found.files.sort()
        return self._found

    def _visit(self, folder: str, positions: frozenset[int], above: tuple[str, ...]) -> None:
        """Match what lies in `folder` against the segments at `positions`; `above` ends a link back to a parent."""
        identity = self._tree.identity(folder)
        if identity in above:
            return
        positions = self._with_skipped(positions)
        for entry in self._tree.entries(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            following = self._following(entry.name, positions)
            if entry.name.startswith(".") and not following:
                self._found.hidden.append(f"{path}/" if entry.kind == "folder" else path)
            elif entry.kind == "folder":
                if len(self._segments) in following:
                    self._found.folders.append(path)
                if following and not self._is_of_a_tool(entry.name, positions):
                    self._visit(path, following - {len(self._segments)}, (*above, identity))
                elif following:
                    self._found.of_tools.append(path)
            elif len(self._segments) in following:
                self._found.files.append(path)

    def _with_skipped(self, positions: frozenset[int]) -> frozenset[int]:
        """`**` stands for no folder, too: the segment after it may match here."""
        reached = set(positions)
        for position in sorted(positions):
            while position < len(self._segments) and self._segments[position] == _ANY_FOLDERS:
                position += 1
                reached.add(position)
        return frozenset(reached)

    def _following(self, name: str, positions: frozenset[int]) -> frozenset[int]:
        """Where the pattern may go on after `name`; the number of segments means that it is complete."""
        following = set()
        for position in positions:
            if position == len(self._segments):
                continue
            segment = self._segments[position]
            if name.startswith(".") and not segment.startswith("."):
                continue
            if segment == _ANY_FOLDERS:
                following.add(position)
            elif self._expressions[position].match(name):
                following.add(position + 1)
        return frozenset(following)

    def _is_of_a_tool(self, name: str, positions: frozenset[int]) -> bool:
        spelled_out = any(position < len(self._segments) and self._segments[position] == name for position in positions)
        return name.lower() in STRAY_FOLDERS and not spelled_out


def _alternatives(segment: str) -> list[str]:
    """`*.{jpg,png}` as `*.jpg` and `*.png`."""
    braces = _BRACES.search(segment)
    if braces is None:
        return [segment]
    head, tail = segment[: braces.start()], segment[braces.end() :]
    return [text for word in braces.group(1).split(",") for text in _alternatives(head + word + tail)]


def _fixed_part(path: Path) -> tuple[Path, list[str]]:
    """The part without wildcards, and the rest. A folder that exists under a name with wildcards counts as fixed."""
    base = Path(path.anchor)
    parts = path.parts[1:] if path.anchor else path.parts
    for number, part in enumerate(parts):
        if is_pattern(part) and not (base / part).is_dir():
            return base, list(parts[number:])
        base /= part
    return base, [_ANY_FOLDERS]


def _sort_out(tree: Tree, found: _Found) -> tuple[list[str], list[Stray]]:
    """The images among the matched paths, and why the rest is none."""
    images: list[str] = []
    strays = [
        Stray(f"{path}/", f"{STRAY_FOLDERS[PurePosixPath(path).name.lower()]} ({tree.count_files(path)} files inside)")
        for path in found.of_tools
    ]
    for path in found.files:
        name, suffix = PurePosixPath(path).name.lower(), PurePosixPath(path).suffix.lower()
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
            strays.append(Stray(printable, "its name is not valid UTF-8: rename it"))
            continue
        if name in STRAY_FILES:
            strays.append(Stray(path, STRAY_FILES[name]))
        elif suffix in IMAGE_SUFFIXES or _starts_like_an_image(tree, path):
            images.append(path)
        else:
            strays.append(Stray(path, f"not an image ({suffix or 'no suffix'})"))
    return images, strays


def _matched_folders(found: _Found) -> list[Stray]:
    """Folders that match although only files are taken, but for those with matched files in them."""
    entered = {str(parent) for path in found.files for parent in PurePosixPath(path).parents}
    return [
        Stray(f"{path}/", "a folder: the pattern matches it, and nothing in it")
        for path in found.folders
        if path not in entered and path not in found.of_tools
    ]


def _starts_like_an_image(tree: Tree, path: str) -> bool:
    try:
        return sniff_format(tree.head(path)) is not None
    except UndecodableImage:
        return False


def _no_image(tree: Tree, segments: Sequence[str], spec: str, found: _Found) -> DataError:
    expected = "a pattern that matches images, such as 'photos/**/*.jpg' (in quotes, or the shell expands it)"
    if found.files:
        listed = ", ".join(found.files[:_SHOWN_NAMES])
        return DataError(
            f"{spec} matches {len(found.files)} files, and none is an image: {listed}",
            expected=expected,
            remedy="write a pattern that matches the images",
        )
    if found.folders:
        return DataError(
            f"{spec} matches {len(found.folders)} folders and no image: {', '.join(found.folders[:_SHOWN_NAMES])}",
            expected=expected,
            remedy=f"write '{spec.rstrip('/')}/**/*.jpg', or point to the folder above them",
        )
    otherwise = _Walk(tree, segments, ignore_case=True).run().files
    if otherwise:
        hint = f"; {len(otherwise)} files match when case is ignored, such as {otherwise[0]}"
    else:
        names = [f"{entry.name}/" if entry.kind == "folder" else entry.name for entry in tree.entries("")]
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        holds = f"holds {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "is empty"
        hint = f"; the nearest folder that exists, {tree.spec}, {holds}"
    return DataError(f"nothing matches {spec}{hint}", expected=expected, remedy="check the pattern")
