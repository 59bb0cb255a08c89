"""Showing what a classifier looks at: panels for images that a user names, and overlays for a report."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eyebright.atomic import explained, write_bytes
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.decode import UndecodableImage, decode_image
from eyebright.explain.methods import BATCH, METHODS, check_method
from eyebright.explain.overlay import overlay, placed
from eyebright.explain.panel import SIDE, draw_panel, panel_size
from eyebright.identity import content_id
from eyebright.jobs.explain_choice import choice_by_kind, stored_choice
from eyebright.jobs.explainer import Explainer
from eyebright.jobs.predict import Content, open_input
from eyebright.progress import Progress, Silent
from eyebright.run import Run

FOLDER = "explanations"
AUTO, ALL = "auto", "all"
THUMBNAIL_SIDE = 256
_PIXELS_AS_SQUARES = 48
"""Images up to this side are enlarged without smoothing."""

Pixels = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explained:
    """What came of one image.

    Attributes:
        source: the image as the user would find it.
        id: content id; None when it could not be read.
        label, probability: the prediction; None for an image that could not be used.
        class_name, class_probability: the class that is explained.
        methods, layer: how.
        panel: where the figure was written.
        probabilities: every class and its calibrated probability.
        status: `ok`, or why not.
        reason: the same as a sentence.
    """

    source: str
    id: str | None = None
    label: str | None = None
    probability: float | None = None
    class_name: str | None = None
    class_probability: float | None = None
    methods: tuple[str, ...] = ()
    layer: str = ""
    panel: Path | None = None
    probabilities: dict[str, float] | None = None
    status: str = "ok"
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        return {**values, "methods": list(self.methods), "panel": None if self.panel is None else str(self.panel)}


def explain(
    explainer: Explainer,
    inputs: Sequence[str | Path],
    *,
    method: str = AUTO,
    class_name: str | None = None,
    output: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Explained]:
    """Write a panel for each image, in order. An image that cannot be read gets an answer that says so.

    Args:
        explainer: the classifier.
        inputs: images, folders, tables or named sets, as `predict` takes them.
        method: a method's name, `auto` for the choice of the run, or `all`.
        class_name: the class to explain; None for the predicted one of each image.
        output: folder of the panels; `explanations` in the run's folder (or, for a bundle, in the working directory)
            when None.
        progress: told what is done.

    Raises:
        DataError: an input that is no image file does not exist or holds nothing that could be an image.
        UsageError: the method or class is unknown or does not work for the network.
    """
    progress = progress or Silent()
    if method not in (AUTO, ALL):
        check_method(method)
    wanted = None if class_name is None else explainer.class_index(class_name)
    opened = [
        open_input(given) for given in inputs
    ]  # before anything is measured: a typing error should cost no waiting
    methods = _methods(explainer, method, progress)
    folder = output or (Path(FOLDER) if explainer.run is None else explainer.run.file(FOLDER))
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for given in opened:
        names = given.names
        with progress.task(f"explaining {given.title}", len(names)) as task:
            for first in range(0, len(names), BATCH):
                batch = names[first : first + BATCH]
                for answer in _batch(explainer, given.read, given.prefix, batch, methods, wanted, folder, taken):
                    yield answer
                    task.advance()


def explanation_of(run: Run) -> Mapping[str, str]:
    """How a report's overlays are made: `method`, `layer` and `why`."""
    return _explanation(Explainer(run.path))[1]


def overlays_of(run: Run, manifest: Manifest, source: Source) -> Callable[[Sequence[str]], Mapping[str, Image.Image]]:
    """What gives, for ids of images, small pictures with what speaks for the predicted class laid over them.

    Only a quick method is used: of those measured for the run, the most faithful one; else one by the kind of network.

    Args:
        run: with its bundle.
        manifest: names the images.
        source: reads them.

    Returns:
        A function; images that are gone or cannot be read are left out of what it gives.
    """
    explainer = Explainer(run.path)
    method, _ = _explanation(explainer)
    where = dict(zip(manifest.table["id"].to_pylist(), manifest.table["source"].to_pylist(), strict=True))

    def overlays(ids: Sequence[str]) -> dict[str, Image.Image]:
        made: dict[str, Image.Image] = {}
        known = [id_ for id_ in ids if id_ in where]
        for first in range(0, len(known), BATCH):
            with ThreadPoolExecutor(4) as pool:
                looked = list(
                    pool.map(
                        lambda id_: (id_, *_pictured(source.read, where[id_], explainer)), known[first : first + BATCH]
                    )
                )
            seen = [
                (id_, picture, pixel) for id_, picture, pixel in looked if picture is not None and pixel is not None
            ]
            if not seen:
                continue
            pixels = np.stack([pixel for _, _, pixel in seen])
            classes = explainer.classifier.probabilities_of_pixels(pixels).argmax(axis=1)
            heats = explainer.maps(method, pixels, classes)
            for (id_, picture, _), heat in zip(seen, heats, strict=True):
                made[id_] = overlay(picture, placed(heat, explainer.preprocess, picture.size))
        return made

    return overlays


def _explanation(explainer: Explainer) -> tuple[str, dict[str, str]]:
    found = None if explainer.run is None else stored_choice(explainer.run)
    choice = found or choice_by_kind(explainer.layer, explainer.able())
    method = METHODS[choice.quick_method]
    why = "the most faithful quick method on this run's validation images" if found else choice.why
    return method.name, {"method": method.title, "layer": choice.layer, "why": why}


def _pictured(
    read: Callable[[str], Content], name: str, explainer: Explainer
) -> tuple[Image.Image | None, Pixels | None]:
    try:
        content = read(name)
        picture = decode_image(content, channels=3, at_least=2 * THUMBNAIL_SIDE)
        pixels = explainer.preprocess.pixels(content)
    except UndecodableImage:
        return None, None
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return picture, pixels


def _methods(explainer: Explainer, method: str, progress: Progress) -> list[str]:
    if method == AUTO:
        return [explainer.choice(measure=False, progress=progress).method]
    return explainer.able() if method == ALL else [method]


_Read = Callable[[str], Content]


def _look(read: _Read, name: str, made: Callable[[Content], Any]) -> tuple[str | None, Any, UndecodableImage | None]:
    """Content id of an image and what is made of it, or why it cannot be read."""
    image = None
    try:
        content = read(name)
        image = content_id(content)
        return image, made(content), None
    except UndecodableImage as error:
        return image, None, error


def _batch(
    explainer: Explainer,
    read: _Read,
    prefix: str,
    names: Sequence[str],
    methods: Sequence[str],
    wanted: int | None,
    folder: Path,
    taken: set[str],
) -> Iterator[Explained]:
    """Answers for some images of one input, in order."""

    def both(content: Content) -> tuple[Image.Image, Pixels]:
        return decode_image(content, channels=3, at_least=2 * SIDE), explainer.preprocess.pixels(content)

    with ThreadPoolExecutor(4) as pool:
        looked = list(pool.map(lambda name: _look(read, name, both), names))
    seen = [found[1] for _, found, _ in looked if found is not None]
    rows = np.zeros((0, len(explainer.classifier.classes)), dtype=np.float32)
    heats: dict[str, npt.NDArray[np.float32]] = {}
    classes = np.zeros(0, dtype=np.int64)
    if seen:
        pixels = np.stack(seen)
        rows = explainer.classifier.probabilities_of_pixels(pixels)
        classes = rows.argmax(axis=1) if wanted is None else np.full(len(pixels), wanted)
        heats = {method: explainer.maps(method, pixels, classes) for method in methods}
    place = 0
    for name, (image, found, problem) in zip(names, looked, strict=True):
        shown = f"{prefix}{name}"
        if found is None:
            assert problem is not None
            yield Explained(source=shown, id=image, status=problem.status, reason=problem.problem)
            continue
        answer = _answer(explainer, shown, image, rows[place], int(classes[place]), methods)
        path = folder / _file_name(shown, methods, answer.class_name if wanted is not None else None, taken)
        answer = dataclasses.replace(answer, panel=path)
        write_bytes(path, _panel(explainer, found[0], {method: heat[place] for method, heat in heats.items()}, answer))
        yield answer
        place += 1


def _answer(
    explainer: Explainer, source: str, image: str | None, row: npt.NDArray[Any], index: int, methods: Sequence[str]
) -> Explained:
    names, best = explainer.classifier.classes, int(row.argmax())
    layer = explainer.layer
    return Explained(
        source=source,
        id=image,
        label=names[best],
        probability=float(row[best]),
        class_name=names[index],
        class_probability=float(row[index]),
        methods=tuple(methods),
        layer=layer.name if layer is not None and any(METHODS[method].quick for method in methods) else "",
        probabilities={name: float(value) for name, value in zip(names, row, strict=True)},
    )


def _panel(
    explainer: Explainer, picture: Image.Image, heats: Mapping[str, npt.NDArray[np.float32]], answer: Explained
) -> bytes:
    size = panel_size(*picture.size)
    tiny = max(picture.size) <= _PIXELS_AS_SQUARES
    resized = picture.resize(size, Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS)
    laid = {METHODS[method].title: placed(heat, explainer.preprocess, size) for method, heat in heats.items()}
    title = f"{answer.label} {answer.probability:.1%}"
    if answer.class_name != answer.label:
        title += f"; here: why {answer.class_name} ({answer.class_probability:.1%})"
    note = f"{next(iter(laid))}" if len(laid) == 1 else f"{len(laid)} methods"
    note += f" at layer {answer.layer}" if answer.layer else ""
    if explainer.preprocess.resize == "crop":
        note += "; the classifier sees what lies within the frame"
    if not any(heat.any() for heat in heats.values()):
        note += "; nothing in the image speaks for this class"
    return draw_panel(resized, laid, title=title, note=note)


def _file_name(source: str, methods: Sequence[str], class_name: str | None, taken: set[str]) -> str:
    """A name for the panel that no other image of this call has."""
    stem = source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    stem = stem.rsplit(".", 1)[0] if "." in stem[1:] else stem
    parts = [stem, class_name or "", methods[0] if len(methods) == 1 else ALL]
    name = "-".join(re.sub(r"[^\w.+#-]+", "_", part) for part in parts if part)
    number, free = 1, f"{name}.png"
    while free in taken:
        number += 1
        free = f"{name}-{number}.png"
    taken.add(free)
    return free
