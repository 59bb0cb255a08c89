"""Wrong input of every kind, each as a command line and what it must answer.

`test_wrong_input.py` holds the command line to it; `benchmarks/wrong_inputs.py` writes the answers down for people.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from eyebright.cli.main import main

SCRATCH = ("--recipe", "scratch", "--epochs", "1", "--size", "16")


@dataclasses.dataclass
class Place:
    """Where a case happens.

    Attributes:
        folder: an empty folder; all that a case makes lies in it.
        run: a finished run; only `copied_run` may be changed.
        seen: the images that it was trained on.
        patches: undone when the case is over.
    """

    folder: Path
    run: Path
    seen: Path
    patches: contextlib.ExitStack

    def images(self, name: str = "photos", classes: Sequence[str] = ("cat", "dog"), each: int = 6) -> Path:
        """A folder per class of small PNGs, all different."""
        random = np.random.default_rng(zlib.crc32(name.encode()))
        for folder in (self.folder / name / label for label in classes):
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        return self.folder / name

    def with_file(self, name: str, content: bytes) -> Path:
        """A folder of good images with one more in the class `cat`."""
        photos = self.images()
        (photos / "cat" / name).write_bytes(content)
        return photos

    def text(self, name: str, content: str) -> Path:
        """A text file."""
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        return path

    def copied_run(self) -> Path:
        """A copy of the finished run."""
        return Path(shutil.copytree(self.run, self.folder / "runs" / self.run.name))

    def bundle(self) -> Path:
        """The bundle in a copy of the finished run."""
        return self.copied_run() / "bundle"

    def altered_record(self, **values: Any) -> Path:
        """A bundle with other values in `bundle.json`; None removes a key."""
        bundle = self.bundle()
        record = json.loads((bundle / "bundle.json").read_text(encoding="utf-8")) | values
        kept = {key: value for key, value in record.items() if value is not None}
        (bundle / "bundle.json").write_text(json.dumps(kept), encoding="utf-8")
        return bundle

    def unfinished_run(self) -> Path:
        """A run that was killed while training."""
        run = self.copied_run()
        shutil.rmtree(run / "bundle")
        for name in ("metrics.json", "predictions.parquet", "report.html"):
            (run / name).unlink()
        (run / "state.json").write_text('{"state": "running", "seconds": 3.0}', encoding="utf-8")
        return run

    def patch(self, target: str, value: Any) -> None:
        """Replace what `target` names until the case is over."""
        self.patches.enter_context(mock.patch(target, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of wrong input.

    Attributes:
        kind: what is wrong, in a few words.
        code: exit code.
        received, expected, remedy: parts that the answer must hold; `{folder}` stands for the place.
        command: makes what is needed and gives the arguments.
        leaves_run: the command got as far as making a run, which must then say that it failed.
    """

    kind: str
    code: int
    received: str
    expected: str
    remedy: str
    command: Callable[[Place], Sequence[str | Path]]
    leaves_run: bool = False


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the command line did."""

    code: int
    output: str
    messages: str


CASES: list[Case] = []


def case(
    kind: str, *, code: int, received: str, expected: str, remedy: str, leaves_run: bool = False
) -> Callable[[Callable[[Place], Sequence[str | Path]]], Callable[[Place], Sequence[str | Path]]]:
    """Add a case to `CASES`; the function makes the place ready and gives the arguments."""

    def add(command: Callable[[Place], Sequence[str | Path]]) -> Callable[[Place], Sequence[str | Path]]:
        CASES.append(
            Case(
                kind=kind, code=code, received=received, expected=expected, remedy=remedy, command=command,
                leaves_run=leaves_run,
            )
        )  # fmt: skip
        return command

    return add


@contextlib.contextmanager
def place_in(folder: Path, *, run: Path, seen: Path) -> Iterator[Place]:
    """A place whose cache, home of data sets and patches are its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as patches:
        environment = {"EYEBRIGHT_CACHE": str(folder / "cache"), "COLUMNS": "200"}
        patches.enter_context(mock.patch.dict(os.environ, environment))
        yield Place(folder, run, seen, patches)


def ask(arguments: Sequence[str | Path]) -> Answer:
    """Run the command line in this process."""
    output, messages = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(messages):
        code = main([str(argument) for argument in arguments])
    return Answer(code, output.getvalue(), messages.getvalue())


def _png_of_200_megapixels() -> bytes:
    """A white bilevel image: 26 kB on disk."""
    content = io.BytesIO()
    Image.new("1", (20_000, 10_000), 1).save(content, "PNG")
    return content.getvalue()


def _jpeg() -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


def _full_disk(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read_only(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


# What is given as data.


@case(
    "a path that does not exist",
    code=3,
    received="there is nothing at {folder}/nowhere/photos",
    expected="a folder with a folder of images for each class",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.folder / "nowhere" / "photos"]


@case(
    "a path with a typing error",
    code=3,
    received="there is nothing at {folder}/photso",
    expected="(did you mean 'photos'?)",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    place.images()
    return ["train", place.folder / "photso"]


@case(
    "a name of a data set with a typing error",
    code=3,
    received="there is nothing at digist",
    expected="(did you mean 'digits'?)",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digist"]


@case(
    "an empty folder",
    code=3,
    received="no images in the folder {folder}/photos: it is empty",
    expected="a folder of images for each class",
    remedy="put images there, or point to another folder",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "photos").mkdir()
    return ["train", place.folder / "photos"]


@case(
    "a folder without images",
    code=3,
    received="no images in the folder {folder}/photos: found notes.txt",
    expected="a folder of images for each class",
    remedy="put images there, or point to another folder",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "photos").mkdir()
    place.text("photos/notes.txt", "nothing here")
    return ["train", place.folder / "photos"]


@case(
    "one class only",
    code=3,
    received="1 class ('cat') with 6 images",
    expected="at least two classes",
    remedy="point to the folder that holds the class folders",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(classes=["cat"])]


@case(
    "images without classes",
    code=3,
    received="none of the 6 images in {folder}/photos/cat has a label",
    expected="a folder for each class",
    remedy="sort the images into folders named after their classes",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(classes=["cat"]) / "cat"]


@case(
    "one image a class",
    code=3,
    received="class 'cat' has 1, 'dog' has 1",
    expected="at least 3 images a class",
    remedy="add images, or remove the class",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(each=1)]


@case(
    "class names that differ by case",
    code=3,
    received="'Cat' and 'cat'",
    expected="one spelling for each class",
    remedy="move the images into one of the folders",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(classes=["Cat", "cat", "dog"])]


@case(
    "class names that differ by blanks",
    code=3,
    received="'cat' and 'cat '",
    expected="one spelling for each class",
    remedy="move the images into one of the folders",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(classes=["cat", "cat ", "dog"])]


@case(
    "many unreadable images",
    code=3,
    received="2 of 42 images (4.8%) cannot be used: cat/bad-0.jpg",
    expected="at most 1% bad images",
    remedy="pass `--allow-bad 5%`",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images(each=20)
    for number in range(2):
        (photos / "cat" / f"bad-{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(300))
    return ["train", photos]


@case(
    "a PNG of 200 megapixels",
    code=3,
    received="cat/huge.png: too-large (20000x10000 are 200 million pixels",
    expected="at most 100 are read",
    remedy="pass `--allow-bad 10%`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.with_file("huge.png", _png_of_200_megapixels())]


@case(
    "a text file with the name of a photo",
    code=3,
    received="cat/photo.jpg: not-an-image (a text file, not an image)",
    expected="at most 1% bad images",
    remedy="repair or remove them",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.with_file("photo.jpg", b"this is no photo\n")]


@case(
    "an empty file",
    code=3,
    received="cat/photo.jpg: empty (the file is empty (0 bytes))",
    expected="at most 1% bad images",
    remedy="repair or remove them",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.with_file("photo.jpg", b"")]


@case(
    "a JPEG that is cut off",
    code=3,
    received="cat/photo.jpg: truncated",
    expected="at most 1% bad images",
    remedy="repair or remove them",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images(each=20)
    content = _jpeg()
    (photos / "cat" / "photo.jpg").write_bytes(content[: len(content) // 2])
    return ["train", photos, *SCRATCH, "--output", place.folder]


@case(
    "the same images under two classes",
    code=3,
    received="class 'cat' has 0, 'dog' has 0",
    expected="at least 3 images a class",
    remedy="12 images have the same bytes as one of another class",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images(classes=["cat"])
    shutil.copytree(photos / "cat", photos / "dog")
    return ["train", photos]


@case(
    "a CSV table without the column of labels",
    code=3,
    received="labels.csv has no column 'label' (is it 'lable'?): its columns are 'image_path', 'lable'",
    expected="a column named label or class",
    remedy="rename the column",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.text("labels.csv", "image_path,lable\ncat/0.png,cat\n")]


@case(
    "a CSV table that names missing files",
    code=3,
    received="2 of 14 images (14.3%) cannot be used: gone/0.png: missing",
    expected="at most 1% bad images",
    remedy="pass `--allow-bad 20%`",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images()
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    return ["train", place.text("photos/labels.csv", "\n".join(["path,label", *rows, "gone/0.png,cat", "1.png,dog"]))]


@case(
    "a CSV table with empty labels",
    code=3,
    received="none of the 12 images in {folder}/photos/labels.csv has a label",
    expected="a table with the columns image_path and label",
    remedy="fill in the labels",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images()
    rows = [f"{path.relative_to(photos)}," for path in sorted(photos.rglob("*.png"))]
    return ["train", place.text("photos/labels.csv", "\n".join(["path,label", *rows]))]


@case(
    "an empty CSV table",
    code=3,
    received="the table labels.csv is empty",
    expected="a header line `image_path,label`",
    remedy="write one line for each image",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.text("labels.csv", "")]


@case(
    "a CSV table with a line that is too long",
    code=3,
    received="row 3 of labels.csv has 3 values and the header has 2",
    expected="one value for each column",
    remedy="double quotes",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.text("labels.csv", "path,label\na.png,cat\nb.png,dog, big\n")]


@case(
    "a CSV table that is not UTF-8",
    code=3,
    received="labels.csv is not UTF-8 text (byte 18)",
    expected="UTF-8",
    remedy="save the file as UTF-8",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "labels.csv").write_bytes("path,label\na.png,Käse\n".encode("latin-1"))
    return ["train", place.folder / "labels.csv"]


@case(
    "a split in a table that is none",
    code=3,
    received="row 2 of labels.csv has the split 'tset' (did you mean 'test'?)",
    expected="train, val or test",
    remedy="correct the column split",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.text("labels.csv", "path,label,split\na.png,cat,tset\n")]


@case(
    "a Parquet file without images",
    code=3,
    received="no column with images or image paths: its columns are a, b",
    expected="a struct column with the image's bytes, or a text column image_path",
    remedy="name the column image_path",
)
def _(place: Place) -> Sequence[str | Path]:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), place.folder / "data.parquet")
    return ["train", place.folder / "data.parquet"]


@case(
    "a broken Parquet file",
    code=3,
    received="data.parquet cannot be read as Parquet",
    expected="a whole Parquet file",
    remedy="fetch the file again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = place.folder / "data.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    return ["train", path]


@case(
    "a zip archive that is cut off",
    code=3,
    received="photos.zip cannot be read as a zip archive: File is not a zip file",
    expected="a whole zip archive",
    remedy="fetch the file again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = Path(shutil.make_archive(str(place.folder / "photos"), "zip", place.images()))
    path.write_bytes(path.read_bytes()[:-100])
    return ["train", path]


@case(
    "a zip archive behind a password",
    code=3,
    received="12 of 12 members of {folder}/photos.zip are protected by a password, such as cat/0.png",
    expected="a zip archive without encryption",
    remedy="unpack it",
)
def _(place: Place) -> Sequence[str | Path]:
    path, photos = place.folder / "photos.zip", place.images()
    with zipfile.ZipFile(path, "w") as archive:
        for photo in sorted(photos.rglob("*.png")):
            archive.write(photo, photo.relative_to(photos))
    # Python writes no encrypted archives: the flag is set in every entry of the directory.
    path.write_bytes(path.read_bytes().replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"))
    return ["train", path]


@case(
    "a tar archive that is cut off",
    code=3,
    received="photos.tar is cut off or damaged after",
    expected="a whole tar archive",
    remedy="fetch the file again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = Path(shutil.make_archive(str(place.folder / "photos"), "tar", place.images()))
    path.write_bytes(path.read_bytes()[:6000])
    return ["train", path]


@case(
    "a compressed tar archive that is cut off",
    code=3,
    received="photos.tar.gz is cut off or damaged after",
    expected="a whole compressed tar archive",
    remedy="fetch the file again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = Path(shutil.make_archive(str(place.folder / "photos"), "gztar", place.images()))
    path.write_bytes(path.read_bytes()[:-1000])
    return ["train", path]


@case(
    "a full disk while a compressed archive is unpacked",
    code=7,
    received="the disk is full: {folder}/cache/archives/",
    expected="free space",
    remedy="EYEBRIGHT_CACHE for the image cache",
)
def _(place: Place) -> Sequence[str | Path]:
    path = shutil.make_archive(str(place.folder / "photos"), "gztar", place.images())
    place.patch("eyebright.atomic.os.fsync", _full_disk)
    return ["train", path]


@case(
    "an archive of a kind that is not read",
    code=3,
    received="photos.rar is an archive of a kind that is not read in place (.rar)",
    expected="a .zip or .tar archive",
    remedy="unpack it (`unrar x photos.rar`) and point to the folder",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "photos.rar").write_bytes(b"Rar!\x1a\x07\x01\x00")
    return ["train", place.folder / "photos.rar"]


@case(
    "an archive without images",
    code=3,
    received="no images in the archive {folder}/photos.zip: found cat/notes.txt",
    expected="a folder of images for each class in the archive",
    remedy="check what is in it",
)
def _(place: Place) -> Sequence[str | Path]:
    with zipfile.ZipFile(place.folder / "photos.zip", "w") as archive:
        archive.writestr("cat/notes.txt", "nothing here")
    return ["train", place.folder / "photos.zip"]


@case(
    "a WebDataset with a missing shard",
    code=3,
    received="1 of the 2 shards that {folder}/train-{{0..1}}.tar names are missing, the first is {folder}/train-1.tar",
    expected="every shard of the pattern",
    remedy="fetch the missing shards",
)
def _(place: Place) -> Sequence[str | Path]:
    shutil.make_archive(str(place.folder / "train-0"), "tar", place.images())
    return ["train", place.folder / "train-{0..1}.tar"]


@case(
    "a single image to train on",
    code=3,
    received="0.png is a single image",
    expected="many labelled images",
    remedy="`eyebright predict RUN IMAGE` classifies one image",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images() / "cat" / "0.png"]


@case(
    "a document to train on",
    code=3,
    received="1 of 1 images (100.0%) cannot be used",
    expected="at most 1% bad images",
    remedy="repair or remove them",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.text("notes.txt", "nothing here")]


@case(
    "a named data set that is not on this machine",
    code=8,
    received="fashion-mnist is not on this machine",
    expected="its four IDX files",
    remedy="`--download`",
)
def _(place: Place) -> Sequence[str | Path]:
    place.patch("eyebright.data.sources.named._DEBIAN_FOLDER", place.folder / "debian")
    folders = dict.fromkeys(("XDG_CACHE_HOME", "EYEBRIGHT_DATA", "KERAS_HOME"), str(place.folder))
    place.patch("os.environ", {**os.environ, **folders})
    return ["train", "fashion-mnist"]


# Where things are written.


@case(
    "an output folder that is a file",
    code=2,
    received="{folder}/runs is a file",
    expected="a folder for runs",
    remedy="choose another one with --output DIR",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(), "--output", place.text("runs", "")]


@case(
    "an output folder that is read-only",
    code=7,
    received="{folder}/runs cannot be written: Read-only file system",
    expected="a folder that you may write to",
    remedy="choose another place (`--output DIR`",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "runs").mkdir()
    place.patch("tempfile.TemporaryFile", _read_only)
    return ["train", place.images(), "--output", place.folder / "runs"]


@case(
    "a disk without room for the decoded images",
    code=7,
    received="the packed images need 0.0 MiB and {folder}/cache/packs has 0.0",
    expected="free space for every image",
    remedy="EYEBRIGHT_CACHE",
    leaves_run=True,
)
def _(place: Place) -> Sequence[str | Path]:
    free = shutil.disk_usage(place.folder)._replace(free=1000)
    place.patch("shutil.disk_usage", lambda path: free)
    return ["train", place.images(each=20), *SCRATCH, "--set", "data.stream=false", "--output", place.folder]


@case(
    "a disk that is full from the start",
    code=7,
    received="the disk is full: {folder}/",
    expected="free space",
    remedy="free some space or choose another place (`--output DIR`",
)
def _(place: Place) -> Sequence[str | Path]:
    place.patch("os.fsync", _full_disk)
    return ["train", place.images(each=20), *SCRATCH, "--output", place.folder]


@case(
    "a cache that cannot be written",
    code=7,
    received="{folder}/file/",
    expected="a folder that you may write to",
    remedy="EYEBRIGHT_CACHE",
)
def _(place: Place) -> Sequence[str | Path]:
    place.patch("os.environ", {**os.environ, "EYEBRIGHT_CACHE": str(place.text("file", ""))})
    return ["train", place.images(each=20), *SCRATCH, "--output", place.folder]


# Options.


@case("no verb", code=2, received="Usage: eyebright VERB", expected="Verbs:", remedy="Examples:")
def _(place: Place) -> Sequence[str | Path]:
    return []


@case(
    "an unknown verb",
    code=2,
    received="there is no verb 'trian' (did you mean 'train'?)",
    expected="one of audit, train, lr-find, resume",
    remedy="see `eyebright --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["trian", place.folder]


@case(
    "an unknown option",
    code=2,
    received="No such option: --budgett",
    expected="--budget",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--budgett", "5m"]


@case(
    "a missing argument",
    code=2,
    received="Missing argument 'data'",
    expected="data",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train"]


@case(
    "a word where a number belongs",
    code=2,
    received="(received 'two')",
    expected="'--epochs': Input should be a valid integer",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--epochs", "two"]


@case(
    "the budget `banana`",
    code=2,
    received="'banana' is not a duration",
    expected="a time such as 90s, 10m",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--budget", "banana"]


@case(
    "a negative budget",
    code=2,
    received="'-5m' is not a duration",
    expected="a time such as 90s, 10m",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--budget=-5m"]


@case(
    "a budget and no budget",
    code=2,
    received="both a budget and no budget were asked for",
    expected="one of them",
    remedy="leave one of --budget and --no-budget out",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--budget", "5m", "--no-budget"]


@case(
    "an unknown recipe",
    code=2,
    received="unknown recipe 'scrach' (did you mean 'scratch'?)",
    expected="one of auto, scratch",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--recipe", "scrach"]


@case(
    "an unknown network",
    code=2,
    received="unknown network 'resnet81' (did you mean 'resnet18'?)",
    expected="a name that timm knows",
    remedy="`eyebright models list",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(), "--model", "resnet81", "--output", place.folder / "runs"]


@case(
    "pretrained weights from a hub that cannot be reached",
    code=8,
    received="the pretrained weights of resnet18 could not be had",
    expected="a network with offline weights (tf_efficientnet_lite0), or a reachable hub",
    remedy="or train from scratch with --recipe scratch",
    leaves_run=True,
)
def _(place: Place) -> Sequence[str | Path]:
    place.patch("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place.patch("huggingface_hub.constants.HF_HUB_CACHE", str(place.folder / "hub"))
    return ["train", place.images(each=20), "--model", "resnet18", "--output", place.folder]


@case(
    "two shares where three belong",
    code=2,
    received="'80/20' is not a split",
    expected="three numbers above zero: train/val/test, as 70/15/15",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--split", "80/20"]


@case(
    "a share of bad images above one",
    code=2,
    received="'500%' is not a share",
    expected="a share such as 5% or 0.05",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--allow-bad", "500%"]


@case(
    "an unknown key of the configuration",
    code=2,
    received="unknown key 'optim.learnign_rate' (did you mean 'learning_rate'?)",
    expected="keys and values of the configuration",
    remedy="correct the option, the --set or the YAML file",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--set", "optim.learnign_rate=0.1"]


@case(
    "a value of the configuration that cannot be",
    code=2,
    received="optim.learning_rate=-1",
    expected="greater than 0",
    remedy="correct the option, the --set or the YAML file",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--set", "optim.learning_rate=-1"]


@case(
    "a setting without a value",
    code=2,
    received="'optim.learning_rate' is not a setting",
    expected="key=value",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--set", "optim.learning_rate"]


@case(
    "a setting whose value is broken",
    code=2,
    received="'image.size=[1' is not a setting",
    expected="key=value",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--set", "image.size=[1"]


@case(
    "a configuration file that is not YAML",
    code=2,
    received="{folder}/settings.yaml is not valid YAML",
    expected="a YAML mapping of keys to values",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--config", place.text("settings.yaml", "optim: [1, 2\nmodel: x")]


@case(
    "a configuration file that does not exist",
    code=2,
    received="{folder}/settings.yaml cannot be read: No such file or directory",
    expected="a YAML file",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--config", place.folder / "settings.yaml"]


@case(
    "CUDA where there is none",
    code=2,
    received="the device cuda is not available here",
    expected="cpu",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    place.patch("torch.cuda.is_available", lambda: False)
    return ["train", place.images(), "--device", "cuda"]


@case(
    "an unknown device",
    code=2,
    received="device='gpu'",
    expected="'auto', 'cpu', 'cuda' or 'mps'",
    remedy="correct the option",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "digits", "--device", "gpu"]


@case(
    "a name of a run that is a path",
    code=2,
    received="'../mine' cannot name a run",
    expected="a plain folder name",
    remedy="see `eyebright train --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", place.images(), "--name", "../mine", "--output", place.folder / "runs"]


# Bundles and runs.


@case(
    "a run that does not exist",
    code=4,
    received="{folder}/runs/stripse does not exist (did you mean 'stripes'?)",
    expected="the folder of a run",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    (place.folder / "runs" / "stripes").mkdir(parents=True)
    return ["predict", place.folder / "runs" / "stripse", "photo.jpg"]


@case(
    "weights with a flipped bit",
    code=4,
    received="model.safetensors is not what was written",
    expected="SHA-256",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = place.bundle() / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    return ["verify", path.parent]


@case(
    "a graph that is cut off",
    code=4,
    received="model.onnx is not what was written",
    expected="SHA-256",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    path = place.bundle() / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    return ["predict", path.parent.parent, place.images() / "cat" / "0.png"]


@case(
    "a bundle with a file missing",
    code=4,
    received="golden.npz is missing",
    expected="every file that bundle.json lists",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    bundle = place.bundle()
    (bundle / "golden.npz").unlink()
    return ["verify", bundle]


@case(
    "a bundle.json that is not JSON",
    code=4,
    received="bundle.json cannot be read",
    expected="the JSON record of a bundle",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    bundle = place.bundle()
    (bundle / "bundle.json").write_text('{"format": ', encoding="utf-8")
    return ["verify", bundle]


@case(
    "a bundle.json without a field",
    code=4,
    received="bundle.json lacks or misstates a field: 'preprocess'",
    expected="every field of a record",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["verify", place.altered_record(preprocess=None)]


@case(
    "a folder that is no bundle",
    code=4,
    received="photos is not a bundle: it has no bundle.json",
    expected="a folder with bundle.json",
    remedy="give the folder of a run that finished",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["verify", place.images()]


@case(
    "a bundle of another program",
    code=4,
    received="bundle.json was not written by Eyebright",
    expected='"format": "eyebright-bundle"',
    remedy="give the folder of a run that finished",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["verify", place.altered_record(format="somebody-else")]


@case(
    "a bundle of a later Eyebright",
    code=4,
    received="has bundle format 99",
    expected="at most 2, which is the latest that this Eyebright reads",
    remedy="pip install --upgrade eyebright",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["verify", place.altered_record(format_version=99)]


@case(
    "a bundle with another calibration than its graph",
    code=5,
    received="contradicts itself: the calibration in model.onnx",
    expected="files of one bundle that say the same",
    remedy="copy the bundle again",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["verify", place.altered_record(decisions={"calibration": {"temperature": 0.01}})]


@case(
    "predictions from a run that did not finish",
    code=4,
    received="has no bundle: it did not finish",
    expected="a run that finished",
    remedy="continue it with `eyebright resume",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["predict", place.unfinished_run(), place.images()]


@case(
    "the report of a run that did not finish",
    code=4,
    received="has no metrics.json: it did not finish",
    expected="a run that finished",
    remedy="continue it with `eyebright resume",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["report", place.unfinished_run()]


@case(
    "resuming a run that is complete",
    code=2,
    received="is complete",
    expected="a run that was interrupted or killed",
    remedy="train again to get another one",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["resume", place.copied_run()]


@case(
    "resuming something that is no run",
    code=4,
    received="photos is not a run: it lacks config.yaml or state.json",
    expected="a folder that `eyebright train` made",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["resume", place.images()]


@case(
    "resuming a run whose images are gone",
    code=3,
    received="there is nothing at {folder}/photos",
    expected="a folder with a folder of images for each class",
    remedy="check the path",
)
def _(place: Place) -> Sequence[str | Path]:
    run = place.unfinished_run()
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8").splitlines()
    lines = [f"source: {place.folder / 'photos'}" if line.startswith("source:") else line for line in text]
    config.write_text("\n".join(lines), encoding="utf-8")
    return ["resume", run]


# Further ways to name images.


@case(
    "a pattern that matches nothing",
    code=3,
    received="nothing matches {folder}/photos/*/*.gif; the nearest folder that exists, {folder}/photos, holds cat/",
    expected="a pattern that matches images, such as 'photos/**/*.jpg'",
    remedy="check the pattern",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", f"{place.images()}/*/*.gif"]


@case(
    "a list with a line of another form",
    code=3,
    received="line 3 of list.txt holds a path ('photos/dog/0.png'), and line 1 a path, a blank and a label",
    expected="all lines of one form",
    remedy="correct the line, or write a CSV with the header `image_path,label`",
)
def _(place: Place) -> Sequence[str | Path]:
    place.images()
    return ["train", place.text("list.txt", "photos/cat/0.png cat\nphotos/cat/1.png cat\nphotos/dog/0.png\n")]


@case(
    "a table with several classes in a row",
    code=3,
    received="holds several classes in 2 of 3 rows; the first is row 3 of labels.csv: 'cat|dog'",
    expected="one class a row: training on images of several classes is not there yet",
    remedy="keep the class that matters most in each row",
)
def _(place: Place) -> Sequence[str | Path]:
    place.images()
    rows = "photos/cat/0.png,cat\nphotos/cat/1.png,cat|dog\nphotos/dog/0.png,dog|cat\n"
    return ["train", place.text("labels.csv", f"image_path,label\n{rows}")]


@case(
    "two metadata files in a folder",
    code=3,
    received="metadata.csv and metadata.jsonl lie side by side in {folder}/photos",
    expected="one metadata file in a folder",
    remedy="keep one of them",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images()
    place.text("photos/metadata.csv", "file_name,label\ncat/0.png,cat\n")
    place.text("photos/metadata.jsonl", '{"file_name": "cat/0.png", "label": "cat"}\n')
    return ["train", photos]


@case(
    "an address of an unknown protocol",
    code=3,
    received="the protocol htps:// is not known (did you mean 'https'?)",
    expected="s3://, gs://, https://",
    remedy="check the address",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "htps://host/photos"]


@case(
    "an address whose server does not answer",
    code=3,
    received="there is no connection to ftp://127.0.0.1:1/photos?...: the server refused it",
    expected="a server that answers within 60 seconds",
    remedy="check the network and the address",
)
def _(place: Place) -> Sequence[str | Path]:
    # The port 1 is closed everywhere; ftp needs no further package.
    return ["train", "ftp://127.0.0.1:1/photos?token=secret"]


@case(
    "an address whose package is not installed",
    code=8,
    received="the package that reads s3:// is not installed",
    expected="s3fs for s3://",
    remedy="pip install 'eyebright[remote]'",
)
def _(place: Place) -> Sequence[str | Path]:
    def absent(protocol: str) -> None:
        raise ImportError("Install s3fs to access S3")

    place.patch("fsspec.registry.get_filesystem_class", absent)
    return ["train", "s3://bucket/photos"]


@case(
    "a data set of the hub without a network",
    code=3,
    received="there is no connection to hf://datasets/flora/flowers",
    expected="a server that answers",
    remedy="check the network and the address",
)
def _(place: Place) -> Sequence[str | Path]:
    def unreachable(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("Name or service not known")

    place.patch("huggingface_hub.HfApi.dataset_info", unreachable)
    return ["train", "hf://datasets/flora/flowers"]


@case(
    "a name of the hub that is misspelt",
    code=3,
    received="hf://flora/flowers is no name of a data set",
    expected="hf://datasets/OWNER/NAME",
    remedy="correct the name",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["train", "hf://flora/flowers"]


# Predicting and evaluating.


@case(
    "a missing image among others",
    code=3,
    received="{folder}/photos/cat/O.png: missing: there is no file {folder}/photos/cat/O.png",
    expected="1 of 2 images could not be classified",
    remedy="correct, repair or leave out",
)
def _(place: Place) -> Sequence[str | Path]:
    photos = place.images()
    return ["predict", place.run, photos / "cat" / "O.png", photos / "cat" / "1.png"]


@case(
    "an image that cannot be decoded among others",
    code=3,
    received="photos/cat/photo.jpg: truncated",
    expected="1 of 13 images could not be classified",
    remedy="correct, repair or leave out",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["predict", place.run, place.with_file("photo.jpg", _jpeg()[:300])]


@case(
    "JSON and CSV at once",
    code=2,
    received="both --json and --csv were given",
    expected="one of them",
    remedy="see `eyebright predict --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["predict", place.run, place.images(), "--json", "--csv"]


@case(
    "labels that are no classes of the classifier",
    code=3,
    received="labels that are not classes of this classifier: 'cat', 'dog'",
    expected="labels among 'angle-0', 'angle-1', 'angle-2'",
    remedy="rename the class folders or labels, or leave these images out",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["evaluate", place.run, place.images()]


@case(
    "an evaluation on images without labels",
    code=3,
    received="none of the 6 images in {folder}/photos/cat has a label",
    expected="a folder for each class",
    remedy="sort the images into folders named after their classes",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["evaluate", place.run, place.images(classes=["cat"]) / "cat"]


@case(
    "an evaluation on images that were trained on",
    code=3,
    received="is left to score: 4 were trained or calibrated on",
    expected="labelled images that the classifier has not seen",
    remedy="pass --include-seen",
)
def _(place: Place) -> Sequence[str | Path]:
    rows = pq.read_table(place.run / "manifest.parquet").to_pylist()
    for row in [row for row in rows if row["split"] == "train"][:4]:
        target = place.folder / "photos" / row["source"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place.seen / row["source"], target)
    return ["evaluate", place.run, place.folder / "photos"]


@case(
    "an evaluation on a split that the data lacks",
    code=3,
    received="none is in the split 'val'",
    expected="labelled images",
    remedy="leave --split out",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["evaluate", place.run, place.images(classes=["angle-0", "angle-1"]), "--split", "val"]


@case(
    "an unknown split",
    code=2,
    received="unknown split 'tests' (did you mean 'test'?)",
    expected="train, val or test",
    remedy="see `eyebright evaluate --help`",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["evaluate", place.run, place.images(), "--split", "tests"]


@case(
    "an unknown network to show",
    code=2,
    received="unknown network 'smalnet' (did you mean 'smallnet'?)",
    expected="a name that timm knows",
    remedy="`eyebright models list",
)
def _(place: Place) -> Sequence[str | Path]:
    return ["models", "show", "smalnet"]
