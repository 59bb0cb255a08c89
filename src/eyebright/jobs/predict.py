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

from eyebright.classifier import Classifier, Prediction
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


class Opened(NamedTuple):
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
        prediction: what the classifier says; None for an image that could not be used.
        status: `ok`, or why not.
        reason: the same as a sentence.
    """

    source: str
    id: str | None = None
    prediction: Prediction | None = None
    status: str = "ok"
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of the prediction beside source, id, status and reason."""
        names = [field.name for field in dataclasses.fields(Prediction)]
        said = dict.fromkeys(names) if self.prediction is None else dataclasses.asdict(self.prediction)
        return {"source": self.source, "id": self.id, "status": self.status, "reason": self.reason} | {
            name: said[name] for name in names if name not in ("source", "id")
        }


def predict(
    classifier: Classifier, inputs: Sequence[str | Path], *, progress: Progress | None = None
) -> Iterator[Answer]:
    """Answers for images, folders, tables and named sets, in order.

    An image that cannot be read gets an answer that says so; it stops nothing.

    Raises:
        DataError: an input that is no image file does not exist or holds nothing that could be an image.
    """
    progress = progress or Silent()
    for opened in [
        open_input(given) for given in inputs
    ]:  # all are opened first: a typing error should cost no waiting
        names, look = opened.names, functools.partial(_look, classifier, opened.read)
        with progress.task(f"classifying {opened.title}", len(names)) as task, ThreadPoolExecutor(4) as pool:
            for first in range(0, len(names), BATCH):
                batch = names[first : first + BATCH]
                looked = list(pool.map(look, batch))
                pixels = [pixel for _, pixel, _ in looked if pixel is not None]
                predictions = iter(classifier.predict_pixels(np.stack(pixels)) if pixels else ())
                for name, (image, pixel, problem) in zip(batch, looked, strict=True):
                    shown = f"{opened.prefix}{name}"
                    if pixel is None:
                        assert problem is not None
                        yield Answer(source=shown, id=image, status=problem.status, reason=problem.problem)
                    else:
                        said = dataclasses.replace(next(predictions), source=shown, id=image)
                        yield Answer(source=shown, id=image, prediction=said)
                    task.advance()


def open_input(given: str | Path) -> Opened:
    """What a user named: one image, or all images of a folder, table, archive, named set or address.

    Raises:
        DataError: it does not exist or holds nothing that could be an image.
    """
    text, path = str(given), Path(given)
    if is_address(text) and not is_file_address(text) and path.suffix.lower() in IMAGE_SUFFIXES:
        folder = RemoteTree(parent(text))
        return Opened(without_secrets(text), [file_name(text)], f"{without_secrets(parent(text))}/", folder.read)
    if (
        not path.exists() and path.suffix.lower() in IMAGE_SUFFIXES and not is_pattern(text)
    ):  # one of many that has gone
        return Opened(str(given), [str(given)], "", _read_file)
    if path.is_file() and not path.name.lower().endswith((*DATA_ENDINGS, "-ubyte")):
        return Opened(str(given), [str(given)], "", _read_file)
    source = open_source(given)
    names = [item.source for item in source.items()]
    return Opened(source.spec, names, f"{given}/" if path.is_dir() else "", source.read)


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
