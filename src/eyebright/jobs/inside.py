"""A look into a trained network: its first filters, its feature maps, the training images that it takes for alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.atomic import write_json
from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.decode import UndecodableImage, decode_image, read_image_file
from eyebright.errors import BundleError, DataError
from eyebright.evaluation.embedding import FeatureMap, map_features
from eyebright.evaluation.features import FEATURES_FILE, Features
from eyebright.evaluation.neighbours import Neighbour, nearest
from eyebright.evaluation.predictions import Predictions
from eyebright.explain.feature_maps import feature_maps
from eyebright.explain.filters import first_filters, tiled
from eyebright.jobs.prepare import split_rows
from eyebright.models.catalog import restore_network
from eyebright.progress import Progress, Silent
from eyebright.report.inside import write_maps, write_neighbours, write_sheet
from eyebright.run import Run, open_run

TRAIN_FEATURES_FILE = "train_features.npz"
EMBEDDING_FILE = "embedding.json"
MOST_FILTERS = 256
MOST_MAPS = 23
_BATCH = 32
_PICTURE_SIDE = 160


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """One picture that was written.

    Attributes:
        source: the image that it is about; the run or bundle for filters.
        path: the picture; None when the image could not be read.
        says: what is on it, in words.
        status: `ok`, or why not.
        neighbours: the training images most like it, where these were asked for.
    """

    source: str
    path: Path | None
    says: str
    status: str = "ok"
    neighbours: tuple[Neighbour, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "path": None if self.path is None else str(self.path)}


def show_filters(path: str | Path, output: Path) -> Shown:
    """The filters of the first layer as one picture.

    Raises:
        UsageError: the network does not begin with filters.
        BundleError: there is no classifier.
    """
    bundle = read_bundle(path)
    preprocess = bundle.record.preprocess
    filters = first_filters(restore_network(bundle), channels=preprocess.channels, size=preprocess.size)
    shown = filters.images[:MOST_FILTERS]
    says = f"{filters.kind} ({filters.layer})"
    if len(filters.images) > len(shown):
        says += f", the first {len(shown)}"
    file = output / "filters.png"
    write_sheet(file, tiled(shown), says)
    return Shown(source=str(path), path=file, says=says)


def show_maps(path: str | Path, images: Sequence[str | Path], layer: str | None, output: Path) -> Iterator[Shown]:
    """The strongest feature maps of a layer for each image.

    Raises:
        UsageError: there is no such layer, or it has no maps.
        BundleError: there is no classifier.
    """
    bundle = read_bundle(path)
    network, preprocess = restore_network(bundle), bundle.record.preprocess
    for number, (image, content) in enumerate(_contents(images)):
        if isinstance(content, UndecodableImage):
            yield Shown(source=image, path=None, says=content.problem, status=content.status)
            continue
        maps = feature_maps(network, preprocess, preprocess.pixels(content)[None], layer)
        channels = maps.strongest(0, MOST_MAPS)
        says = f"{len(channels)} of {maps.values.shape[1]} maps of {maps.layer}, those that vary most"
        file = output / f"{number + 1:03}-{Path(image).stem}-maps.png"
        write_maps(file, _picture(content), maps.values[0, channels], channels.tolist(), says)
        yield Shown(source=image, path=file, says=says)


def show_neighbours(
    path: str | Path, images: Sequence[str | Path], count: int, output: Path, *, progress: Progress | None = None
) -> Iterator[Shown]:
    """The training images most like each image, by the network's features: "because it looks like these".

    The features of all training images are computed once and kept in the run.

    Raises:
        BundleError: there is no run around the classifier, or its network has no features.
        DataError: the training images are no longer where they were.
    """
    run = _run_of(path)
    classifier = Classifier(run.bundle)
    manifest = Manifest.read(run.file("manifest.parquet"))
    source = open_source(manifest.spec)
    features = _train_features(run, classifier, manifest, source, progress or Silent())
    where = dict(zip(manifest.table["id"].to_pylist(), manifest.table["source"].to_pylist(), strict=True))
    for number, (image, content) in enumerate(_contents(images)):
        if isinstance(content, UndecodableImage):
            yield Shown(source=image, path=None, says=content.problem, status=content.status)
            continue
        pixels = classifier.record.preprocess.pixels(content)[None]
        probabilities, _, vector = classifier.run_pixels_all(pixels)
        assert vector is not None
        best = int(probabilities[0].argmax())
        (found,) = nearest(features, vector, count)
        pictures = []
        for neighbour in found:
            name = classifier.classes[neighbour.label]
            pictures.append((
                _stored_picture(source, where[neighbour.id]), f"{name}\nsimilarity {neighbour.similarity:.2f}",
                neighbour.label == best,
            ))  # fmt: skip
        file = output / f"{number + 1:03}-{Path(image).stem}-neighbours.png"
        caption = f"{classifier.classes[best]} {probabilities[0, best]:.0%}\n "
        write_neighbours(file, _picture(content), caption, pictures)
        names = ", ".join(f"{classifier.classes[one.label]} {one.similarity:.2f}" for one in found)
        yield Shown(source=image, path=file, says=f"most like {names}", neighbours=tuple(found))


def make_map(path: str | Path, *, split: str = "test", progress: Progress | None = None) -> FeatureMap:
    """A map of the run's images by what the network sees in them, written to `embedding.json` of the run.

    Raises:
        BundleError: there is no finished run, or its network has no features.
        DataError: too few images.
    """
    run = _run_of(path)
    features = Features.read(run.file(FEATURES_FILE)).select(split)
    predictions = Predictions.read(run.file("predictions.parquet"))
    (progress or Silent()).note(f"laying out {len(features)} images")
    found = map_features(features, predictions, predictions.classes)
    write_json(run.file(EMBEDDING_FILE), found.as_dict())
    return found


def _run_of(path: str | Path) -> Run:
    bundle = read_bundle(path)
    folder = bundle.path.parent
    if not (folder / "manifest.parquet").is_file():
        raise BundleError(
            f"{path} is a bundle without its run: the training images are not known",
            expected="the folder of a run",
            remedy="give runs/NAME, where the classifier was trained",
        )
    return open_run(folder)


def _train_features(
    run: Run, classifier: Classifier, manifest: Manifest, source: Source, progress: Progress
) -> Features:
    """Features of all training images: computed once, then read from the run."""
    rows = split_rows(manifest, "train")
    ids, sources, labels = (rows[name].to_pylist() for name in ("id", "source", "label"))
    file = run.file(TRAIN_FEATURES_FILE)
    if file.is_file() and (known := Features.read(file)) and set(known.ids) <= set(ids):
        return known
    index = {name: number for number, name in enumerate(classifier.classes)}
    kept: list[int] = []
    values: list[npt.NDArray[np.float32]] = []
    with progress.task("looking at the training images", len(ids)) as task:
        for first in range(0, len(ids), _BATCH):
            pixels, rows_read = [], []
            for row in range(first, min(first + _BATCH, len(ids))):
                try:
                    pixels.append(classifier.record.preprocess.pixels(source.read(sources[row])))
                    rows_read.append(row)
                except DataError:
                    continue  # gone since training: it cannot be shown either
            if pixels:
                _, _, features = classifier.run_pixels_all(np.stack(pixels))
                if features is None:
                    raise BundleError(
                        f"the network of {run.path} has no features, or the bundle was written by a former version",
                        expected="a classifier whose graph gives `features`",
                        remedy="train again",
                    )
                values.append(features)
                kept += rows_read
            task.advance(min(_BATCH, len(ids) - first))
    if not kept:
        raise DataError(
            f"none of the {len(ids)} training images is at its place any more",
            expected=f"the images under {manifest.spec}",
            remedy="put them back, or ask on the machine where they are",
        )
    found = Features(
        ids=np.array([ids[row] for row in kept], dtype=np.str_),
        splits=np.array(["train"] * len(kept), dtype=np.str_),
        labels=np.array([index[labels[row]] for row in kept], dtype=np.int64),
        values=np.concatenate(values),
    )
    found.write(file)
    return found


def _contents(images: Sequence[str | Path]) -> Iterator[tuple[str, bytes | UndecodableImage]]:
    for image in images:
        try:
            content = read_image_file(image)
            decode_image(content, channels=3, at_least=32)  # damage shows here
            yield str(image), content
        except UndecodableImage as error:
            yield str(image), error


def _picture(content: bytes | npt.NDArray[np.uint8]) -> Image.Image:
    picture = decode_image(content, channels=3, at_least=_PICTURE_SIDE)
    if max(picture.size) > _PICTURE_SIDE:
        picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    return picture


def _stored_picture(source: Source, name: str) -> Image.Image | None:
    try:
        return _picture(source.read(name))
    except DataError:
        return None
