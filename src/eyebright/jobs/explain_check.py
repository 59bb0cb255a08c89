"""Whether the maps of a classifier depend on what it has learnt: compared with those of random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eyebright.atomic import write_json
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError
from eyebright.explain.methods import heat_maps
from eyebright.explain.sanity import SanityCheck, check_methods, untrained_network
from eyebright.jobs.explain_choice import validation_pixels
from eyebright.jobs.explainer import Explainer
from eyebright.jobs.predict import open_input
from eyebright.progress import Progress

CHECKED_IMAGES = 6
CHECK_FILE = "explain-check.json"

Pixels = npt.NDArray[np.uint8]


def check(
    explainer: Explainer, methods: Sequence[str], pixels: Pixels, *, progress: Progress | None = None
) -> list[SanityCheck]:
    """Compare the maps of the classifier with those of the same network with random weights.

    Args:
        explainer: the classifier.
        methods: names.
        pixels: uint8 (N, size, size, channels), two images or more.
        progress: told of each network.
    """
    classes = explainer.classifier.probabilities_of_pixels(pixels).argmax(axis=1)
    name = None if explainer.layer is None else explainer.layer.name

    def maps_of(network: nn.Module, method: str) -> npt.NDArray[np.float32]:
        return heat_maps(network, explainer.preprocess, pixels, classes, method, name)

    images = torch.from_numpy(explainer.preprocess.normalise(pixels))
    untrained = untrained_network(explainer.bundle)
    return check_methods(explainer.network, untrained, images, methods, maps_of, progress=progress)


def pixels_to_check(explainer: Explainer, given: Sequence[str | Path]) -> Pixels:
    """The images that a check is made with: some validation images of the run, or else the given ones.

    Raises:
        DataError: there are fewer than two.
    """
    pixels = validation_pixels(explainer.run, explainer.classifier, CHECKED_IMAGES) if explainer.run else None
    if pixels is None or len(pixels) < CHECKED_IMAGES:
        found: list[Pixels] = []
        for opened in map(open_input, given):
            for name in opened.names[: CHECKED_IMAGES - len(found)]:
                try:
                    found.append(explainer.preprocess.pixels(opened.read(name)))
                except UndecodableImage:
                    continue  # it is listed where it is explained
        pixels = np.stack(found) if found else np.zeros((0, 1, 1, 1), dtype=np.uint8)
    if len(pixels) < 2:
        raise DataError(
            f"{len(pixels)} images to check the explanations with",
            expected="two or more, such as the validation images of a run",
            remedy="give more images",
        )
    return pixels


def keep_check(explainer: Explainer, checks: Sequence[SanityCheck]) -> None:
    """Write what was found beside the choice of the run; nothing for a bundle without run."""
    if explainer.run is not None:
        write_json(explainer.run.file(CHECK_FILE), {"checks": [row.as_dict() for row in checks]})
