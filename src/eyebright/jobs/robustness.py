"""How much a classifier bears: its test images spoilt in many ways and shown to the exported graph again.

While ONNX Runtime answers for one batch, threads spoil the next. The first images are timed, and as many follow as fit
into about three minutes; all cells see the same images. Nothing is written before the end.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from eyebright.allocator import keep_freed_memory
from eyebright.atomic import write_json
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source, open_source
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError, MissingDependencyError, UsageError
from eyebright.evaluation.robustness import Measured, Robustness, summarise
from eyebright.identity import content_id
from eyebright.progress import Progress, Silent, Task
from eyebright.robustness import CORRUPTIONS, SEVERITIES, Corruption, corrupt, meaningless, severities
from eyebright.run import Run, open_run

ROBUSTNESS_FILE = "robustness.json"
SWEEP_SECONDS = 180.0
LEAST_IMAGES = 100
BATCH = 32
_TRIAL_IMAGES = 16
_EXAMPLE_SIDE = 80
_EXAMPLE_QUALITY = 70
_PIXEL_ART_SIDE = 48

Pixels = npt.NDArray[np.uint8]


def measure_robustness(
    path: str | Path, *, images: int | str | None = None, seed: int = 0, progress: Progress | None = None
) -> Robustness:
    """Score a run on its own test images under every corruption; writes `robustness.json` into the run.

    Args:
        path: a finished run whose images are still where they were.
        images: how many test images, or `all`; left out, as many as fit into about three minutes on this machine, at
            least 100. Classes keep their shares, and a smaller choice is a part of a larger one.
        seed: of the choice and of the corruptions.
        progress: whom to tell.

    Raises:
        BundleError: there is no finished run.
        DataError: the images are gone, or none of them can be used.
        UsageError: `images` is neither a number from 1 on nor `all`.
        StorageError: the run's folder cannot be written.
    """
    progress = progress or Silent()
    wanted = _wanted(images)
    keep_freed_memory()  # spoiling images takes half the time with it
    run = open_run(path)
    classifier = Classifier(run.bundle)
    manifest = Manifest.read(run.file("manifest.parquet"))
    sweep = _Sweep(classifier, manifest, _images_of(run, manifest), seed, progress)
    result = sweep.run(wanted)
    write_json(run.file(ROBUSTNESS_FILE), result.as_dict())
    return result


def read_robustness(run: Run) -> Robustness | None:
    """What was measured of a run; None where nothing was.

    Raises:
        NewerBundleError: a later version wrote it.
    """
    try:
        values = json.loads(run.file(ROBUSTNESS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return Robustness.from_dict(values)


def _wanted(images: int | str | None) -> int | None:
    """How many images at most; None leaves it to the clock."""
    if images is None:
        return None
    if images == "all":
        return 2**62
    try:
        number = int(images)
    except ValueError:
        number = 0
    if number < 1:
        raise UsageError(f"--images {images!r}", expected="a number of images from 1 on, or all")
    return number


def _images_of(run: Run, manifest: Manifest) -> Source:
    try:
        return open_source(manifest.spec)
    except (DataError, MissingDependencyError) as error:
        raise DataError(
            f"the images of the run {run.name} cannot be opened: {error.problem}",
            expected=f"the images that it was trained with, at {manifest.spec}",
            remedy="put them back to that place; robustness needs the images themselves",
        ) from error


class _Sweep:
    """One measurement: the images in the order in which they are taken, and the answers so far."""

    def __init__(
        self, classifier: Classifier, manifest: Manifest, source: Source, seed: int, progress: Progress
    ) -> None:
        self._classifier, self._source, self._seed, self._progress = classifier, source, seed, progress
        preprocess = classifier.record.preprocess
        self._side, self._channels = preprocess.size, preprocess.channels
        self._left_out = meaningless(self._side)
        self._corruptions = [one for one in CORRUPTIONS.values() if one.name not in self._left_out]
        self._cells = 1 + SEVERITIES * len(self._corruptions)
        self._rows = in_stratified_order(manifest, seed)
        self._unreadable: list[str] = []
        # One entry a batch: class indices (B,); right and confidence (B, cells), the clean image first.
        self._labels: list[npt.NDArray[np.int64]] = []
        self._right: list[npt.NDArray[np.bool_]] = []
        self._confidence: list[npt.NDArray[np.float32]] = []
        self._example: tuple[str, Pixels] | None = None
        if not self._rows:
            raise DataError("the run has no test image", expected="labelled images in the split test")

    def run(self, wanted: int | None) -> Robustness:
        """Go through the images; `wanted` of them at most, or as many as time allows."""
        began = time.perf_counter()
        workers = os.cpu_count() or 1
        most = min(len(self._rows), wanted or len(self._rows))
        with (
            _one_torch_thread(),
            ThreadPoolExecutor(workers) as pool,
            self._progress.task("spoiling test images", most) as task,
        ):
            try:
                first = min(_TRIAL_IMAGES, most)
                self._batch(self._rows[:first], pool, workers, task)
                if wanted is None:
                    most = self._affordable(first, began)
                    task.resize(most)
                for start in range(first, most, BATCH):
                    if wanted is None and start >= LEAST_IMAGES and time.perf_counter() - began > SWEEP_SECONDS:
                        most = start  # something else slowed the machine down: a first part is as good a sample
                        break
                    self._batch(self._rows[start : min(start + BATCH, most)], pool, workers, task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if not self._labels:
            raise DataError(
                f"none of the {most} test images can be used, such as {self._unreadable[0]}",
                expected="the images that the run was trained with",
                remedy="put them back to where they were",
            )
        return self._summary(most, wanted, time.perf_counter() - began)

    def _affordable(self, done: int, began: float) -> int:
        """How many images fit into the time, judged by the first ones; at least LEAST_IMAGES."""
        each = (time.perf_counter() - began) / done
        number = max(LEAST_IMAGES, int(SWEEP_SECONDS / each))
        return min(len(self._rows), number)

    def _batch(self, rows: Sequence[tuple[str, str, str]], pool: ThreadPoolExecutor, ahead: int, task: Task) -> None:
        ids, labels, pixels = self._decoded(rows, pool)
        if ids:
            index = {name: number for number, name in enumerate(self._classifier.classes)}
            truth = np.array([index[label] for label in labels], dtype=np.int64)
            answers = [self._answer(pixels, truth)]
            for spoilt in self._spoilt(pixels, ids, pool, ahead):
                answers += [self._answer(one, truth) for one in spoilt]
            right, confidence = (np.stack(part, axis=1) for part in zip(*answers, strict=True))
            if self._example is None and right[:, 0].any():
                chosen = int(np.where(right[:, 0], confidence[:, 0], -1).argmax())  # recognised most clearly
                self._example = ids[chosen], pixels[chosen]
            self._labels.append(truth)
            self._right.append(right)
            self._confidence.append(confidence)
        task.advance(len(rows))

    def _decoded(
        self, rows: Sequence[tuple[str, str, str]], pool: ThreadPoolExecutor
    ) -> tuple[list[str], list[str], Pixels]:
        """Ids, labels and pixels of those that can be used; the others are noted."""

        def look(row: tuple[str, str, str]) -> Pixels | None:
            image, name, _ = row
            try:
                content = self._source.read(name)
                # Another file under the old name would be scored with the old label.
                return self._classifier.record.preprocess.pixels(content) if content_id(content) == image else None
            except UndecodableImage:
                return None

        found = list(pool.map(look, rows))
        self._unreadable += [name for (_, name, _), pixels in zip(rows, found, strict=True) if pixels is None]
        kept = [(row, pixels) for row, pixels in zip(rows, found, strict=True) if pixels is not None]
        side = (0, self._side, self._side, self._channels)
        stacked = np.stack([pixels for _, pixels in kept]) if kept else np.zeros(side, dtype=np.uint8)
        return [row[0] for row, _ in kept], [row[2] for row, _ in kept], stacked

    def _spoilt(self, pixels: Pixels, ids: list[str], pool: ThreadPoolExecutor, ahead: int) -> Iterator[list[Pixels]]:
        """The batch under every corruption, five severities each; the next ones are made while one is used."""
        batch = torch.from_numpy(pixels)

        def spoil(one: Corruption) -> list[Pixels]:
            return [result.numpy() for result in severities(batch, ids, one.name, seed=self._seed)]

        waiting: deque[Future[list[Pixels]]] = deque()
        for one in self._corruptions:
            waiting.append(pool.submit(spoil, one))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _answer(
        self, pixels: Pixels, truth: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
        probabilities, _ = self._classifier.run_pixels(pixels)
        return probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)

    def _summary(self, chosen: int, wanted: int | None, seconds: float) -> Robustness:
        labels = np.concatenate(self._labels)
        right = np.concatenate(self._right)  # (N, cells)
        confidence = np.concatenate(self._confidence).astype(np.float64)
        measured = []
        for number, one in enumerate(self._corruptions):
            cells = slice(1 + SEVERITIES * number, 1 + SEVERITIES * (number + 1))
            measured.append(
                Measured(
                    name=one.name, title=one.title, family=one.family, unit=one.unit,
                    levels=[level[0] for level in one.at(self._side)],
                    right=right[:, cells], confidence=confidence[:, cells],
                )
            )  # fmt: skip
        if self._unreadable:
            self._progress.warn(
                f"{len(self._unreadable)} test images could not be used, such as {self._unreadable[0]}: "
                "they are damaged, gone or not the ones that the run was trained with"
            )
        return summarise(
            labels=labels, classes=self._classifier.classes, right=right[:, 0], confidence=confidence[:, 0],
            measured=measured, choice=_choice(chosen, len(self._rows), wanted), side=self._side,
            channels=self._channels, seed=self._seed, seconds=seconds, unreadable=len(self._unreadable),
            left_out=self._left_out, examples=self._examples(),
        )  # fmt: skip

    def _examples(self) -> dict[str, str]:
        """One image under each corruption, its severities side by side, as a small data URI."""
        if self._example is None:
            return {}
        image, pixels = self._example
        batch = torch.from_numpy(pixels)[None]
        strips = {}
        for one in self._corruptions:
            frames = [corrupt(batch, [image], one.name, number + 1, seed=self._seed)[0] for number in range(SEVERITIES)]
            strips[one.name] = _strip([frame.numpy() for frame in frames])
        return strips


def in_stratified_order(manifest: Manifest, seed: int) -> list[tuple[str, str, str]]:
    """Id, source and label of every test image, so ordered that any first part has the classes in their shares."""
    ok = manifest.ok
    rows: dict[str, tuple[str, str, str]] = {}
    for image, name, label, split in zip(
        *(ok[column].to_pylist() for column in ("id", "source", "label", "split")), strict=True
    ):
        if split == "test":
            rows.setdefault(image, (image, name, label))
    by_chance = sorted(rows.values(), key=lambda row: content_id(f"{seed}/{row[0]}".encode()))
    members: dict[str, list[tuple[str, str, str]]] = {}
    for row in by_chance:
        members.setdefault(row[2], []).append(row)
    placed = [
        ((place + 0.5) / len(group), turn, row)
        for turn, group in enumerate(members.values())
        for place, row in enumerate(group)
    ]
    return [row for _, _, row in sorted(placed)]


def _choice(used: int, available: int, wanted: int | None) -> str:
    if used == available:
        return "all test images"
    why = "as asked for" if wanted is not None else f"as many as fit into about {SWEEP_SECONDS / 60:.0f} minutes"
    return f"{used} of {available} test images, each class in its share, {why}"


def _strip(frames: Sequence[Pixels]) -> str:
    """Images side by side as a data URI: JPEG, or PNG where they are so small that every pixel counts."""
    pictures = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    side = min(pictures[0].width, _EXAMPLE_SIDE)
    strip = Image.new(pictures[0].mode, (side * len(pictures), side))
    for number, picture in enumerate(pictures):
        strip.paste(picture.resize((side, side), Image.Resampling.BOX), (side * number, 0))
    buffer = io.BytesIO()
    kind = "png" if side <= _PIXEL_ART_SIDE else "jpeg"
    strip.save(buffer, kind.upper(), **({} if kind == "png" else {"quality": _EXAMPLE_QUALITY}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Several threads spoil images; each of them needs no helpers."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(former)
