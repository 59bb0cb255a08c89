"""Which images a report shows, and how they get into the page: small, as data URIs."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from eyebright.errors import DataError
from eyebright.evaluation.predictions import Predictions

THUMBNAIL_SIDE = 144
_PIXEL_ART_SIDE = 48
_JPEG_QUALITY = 78


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of the page.

    Attributes:
        uri: its data URI, empty when the image is gone.
        enlarged: it is so small that its pixels should be shown as squares.
        probability_of_truth: what the classifier gave the true class.
        true, guess: the places of `label` and `predicted` among the classes; -1 where they are not known.
        overlay: the data URI of the same image with a map of what the classifier looked at; empty without one.
        drawn: its place among those drawn by chance; -1 when it was not.
    """

    source: str
    label: str
    uri: str = ""
    enlarged: bool = False
    predicted: str = ""
    confidence: float = 0.0
    probability_of_truth: float = 0.0
    true: int = -1
    guess: int = -1
    overlay: str = ""
    drawn: int = -1

    @property
    def right(self) -> bool:
        """Whether the prediction is the label."""
        return self.label == self.predicted


class Gallery:
    """Thumbnails by id, each fetched and encoded once; `images` keeps the small pictures for the PNG figures."""

    def __init__(self, thumbnails: Callable[[str], Image.Image]) -> None:
        self._thumbnails = thumbnails
        self.images: dict[str, Image.Image | None] = {}
        self._uris: dict[str, str] = {}

    def image(self, id_: str) -> Image.Image | None:
        """The picture, no side longer than THUMBNAIL_SIDE; None when it is gone."""
        if id_ not in self.images:
            try:
                self.images[id_] = small(self._thumbnails(id_))
            except DataError:
                self.images[id_] = None
        return self.images[id_]

    def uri(self, id_: str) -> str:
        """The picture as a data URI: lossless when tiny, else JPEG."""
        if id_ not in self._uris:
            picture = self.image(id_)
            self._uris[id_] = "" if picture is None else data_uri(picture)
        return self._uris[id_]

    def is_tiny(self, id_: str) -> bool:
        """Whether the picture is so small that it must be enlarged."""
        picture = self.image(id_)
        return picture is not None and max(picture.size) <= _PIXEL_ART_SIDE

    def samples(self, chosen: Mapping[str, Sequence[str]]) -> list[tuple[str, list[Picture]]]:
        """Pictures for each class."""
        return [
            (name, [Picture("", name, self.uri(id_), self.is_tiny(id_)) for id_ in ids])
            for name, ids in chosen.items()
            if ids
        ]

    def pictures(
        self,
        predictions: Predictions,
        *,
        overlays: Mapping[str, str] | None = None,
        drawn: Mapping[str, int] | None = None,
    ) -> list[Picture]:
        """One picture for each row, with what was predicted.

        Args:
            overlays: data URIs of overlays by id.
            drawn: places among those drawn by chance by id.
        """
        truth, guess, shares = predictions.labels_index(), predictions.predicted_index(), predictions.probabilities()
        return [
            Picture(
                source=source or "",
                label=predictions.classes[truth[row]],
                uri=self.uri(id_),
                enlarged=self.is_tiny(id_),
                predicted=predictions.classes[guess[row]],
                confidence=float(shares[row, guess[row]]),
                probability_of_truth=float(shares[row, truth[row]]),
                true=int(truth[row]),
                guess=int(guess[row]),
                overlay=(overlays or {}).get(id_, ""),
                drawn=(drawn or {}).get(id_, -1),
            )
            for row, (id_, source) in enumerate(
                zip(predictions.table["id"].to_pylist(), predictions.column("source"), strict=True)
            )
        ]


def small(picture: Image.Image) -> Image.Image:
    """The picture in grey or RGB with no side longer than THUMBNAIL_SIDE; a copy when it has to change."""
    picture = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    if max(picture.size) > THUMBNAIL_SIDE:
        picture = picture.copy()
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return picture


def data_uri(picture: Image.Image) -> str:
    """A small picture as a data URI: lossless when tiny, else JPEG."""
    buffer = io.BytesIO()
    if max(picture.size) <= _PIXEL_ART_SIDE:
        picture.save(buffer, "PNG")
        kind = "png"
    else:
        picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def chosen_samples(samples: Mapping[str, Sequence[str]], most: int = 48) -> dict[str, list[str]]:
    """At most `most` of the samples, equally many for each class; of very many classes, some evenly spread ones."""
    each = 8 if len(samples) <= 6 else 4 if len(samples) <= most // 4 else 1
    names = list(samples)
    if len(names) > most:
        names = [names[index * len(names) // most] for index in range(most)]
    return {name: list(samples[name][:each]) for name in names}


def most_confident_mistakes(predictions: Predictions, most: int = 18) -> Predictions:
    """The wrong rows, most confident first."""
    confidence = predictions.probabilities().max(axis=1)
    wrong = np.flatnonzero(predictions.predicted_index() != predictions.labels_index())
    order = np.argsort(-confidence[wrong], kind="stable")
    return predictions.rows(wrong[order][:most])


def random_examples(predictions: Predictions, most: int = 24, seed: int = 0) -> Predictions:
    """Rows drawn by chance, so that right and wrong appear about as often as they do."""
    drawn = np.random.default_rng(seed).permutation(len(predictions))[:most]
    return predictions.rows(drawn)
