"""Images in folders: a folder for each class, `train|val|test` with class folders inside, or a flat folder.

Nested folders below a class belong to the class. Whatever is no image of a class is listed as a stray with the reason.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from eyebright.data.sources.base import SPLIT_ALIASES, Item, Split, Stray, refuse_colliding_class_names
from eyebright.decode import read_image_file, sniff_format
from eyebright.errors import DataError

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

    Raises:
        DataError: the folder cannot be listed, or class names collide.
    """

    def __init__(self, root: Path, spec: str | None = None) -> None:
        self.spec = str(root) if spec is None else spec
        self.class_names: tuple[str, ...] | None = None
        self._root = root
        self._items: list[Item] = []
        self._strays: list[Stray] = []
        self.kind = self._list_root()
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
        return read_image_file(self._root / source)

    def _list_root(self) -> str:
        folders, files = self._list_folder(self._root, "")
        splits = {name: SPLIT_ALIASES[name.lower()] for name in folders if name.lower() in SPLIT_ALIASES}
        # `train` beside `bus` is a class of vehicles; with `test` or `val`, or alone, it is a split.
        held_out = {"val", "test"} & set(splits.values())
        if splits and (len(splits) == len(folders) or ("train" in splits.values() and held_out)):
            for name in folders:
                if name in splits:
                    self._list_classes(f"{name}/", splits[name])
                else:
                    self._stray_folder(name, "beside the split folders, so neither a split nor a class")
            self._stray_files(files, "directly in the root, outside every split folder")
            return "split-folders"
        return "folder" if self._list_classes("", None) else "flat-folder"

    def _list_classes(self, prefix: str, split: Split | None) -> bool:
        """List the class folders below `prefix` (True), or its own images, unlabelled, when there are none (False)."""
        folders, files = self._list_folder(self._root / prefix, prefix)
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
            real = os.path.realpath(self._root / current)
            if real in seen:  # a link back to a folder above
                continue
            seen.add(real)
            folders, files = self._list_folder(self._root / current, f"{current}/")
            images += self._images_among([f"{current}/{file}" for file in files])
            pending += [f"{current}/{folder}" for folder in folders]
        return sorted(images)

    def _list_folder(self, folder: Path, prefix: str) -> tuple[list[str], list[str]]:
        """Names of the folders and files that may matter, sorted; tool-made ones become strays."""
        folders: list[str] = []
        files: list[str] = []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(
                f"the folder {folder} cannot be listed: {error.strerror}",
                remedy="change its rights, or point to another folder",
            ) from error
        for entry in entries:
            name, lowered = entry.name, entry.name.lower()
            path = prefix + name
            try:
                name.encode("utf-8")
            except UnicodeEncodeError:
                printable = path.encode("utf-8", "backslashreplace").decode("utf-8")
                self._strays.append(Stray(printable, "its name is not valid UTF-8: rename it"))
                continue
            if entry.is_dir():
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
            elif entry.is_symlink() and not entry.is_file():
                self._strays.append(Stray(path, "a link that leads nowhere"))
            elif not entry.is_file():
                self._strays.append(Stray(path, "neither a file nor a folder"))
            else:
                files.append(name)
        return folders, files

    def _stray_folder(self, path: str, reason: str) -> None:
        count = sum(len(files) for _, _, files in os.walk(self._root / path))
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
            with open(self._root / path, "rb") as handle:
                return sniff_format(handle.read(16)) is not None
        except OSError:
            return False
