"""Which method explains a run: the most faithful one, measured once and kept in `explain.json`."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from eyebright.atomic import write_json
from eyebright.classifier import Classifier
from eyebright.data.manifest import Manifest
from eyebright.decode import UndecodableImage
from eyebright.errors import BundleError, DataError
from eyebright.explain.faithfulness import CENTRE, RANDOM, STEPS, Faithfulness, compare_methods
from eyebright.explain.layers import Layer
from eyebright.explain.methods import METHODS
from eyebright.jobs.pictures import source_on_disk
from eyebright.progress import Progress
from eyebright.run import Run

EXPLANATION_FILE = "explain.json"
IMAGES = 12
MOST_SECONDS = 120.0
_FEWEST_IMAGES = 4

BY_KIND = {"maps": "hires-cam", "tokens": "grad-cam++", "none": "occlusion"}
"""What explains a run until it is measured, by the kind of its explanation layer: see docs/explain.md."""

Pixels = npt.NDArray[np.uint8]
Maps = Callable[[str, Pixels, npt.NDArray[np.int64]], npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """How a run is explained.

    Attributes:
        method: the most faithful method.
        quick_method: the most faithful of those that cost no more than a prediction, for many pictures at once; the
            same as `method` where there is none.
        layer: where maps are taken; empty for a network without any.
        why: as a sentence.
        faithfulness: what was measured, most faithful first, then the comparisons; empty for a choice by kind.
    """

    method: str
    quick_method: str
    layer: str
    why: str
    faithfulness: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**dataclasses.asdict(self), "faithfulness": list(self.faithfulness)}


def stored_choice(run: Run) -> Choice | None:
    """What was measured for a run; None when nothing was.

    Raises:
        BundleError: the file cannot be read.
    """
    path = run.file(EXPLANATION_FILE)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name: values[field.name] for field in dataclasses.fields(Choice)}
        choice = Choice(**{**known, "faithfulness": tuple(known["faithfulness"])})
        if choice.method not in METHODS or choice.quick_method not in METHODS:
            raise ValueError(f"method {choice.method!r}, quick_method {choice.quick_method!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} cannot be read: {error!r}",
            expected="what `eyebright explain` wrote there",
            remedy=f"remove {path}: it is measured again",
        ) from error
    return choice


def choice_by_kind(layer: Layer | None, able: Sequence[str]) -> Choice:
    """The choice for a network that was not measured."""
    method = BY_KIND["none" if layer is None else layer.kind]
    method = method if method in able else able[0]
    what = {"maps": "convolutional networks", "tokens": "transformers"}.get(
        layer.kind if layer else "", "such networks"
    )
    return Choice(
        method=method,
        quick_method=method,
        layer="" if layer is None else layer.name,
        why=f"{METHODS[method].title} was the most faithful quick method on average for {what}; "
        "`eyebright explain` measures it for this one",
    )


def measure_choice(
    run: Run, classifier: Classifier, layer: Layer | None, able: Sequence[str], maps: Maps, progress: Progress
) -> Choice | None:
    """Measure which method is the most faithful one on some validation images, and keep the answer with the run.

    Args:
        run: whose manifest names the images.
        classifier: of its bundle.
        layer: where maps are taken.
        able: methods that work.
        maps: makes heat maps by a method's name.
        progress: told what is done, and for how long.

    Returns:
        None when the images are no longer where they were.
    """
    pixels = validation_pixels(run, classifier, IMAGES)
    if len(pixels) < _FEWEST_IMAGES:
        progress.warn("the validation images of this run are no longer at their place: no method can be measured")
        return None
    begun = time.perf_counter()
    classes = classifier.probabilities_of_pixels(pixels).argmax(axis=1)
    seconds_each = (time.perf_counter() - begun) / len(pixels)
    passes = 2 * (STEPS + 1) * (len(able) + 2) + sum(1 if METHODS[name].quick else 150 for name in able)
    count = int(np.clip(MOST_SECONDS / (passes * seconds_each), _FEWEST_IMAGES, len(pixels)))
    pixels, classes = pixels[:count], classes[:count]
    progress.note(
        f"measuring which of {len(able)} methods is the most faithful one, once for this run, on {count} validation "
        f"images: about {max(1, round(passes * seconds_each * count))} s"
    )
    rows = compare_methods(
        classifier.probabilities_of_pixels,
        pixels,
        classes,
        {name: functools.partial(maps, name) for name in able},
        progress=progress,
    )
    choice = _choice_of(rows, layer)
    write_json(run.file(EXPLANATION_FILE), choice.as_dict())
    return choice


def validation_pixels(run: Run, classifier: Classifier, count: int) -> Pixels:
    """Some validation images, spread over the split, as the network sees them: uint8 (up to `count`, size, size, C)."""
    preprocess = classifier.record.preprocess
    try:
        manifest = Manifest.read(run.file("manifest.parquet"))
    except DataError:
        return np.zeros((0, preprocess.size, preprocess.size, preprocess.channels), dtype=np.uint8)
    source = source_on_disk(manifest.spec)
    rows = manifest.ok.filter(pc.equal(manifest.ok["split"], "val"))
    names = rows["source"].to_pylist()
    # Shuffled, so that a part of them is spread over the classes too.
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    made = []
    for place in np.random.default_rng(0).permutation(places):
        if source is None:
            break
        try:
            made.append(preprocess.pixels(source.read(names[place])))
        except UndecodableImage:
            continue
    return np.stack(made) if made else np.zeros((0, preprocess.size, preprocess.size, preprocess.channels), np.uint8)


def _choice_of(rows: Sequence[Faithfulness], layer: Layer | None) -> Choice:
    measured = [row for row in rows if row.method not in (RANDOM, CENTRE)]
    best = measured[0]
    quick = next((row for row in measured if METHODS[row.method].quick), best)
    by_name = {row.method: row.difference.value for row in rows}
    return Choice(
        method=best.method,
        quick_method=quick.method,
        layer="" if layer is None else layer.name,
        why=f"{METHODS[best.method].title} was the most faithful of {len(measured)} methods on {best.images} "
        f"validation images: insertion minus deletion {best.difference.value:.2f}, "
        f"cells in random order {by_name[RANDOM]:.2f}, a spot in the centre {by_name[CENTRE]:.2f}",
        faithfulness=tuple(row.as_dict() for row in rows),
    )
