"""A classifier that can be asked why: its graph says what it sees, its network what it looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from eyebright.allocator import keep_freed_memory
from eyebright.bundle import read_bundle
from eyebright.classifier import Classifier
from eyebright.errors import UsageError, did_you_mean
from eyebright.explain.layers import Layer, explanation_layer, named_layer
from eyebright.explain.methods import heat_maps, methods_for
from eyebright.jobs.explain_choice import Choice, choice_by_kind, measure_choice, stored_choice
from eyebright.models.catalog import restore_network
from eyebright.progress import Progress
from eyebright.run import Run, open_run

Pixels = npt.NDArray[np.uint8]


class Explainer:
    """A classifier that can be asked why: the bundle's graph for what it says, its network for what it looked at.

    Args:
        path: folder of a run or of a bundle.
        layer: name of the layer to take maps from; None for a sensible one.

    Raises:
        BundleError: there is none, or it cannot be read.
        UsageError: the layer does not exist or has no map.
    """

    def __init__(self, path: str | Path, *, layer: str | None = None) -> None:
        keep_freed_memory()
        self.path = Path(path)
        self.bundle = read_bundle(path)
        self.run: Run | None = open_run(path) if (self.path / "state.json").is_file() else None
        self.network: nn.Module = restore_network(self.bundle)
        self.preprocess = self.bundle.record.preprocess
        self.size = (self.preprocess.channels, self.preprocess.size, self.preprocess.size)
        self.layer: Layer | None = (
            explanation_layer(self.network, self.size) if layer is None else named_layer(self.network, self.size, layer)
        )
        self.classifier = Classifier(self.bundle)

    def able(self) -> list[str]:
        """Names of the methods that work for the network."""
        return methods_for(self.network, self.size, self.layer)

    def maps(self, method: str, pixels: Pixels, classes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Heat maps, float32 (N, size, size); see `heat_maps`."""
        return heat_maps(self.network, self.preprocess, pixels, classes, method, self.layer)

    def choice(self, *, measure: bool, progress: Progress) -> Choice:
        """The method for this classifier: as measured for its run, measured now, or by the kind of network.

        Args:
            measure: measure now, even where that was done.
            progress: told what is done.
        """
        able = self.able()
        found = None if self.run is None or measure else stored_choice(self.run)
        if found is None and self.run is not None:
            found = measure_choice(self.run, self.classifier, self.layer, able, self.maps, progress)
        return found or choice_by_kind(self.layer, able)

    def class_index(self, name: str) -> int:
        """Index of a class.

        Raises:
            UsageError: the classifier has no such class.
        """
        classes = self.classifier.classes
        if name not in classes:
            raise UsageError(
                f"the classifier has no class {name!r}{did_you_mean(name, classes)}",
                expected=f"one of {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}",
            )
        return classes.index(name)
