"""Images in folders: a folder for each class, `train|val|test` with class folders inside, or a flat folder.

The folders may lie on this machine, in an archive or on a server: whatever is a `Tree`. Nested folders below a class
belong to the class. Whatever is no image of a class is listed as a stray with the reason.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray, refuse_colliding_class_names
from eyebright.data.sources.tree import LocalTree, Tree
from eyebright.decode import UndecodableImage, sniff_format

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".jp2", ".j2k", ".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm"),
    }
)
# Made by tools beside the user's files; none is ever a class.
STRAY_FOLDERS = {
    ".ipynb_checkpoints": "made by Jupyter",
    "__macosx": "made by macOS when zipping",
    "@eadir": "thumbnails made by a Synology server",
    "__pycache__": "made by Python",
    "lost+found": "made by the file system",
    "$recycle.bin": "made by Windows",
    "system volume information": "made by Windows",
}
STRAY_FILES = {"thumbs.db": "made by Windows", "desktop.ini": "made by Windows", ".ds_store": "made by macOS"}


class FolderSource:
    """The images below one folder.

    Args:
        root: a folder of this machine, or any other tree of files.
        spec: what the user gave, when it is not the path of `root`.
        look_through: a single folder at the top that holds folders itself is the wrapping of an archive, such as
            `flowers-main/`, and no class.

    Raises:
        DataError: the folder cannot be listed, or class names collide.
    """

    def __init__(self, root: Path | Tree, spec: str | None = None, *, look_through: bool = False) -> None:
        self._tree: Tree = LocalTree(root) if isinstance(root, Path) else root
        self.spec = self._tree.spec if spec is None else spec
        self.class_names: tuple[str, ...] | None = None
        self._items: list[Item] = []
        self._strays: list[Stray] = self._tree.strays()
        self.kind = self._list_root(look_through)
        refuse_colliding_class_names(
            {item.label for item in self._items if item.label is not None},
            remedy="move the images into one of the folders and remove the other (`mv 'OTHER'/* 'ONE'/`)",
        )

    def items(self) -> Iterator[Item]:
        """All images, sorted by path within each class."""
        return iter(self._items)

    def has_items(self) -> bool:
        """Whether there is any image."""
        return bool(self._items)

    def strays(self) -> list[Stray]:
        """Files and folders that are no image of a class."""
        return list(self._strays)

    def read(self, source: str) -> bytes:
        """The bytes of one file."""
        return self._tree.read(source)

    def reader(self) -> Callable[[str], bytes]:
        """What reads like `read` and holds no list of items, for another process."""
        return self._tree.read

    def _list_root(self, look_through: bool) -> str:
        top, seen = "", {self._tree.identity("")}
        folders, files = self._list_folder(top)
        while look_through and len(folders) == 1 and self._is_wrapping(f"{top}{folders[0]}"):
            inner = f"{top}{folders[0]}"
            if self._tree.identity(inner) in seen:  # a link back to a folder above
                break
            seen.add(self._tree.identity(inner))
            self._stray_files([top + file for file in files], f"outside {inner}/, which holds the classes")
            top = f"{inner}/"
            folders, files = self._list_folder(top)
        splits = {name: SPLIT_ALIASES[name.lower()] for name in folders if name.lower() in SPLIT_ALIASES}
        # `train` beside `bus` is a class of vehicles; with `test` or `val`, or alone, it is a split.
        held_out = {"val", "test"} & set(splits.values())
        if splits and (len(splits) == len(folders) or ("train" in splits.values() and held_out)):
            for name in folders:
                if name in splits:
                    self._list_classes(*self._list_folder(f"{top}{name}/"), f"{top}{name}/", splits[name])
                else:
                    self._stray_folder(f"{top}{name}", "beside the split folders, so neither a split nor a class")
            self._stray_files([top + file for file in files], "directly in the root, outside every split folder")
            return "split-folders"
        return "folder" if self._list_classes(folders, files, top, None) else "flat-folder"

    def _is_wrapping(self, folder: str) -> bool:
        """Whether `folder` holds folders, and is neither a split nor a class whose images lie directly in it."""
        if PurePosixPath(folder).name.lower() in SPLIT_ALIASES:
            return False
        entries = self._tree.entries(folder)
        below = [e for e in entries if e.kind == "folder" and not _is_tool_made(e.name)]
        images = [e for e in entries if e.kind == "file" and PurePosixPath(e.name).suffix.lower() in IMAGE_SUFFIXES]
        return len(below) > 1 or (len(below) == 1 and not images)

    def _list_classes(self, folders: list[str], files: list[str], prefix: str, split: Split | None) -> bool:
        """List the class folders below `prefix` (True), or its own images, unlabelled, when there are none (False)."""
        labelled: list[Item] = []
        for name in folders:
            images = self._images_below(f"{prefix}{name}")
            # The same name may be spelled in two Unicode forms, by macOS and by others.
            label = unicodedata.normalize("NFC", name)
            labelled += [Item(source=path, label=label, split=split) for path in images]
            if not images:
                self._strays.append(Stray(f"{prefix}{name}/", "a class folder without any image"))
        if labelled:
            self._items += labelled
            self._stray_files([prefix + file for file in files], "directly in the root: the class folder is missing")
        else:
            self._items += [Item(source=path, split=split) for path in self._images_among([prefix + f for f in files])]
        return bool(labelled)

    def _images_below(self, path: str) -> list[str]:
        """Every image in `path` and the folders below it; the rest becomes strays."""
        images: list[str] = []
        pending, seen = [path], set()
        while pending:
            current = pending.pop()
            identity = self._tree.identity(current)
            if identity in seen:  # a link back to a folder above
                continue
            seen.add(identity)
            folders, files = self._list_folder(f"{current}/")
            images += self._images_among([f"{current}/{file}" for file in files])
            pending += [f"{current}/{folder}" for folder in folders]
        return sorted(images)

    def _list_folder(self, prefix: str) -> tuple[list[str], list[str]]:
        """Names of the folders and files that may matter, sorted; tool-made ones become strays."""
        folders: list[str] = []
        files: list[str] = []
        for entry in self._tree.entries(prefix.removesuffix("/")):
            name, lowered = entry.name, entry.name.lower()
            path = prefix + name
            try:
                name.encode("utf-8")
            except UnicodeEncodeError:
                printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
                self._strays.append(Stray(printable, "its name is not valid UTF-8: rename it"))
                continue
            if entry.kind == "folder":
                if lowered in STRAY_FOLDERS:
                    self._stray_folder(path, STRAY_FOLDERS[lowered])
                elif name.startswith("."):
                    self._stray_folder(path, "a hidden folder")
                else:
                    folders.append(name)
            elif lowered in STRAY_FILES:
                self._strays.append(Stray(path, STRAY_FILES[lowered]))
            elif name.startswith("."):
                self._strays.append(Stray(path, "a hidden file"))
            elif entry.kind == "dangling-link":
                self._strays.append(Stray(path, "a link that leads nowhere"))
            elif entry.kind == "other":
                self._strays.append(Stray(path, "neither a file nor a folder"))
            else:
                files.append(name)
        return folders, files

    def _stray_folder(self, path: str, reason: str) -> None:
        count = self._tree.count_files(path)
        self._strays.append(Stray(f"{path}/", f"{reason} ({count} file{'s' * (count != 1)} inside)"))

    def _stray_files(self, paths: list[str], reason: str) -> None:
        images = set(self._images_among(paths))
        self._strays += [Stray(path, reason) for path in paths if path in images]

    def _images_among(self, paths: list[str]) -> list[str]:
        """The paths with the suffix of an image, or with none of a known kind but the first bytes of an image."""
        images = []
        for path in paths:
            suffix = PurePosixPath(path).suffix.lower()
            if suffix in IMAGE_SUFFIXES or self._starts_like_an_image(path):
                images.append(path)
            else:
                self._strays.append(Stray(path, f"not an image ({suffix or 'no suffix'})"))
        return images

    def _starts_like_an_image(self, path: str) -> bool:
        try:
            return sniff_format(self._tree.head(path)) is not None
        except UndecodableImage:
            return False


def _is_tool_made(name: str) -> bool:
    return name.startswith(".") or name.lower() in STRAY_FOLDERS
