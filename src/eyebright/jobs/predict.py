"""Predictions for whatever the user points at: files, folders, tables, named sets. No torch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eyebright.classifier import Classifier
from eyebright.data.sources import open_source
from eyebright.data.sources.address import file_name, is_address, is_file_address, parent, without_secrets
from eyebright.data.sources.archive import ARCHIVE_ENDINGS
from eyebright.data.sources.folder import IMAGE_SUFFIXES
from eyebright.data.sources.pattern import is_pattern
from eyebright.data.sources.remote import RemoteTree
from eyebright.data.sources.text_list import LIST_SUFFIXES
from eyebright.decode import UndecodableImage, read_image_file
from eyebright.errors import did_you_mean_beside
from eyebright.identity import content_id
from eyebright.progress import Progress, Silent

BATCH = 32
# Files that hold or name many images; any other file is taken for one image.
DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet", ".npz", ".mat", ".gz", *LIST_SUFFIXES, *ARCHIVE_ENDINGS)
Content = bytes | npt.NDArray[np.uint8]


class _Opened(NamedTuple):
    """One input: a title, the names of its images, what stands before a name when it is shown, and how to read one."""

    title: str
    names: list[str]
    prefix: str
    read: Callable[[str], Content]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the classifier says of one image, or why it says nothing.

    Attributes:
        source: the image as the user would find it.
        id: content id; None when the file could not be read.
        label, probability, probabilities: the prediction; None for an image that could not be used.
        superclass, superclass_probability: the same one level up; None for a classifier with one level of classes.
        status: `ok`, or why not.
        reason: the same as a sentence.
    """

    source: str
    id: str | None = None
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] | None = None
    superclass: str | None = None
    superclass_probability: float | None = None
    status: str = "ok"
    reason: str = ""

    def as_dict(self, top: int | None = None) -> dict[str, Any]:
        """Plain values for JSON; with `top`, only the most probable classes."""
        values = dataclasses.asdict(self)
        if top is not None and self.probabilities is not None:
            ranked = sorted(self.probabilities.items(), key=lambda pair: -pair[1])
            values["probabilities"] = dict(ranked[:top])
        return values


def predict(
    classifier: Classifier, inputs: Sequence[str | Path], *, progress: Progress | None = None
) -> Iterator[Answer]:
    """Answers for images, folders, tables and named sets, in order.

    An image that cannot be read gets an answer that says so; it stops nothing.

    Raises:
        DataError: an input that is no image file does not exist or holds nothing that could be an image.
    """
    progress = progress or Silent()
    for opened in [_open(given) for given in inputs]:  # all are opened first: a typing error should cost no waiting
        names, look = opened.names, functools.partial(_look, classifier, opened.read)
        with progress.task(f"classifying {opened.title}", len(names)) as task, ThreadPoolExecutor(4) as pool:
            for first in range(0, len(names), BATCH):
                batch = names[first : first + BATCH]
                looked = list(pool.map(look, batch))
                pixels = [pixel for _, pixel, _ in looked if pixel is not None]
                rows = iter(classifier.probabilities_of_pixels(np.stack(pixels)) if pixels else ())
                for name, (image, pixel, problem) in zip(batch, looked, strict=True):
                    shown = f"{opened.prefix}{name}"
                    if pixel is None:
                        assert problem is not None
                        yield Answer(source=shown, id=image, status=problem.status, reason=problem.problem)
                    else:
                        yield _answer(classifier, shown, image, next(rows))
                    task.advance()


def _open(given: str | Path) -> _Opened:
    text, path = str(given), Path(given)
    if is_address(text) and not is_file_address(text) and path.suffix.lower() in IMAGE_SUFFIXES:
        folder = RemoteTree(parent(text))
        return _Opened(without_secrets(text), [file_name(text)], f"{without_secrets(parent(text))}/", folder.read)
    if (
        not path.exists() and path.suffix.lower() in IMAGE_SUFFIXES and not is_pattern(text)
    ):  # one of many that has gone
        return _Opened(str(given), [str(given)], "", _read_file)
    if path.is_file() and not path.name.lower().endswith((*DATA_ENDINGS, "-ubyte")):
        return _Opened(str(given), [str(given)], "", _read_file)
    source = open_source(given)
    names = [item.source for item in source.items()]
    return _Opened(source.spec, names, f"{given}/" if path.is_dir() else "", source.read)


def _read_file(name: str) -> bytes:
    try:
        return read_image_file(name)
    except UndecodableImage as error:
        if error.status == "missing":
            error.problem += did_you_mean_beside(Path(name))
        raise


def _look(
    classifier: Classifier, read: Callable[[str], Content], name: str
) -> tuple[str | None, npt.NDArray[np.uint8] | None, UndecodableImage | None]:
    image = None
    try:
        content = read(name)
        image = content_id(content)
        return image, classifier.record.preprocess.pixels(content), None
    except UndecodableImage as error:
        return image, None, error


def _answer(classifier: Classifier, source: str, image: str | None, row: npt.NDArray[np.float32]) -> Answer:
    best = int(row.argmax())
    names = classifier.classes
    superclass, superclass_probability = classifier.superclass(row)
    return Answer(
        source=source,
        id=image,
        label=names[best],
        probability=float(row[best]),
        probabilities={name: float(value) for name, value in zip(names, row, strict=True)},
        superclass=superclass,
        superclass_probability=superclass_probability,
    )
