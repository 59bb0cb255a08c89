"""Which images a classifier is scored on, and what its network says of them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.bundle import BundleRecord
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.data.sources.hierarchy import FOLDERS, with_superclasses
from eyebright.data.superclasses import superclasses_of
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.progress import Progress

BATCH = 32
_DECODERS = 4


def open_scored(data: str | Path, rule: str | None, record: BundleRecord) -> Source:
    """The images, with labels at the level of the classifier's classes."""
    source = open_source(data)
    if rule is None and record.superclasses:
        labels = {item.label for item in source.items() if item.label is not None}
        if not labels <= set(record.classes) and labels <= set(record.superclasses.values()):
            rule = FOLDERS
    return with_superclasses(source, rule)


def known_splits(path: Path, progress: Progress) -> dict[str, str]:
    """Split of every image of the run by content id; empty for a bundle that left its run."""
    if not path.is_file():
        progress.warn("this bundle has no run beside it: images that it was trained on cannot be recognised")
        return {}
    ok = Manifest.read(path).ok
    # An image that leaked into several splits counts as trained on.
    order = {"test": 0, "val": 1, "train": 2}
    pairs = sorted(zip(ok["id"].to_pylist(), ok["split"].to_pylist(), strict=True), key=lambda pair: order[pair[1]])
    return dict(pairs)


def check_superclasses(manifest: Manifest, known: dict[str, str]) -> None:
    """Raise a DataError when these images put a class below another superclass than the classifier knows."""
    if not known:
        return
    for name, above in superclasses_of(manifest).items():
        if known.get(name, above) != above:
            raise DataError(
                f"the class {name!r} is below {above!r} in these images and below {known[name]!r} in the classifier",
                expected="the same superclasses as in training",
                remedy="move or rename the folder, or correct the column or file that says the superclass",
            )


def check_labels(labels: list[str], classes: tuple[str, ...]) -> None:
    """Raise a DataError when a label is none of the classes."""
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise DataError(
            f"labels that are not classes of this classifier: {', '.join(map(repr, unknown[:5]))}"
            + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""),
            expected=f"labels among {', '.join(map(repr, classes[:20]))}{' ...' if len(classes) > 20 else ''}",
            remedy="rename the class folders or labels, or leave these images out",
        )


def images_to_score(
    manifest: Manifest, known: dict[str, str], split: str | None, include_seen: bool
) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Columns of the images to score, each content once, and how many were left out because they were seen."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "source", "label", "split")}
    seen: dict[str, int] = {}
    done: set[str] = set()
    for image, name, label, given in zip(
        *(manifest.ok[column].to_pylist() for column in ("id", "source", "label", "split")), strict=True
    ):
        if (split is not None and given != split) or image in done:
            continue
        done.add(image)
        if known.get(image) in ("train", "val") and not include_seen:
            seen[known[image]] = seen.get(known[image], 0) + 1
            continue
        for column, value in zip(columns, (image, name, label, "test"), strict=True):
            columns[column].append(value)
    return columns, seen


def nothing_left(manifest: Manifest, data: str | Path, split: str | None, seen: dict[str, int]) -> DataError:
    """Why there is no image to score."""
    if not seen:
        given = sorted({name for name in manifest.ok["split"].to_pylist() if name is not None})
        return DataError(
            f"no image of {data} is left to score: none is in the split {split!r}",
            expected=f"labelled images in that split; the data has {', '.join(given) or 'no splits'}",
            remedy="leave --split out, or name a split that the data has",
        )
    return DataError(
        f"no image of {data} is left to score: {sum(seen.values())} were trained or calibrated on",
        expected="labelled images that the classifier has not seen",
        remedy="give other images, or pass --include-seen if you know what that number means",
    )


def logits_of(
    classifier: Classifier, source: Source, names: Sequence[str], progress: Progress
) -> tuple[npt.NDArray[np.float32], list[int], list[dict[str, str]]]:
    """Logits (M, K) of the images that decode, their places among the names, and why the others do not."""

    def look(name: str) -> npt.NDArray[np.uint8] | UndecodableImage:
        try:
            return classifier.record.preprocess.pixels(source.read(name))
        except UndecodableImage as error:
            return error

    logits: list[npt.NDArray[np.float32]] = []
    kept: list[int] = []
    failures: list[dict[str, str]] = []
    with progress.task("scoring", len(names)) as task, ThreadPoolExecutor(_DECODERS) as pool:
        for first in range(0, len(names), BATCH):
            batch = names[first : first + BATCH]
            pixels = []
            for row, (name, looked) in enumerate(zip(batch, pool.map(look, batch), strict=True), start=first):
                if isinstance(looked, UndecodableImage):
                    failures.append({"source": name, "status": looked.status, "reason": looked.problem})
                else:
                    pixels.append(looked)
                    kept.append(row)
            if pixels:
                logits.append(classifier.run_pixels(np.stack(pixels))[1])
            task.advance(len(batch))
    empty = np.zeros((0, len(classifier.classes)), dtype=np.float32)
    return np.concatenate(logits) if logits else empty, kept, failures
