"""A trained classifier, ready to answer: `eyebright.load(path).predict(images)`.

It runs the bundle's graph on ONNX Runtime, or on another runtime that agrees with it: no torch is imported.
Preprocessing, calibration and class order all come from the bundle.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.bundle import Bundle, BundleRecord, read_bundle
from eyebright.decisions import Decided
from eyebright.decisions.record import sibling_classes
from eyebright.decode import ImageInput, UndecodableImage, read_image_file
from eyebright.errors import DataError
from eyebright.identity import content_id
from eyebright.lookahead import in_groups, looked_ahead
from eyebright.sessions import Session, check_session, open_session

_Result = TypeVar("_Result")
LATENCY_WARM_UP = 10


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Attributes:
        label: the most probable class.
        probability: its calibrated probability.
        probabilities: every class and its probability, in the order of the bundle's classes; they sum to one.
        source: path of the image, when it came from a file.
        id: content id, to match predictions with images by; None for a Pillow image, which has no bytes of its own.
        superclass: the class above `label`; None for a classifier with one level of classes.
        superclass_probability: the probabilities of all classes of that superclass together.
        prediction_set: classes that the image may belong to, most probable first; the true one is among them at the
            rate that `record.decisions.sets` promises. None for a bundle without prediction sets.
        answer: what may be said at the error rate that `record.decisions.selection` promises: the class, else its
            superclass, else None.
        answer_level: `class`, `superclass` or `none`; None for a bundle that promises no error rate.
        outlier: the image is unlike those that the classifier learnt from; None for a bundle without such a score.
        outlier_scores: how unlike, by the name of the score; the larger, the stranger.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    source: str | None = None
    id: str | None = None
    superclass: str | None = None
    superclass_probability: float | None = None
    prediction_set: tuple[str, ...] | None = None
    answer: str | None = None
    answer_level: Literal["class", "superclass", "none"] | None = None
    outlier: bool | None = None
    outlier_scores: dict[str, float] = dataclasses.field(default_factory=dict)

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, best first."""
        return sorted(self.probabilities.items(), key=lambda pair: -pair[1])[:count]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """How long one image took, from its encoded bytes to the answer, decoding included.

    Attributes:
        p50_ms, p99_ms: median and 99th percentile of the calls, in milliseconds.
        calls: how many were measured, one after another.
    """

    p50_ms: float
    p99_ms: float
    calls: int


class Classifier:
    """A bundle with a running session. Safe to use from many threads.

    Args:
        bundle: the checked bundle.
        threads: threads of the session; 0 leaves it to ONNX Runtime (all cores).
        session: what runs the graph; ONNX Runtime on the CPU when None.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0, session: Session | None = None) -> None:
        self.bundle = bundle
        self._session = open_session(bundle, threads=threads) if session is None else session
        self._workers = min(8, os.cpu_count() or 1)
        self._has_features = "features" in self._session.outputs
        self._siblings = sibling_classes(bundle.record.classes, bundle.record.superclasses)

    @property
    def record(self) -> BundleRecord:
        """What the bundle says of itself."""
        return self.bundle.record

    @property
    def runtime(self) -> str:
        """What runs the graph: `onnx`, `openvino` or `torch`."""
        return self._session.runtime

    @property
    def siblings(self) -> npt.NDArray[np.bool_] | None:
        """Which classes share the superclass of each class, bool (K, K); None where there is one level of classes."""
        return self._siblings

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the columns of `predict_proba`."""
        return self.bundle.record.classes

    def __repr__(self) -> str:
        record = self.record
        seen = record.preprocess.describe()
        return f"<Classifier {record.name}: {record.architecture}, {len(record.classes)} classes, {seen}>"

    def predict(self, images: ImageInput | Iterable[ImageInput], *, batch_size: int = 32) -> Any:
        """Classify one image, or many.

        Args:
            images: one image (a path, encoded bytes, a Pillow image, or an array (H, W) or (H, W, C)), or several:
                a list of such, or one array (N, H, W, C).
            batch_size: images that go through the network together.

        Returns:
            One `Prediction` for one image, a list in the same order for several.

        Raises:
            UndecodableImage: an image cannot be read.
        """
        if _is_one(images):
            return next(self.stream([images]))  # type: ignore[list-item]
        return list(self.stream(images, batch_size=batch_size))  # type: ignore[arg-type]

    def stream(self, images: Iterable[ImageInput], *, batch_size: int = 32) -> Iterator[Prediction]:
        """Predictions one after another, holding no more than two batches in memory.

        While the network looks at one batch, the next one is decoded.
        """
        for looked in self._looked(images, batch_size):
            found = self.predict_pixels(np.stack([pixels for _, _, pixels in looked]))
            for (image, name, _), prediction in zip(looked, found, strict=True):
                source = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
                yield dataclasses.replace(prediction, source=source, id=name)

    def predict_proba(self, images: Iterable[ImageInput], *, batch_size: int = 32) -> npt.NDArray[np.float32]:
        """Calibrated probabilities, float32 (N, classes), columns in the order of `classes`."""
        images = [images] if _is_one(images) else images  # type: ignore[list-item]
        rows = [self.probabilities_of_pixels(self.pixels(batch)) for batch in in_groups(images, batch_size)]
        return np.concatenate(rows) if rows else np.zeros((0, len(self.classes)), dtype=np.float32)

    def pixels(self, images: Sequence[ImageInput]) -> npt.NDArray[np.uint8]:
        """The network's input before normalisation: uint8 (N, size, size, channels). Decodes in threads."""
        return np.stack(self._in_threads(self.record.preprocess.pixels, images))

    def _look(self, image: ImageInput) -> tuple[str | None, npt.NDArray[np.uint8]]:
        """Content id and pixels of an image; a file is read once for both."""
        if isinstance(image, Image.Image):
            return None, self.record.preprocess.pixels(image)
        if not isinstance(image, (str, os.PathLike)):
            return content_id(image), self.record.preprocess.pixels(image)
        content = read_image_file(image)
        try:
            return content_id(content), self.record.preprocess.pixels(content)
        except UndecodableImage as error:
            raise UndecodableImage(
                error.status, f"{os.fspath(image)}: {error.problem}", expected=error.expected, remedy=error.remedy
            ) from error

    def _looked(
        self, images: Iterable[ImageInput], size: int
    ) -> Iterator[list[tuple[ImageInput, str | None, npt.NDArray[np.uint8]]]]:
        """Batches of images with their content ids and pixels, decoded a batch ahead."""
        rest = iter(images)
        first = list(itertools.islice(rest, size))
        if len(first) < 2:  # one image needs no threads
            if first:
                yield [(first[0], *self._look(first[0]))]
            first = []
        looked = looked_ahead(
            lambda image: (image, *self._look(image)),
            itertools.chain(first, rest), threads=self._workers, ahead=size,
        )  # fmt: skip
        yield from in_groups(looked, size)

    def _in_threads(self, work: Callable[[ImageInput], _Result], images: Sequence[ImageInput]) -> list[_Result]:
        if len(images) == 1:
            return [work(images[0])]
        with ThreadPoolExecutor(self._workers) as pool:
            return list(pool.map(work, images))

    def probabilities_of_pixels(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Calibrated probabilities, float32 (N, classes), of pixels as `pixels` gives them."""
        return self.run_pixels(pixels)[0]

    def run_pixels(self, pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Calibrated probabilities and uncalibrated logits, both float32 (N, classes)."""
        probabilities, logits, _ = self.run_pixels_all(pixels)
        return probabilities, logits

    def run_pixels_all(
        self, pixels: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
        """Calibrated probabilities (N, classes), logits (N, classes) and features (N, F), all float32.

        The features are None for a network that has none, and for bundles of former versions.

        Raises:
            DataError: the pixels have another type or shape than the network takes.
        """
        preprocess = self.record.preprocess
        shape = (preprocess.size, preprocess.size, preprocess.channels)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != shape:
            raise DataError(
                f"pixels are {pixels.dtype} {pixels.shape}", expected=f"uint8 (N, {', '.join(map(str, shape))})"
            )
        names = ["probabilities", "logits", *(["features"] if self._has_features else [])]
        probabilities, logits, *features = self._session.run(names, pixels)
        return probabilities, logits, features[0] if features else None

    def predict_pixels(self, pixels: npt.NDArray[np.uint8]) -> list[Prediction]:
        """Predictions of pixels as `pixels` gives them, in the same order, without source and id."""
        return self.predictions(self.decide(*self.run_pixels_all(pixels)))

    def predictions(self, decided: Decided) -> list[Prediction]:
        """What was concluded, one `Prediction` an image, without source and id."""
        return [self._prediction(decided, row) for row in range(len(decided.best))]

    def latency(self, image: ImageInput, *, calls: int = 200) -> Latency:
        """How long one image takes, after ten calls that do not count.

        Args:
            image: a file is read once; its bytes are decoded in every call.
            calls: measured, one after another.
        """
        content = read_image_file(image) if isinstance(image, (str, os.PathLike)) else image
        milliseconds = []
        for _ in range(LATENCY_WARM_UP + calls):
            began = time.perf_counter()
            self.predict(content)
            milliseconds.append(1000 * (time.perf_counter() - began))
        middle, high = np.percentile(milliseconds[LATENCY_WARM_UP:], [50, 99])
        return Latency(p50_ms=float(middle), p99_ms=float(high), calls=calls)

    def decide(
        self,
        probabilities: npt.NDArray[np.float32],
        logits: npt.NDArray[np.float32],
        features: npt.NDArray[np.float32] | None,
    ) -> Decided:
        """What is concluded from what `run_pixels_all` gave."""
        return self.record.decisions.decide(probabilities, logits, features, siblings=self._siblings)

    def _prediction(self, decided: Decided, row: int) -> Prediction:
        names, best = self.classes, int(decided.best[row])
        probabilities = decided.probabilities[row]
        superclass = superclass_probability = None
        if self._siblings is not None:
            # Never another superclass than that of the predicted class, even where several less probable classes of
            # another one weigh more together: an answer must not contradict itself.
            superclass = self.record.superclasses[names[best]]
            superclass_probability = min(1.0, float(probabilities[self._siblings[best]].sum()))
        answer: str | None = None
        level: Literal["class", "superclass", "none"] | None = None
        if decided.sure is not None:
            level = "none"
            if decided.sure[row]:
                answer, level = names[best], "class"
            elif decided.sure_of_superclass is not None and decided.sure_of_superclass[row]:
                answer, level = superclass, "superclass"
        inside = None
        if decided.sets is not None:
            order = np.argsort(-probabilities, kind="stable")
            inside = tuple(names[index] for index in order if decided.sets[row, index])
        return Prediction(
            label=names[best],
            probability=float(probabilities[best]),
            probabilities={name: float(value) for name, value in zip(names, probabilities, strict=True)},
            superclass=superclass,
            superclass_probability=superclass_probability,
            prediction_set=inside,
            answer=answer,
            answer_level=level,
            outlier=None if decided.outlier is None else bool(decided.outlier[row]),
            outlier_scores={name: float(values[row]) for name, values in decided.outlier_scores.items()},
        )


def _is_one(images: Any) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, (str, bytes, os.PathLike, Image.Image))


def load(path: str | Path, *, threads: int = 0, runtime: str = "onnx", device: str = "cpu") -> Classifier:
    """Load the classifier of a run or a bundle.

    Args:
        path: the folder of a run or of a bundle.
        threads: threads of the session; 0 leaves it to the runtime (all cores).
        runtime: `onnx`, `openvino`, or `auto` for the faster of those that are installed.
        device: `cpu`, or `cuda` for the CUDA provider of ONNX Runtime.

    Raises:
        BundleError: there is none, or it is corrupt, foreign or newer than this Eyebright.
        MissingDependencyError: the runtime is not installed.
        VerificationError: the runtime gives other probabilities than the bundle's golden samples say.
    """
    bundle = read_bundle(path)
    session = open_session(bundle, runtime=runtime, device=device, threads=threads)
    if (runtime, device) != ("onnx", "cpu"):
        check_session(bundle, session)
    return Classifier(bundle, session=session)
