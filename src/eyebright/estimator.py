"""`EyebrightClassifier`: the engine of `eyebright train` behind scikit-learn's `fit` and `predict`.

    from sklearn.datasets import load_digits
    from eyebright import EyebrightClassifier

    X, y = load_digits(return_X_y=True)
    classifier = EyebrightClassifier(epochs=10).fit(X[:1500], y[:1500])
    print(classifier.score(X[1500:], y[1500:]))

The recipe plans and fits as on the command line. What a run has beyond that is left out: no folder, no test split, no
graph; `save` writes a bundle when one is wanted.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import numbers
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from eyebright.allocator import keep_freed_memory
from eyebright.bundle import Bundle, BundleRecord
from eyebright.config import TrainConfig
from eyebright.data.arrays import FlatImages, as_images, divide, each_row, identify, look_grey, stack_pixels
from eyebright.data.batches import PixelSet
from eyebright.decisions import Calibration, Decisions, softmax
from eyebright.decode import ImageInput
from eyebright.errors import DataError, UsageError
from eyebright.evaluation.calibrate import fit_temperature
from eyebright.evaluation.metrics import evaluate
from eyebright.evaluation.predictions import make_predictions
from eyebright.export.onnx import export_onnx
from eyebright.jobs.assemble import assemble_config
from eyebright.jobs.bundling import GOLDEN_SAMPLES, make_bundle
from eyebright.jobs.card import model_card
from eyebright.jobs.environment import now, versions
from eyebright.progress import Silent
from eyebright.recipes import get_recipe
from eyebright.recipes.base import Context, DataFacts, Plan
from eyebright.recipes.finish import EXPORT_SECONDS, REPORT_SECONDS
from eyebright.training.device import pick_device
from eyebright.training.hooks import StopSignal
from eyebright.training.score import predict_logits

PREDICTED_TOGETHER = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Images:
    """N distinct images to fit on.

    Attributes:
        images: themselves; an image occurs once under each of its labels.
        rows: their rows in X, for messages.
        ids: their content ids.
        side: median of their shorter sides in pixels.
        targets: int64 (N,), class indices.
        weights: float64 (N,), above zero.
    """

    images: list[ImageInput]
    rows: list[int]
    ids: list[str]
    side: int
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


class EyebrightClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Image classification with the engine of `eyebright train`, as a scikit-learn estimator.

    `X` may be

    - a list or 1-d array of images: paths, encoded bytes, Pillow images or arrays;
    - an array of images (N, H, W) or (N, H, W, C): uint8, uint16, bool, or float from 0 to 1;
    - a table (N, D) of numbers with one flattened image a row, as scikit-learn keeps them. A row is a square grey
      image when D is a square number, else an image of one row, unless `image_shape` says more. Values are mapped
      linearly from the range of the whole table in `fit` to 0..255, and clipped when predicting.

    Distinct images are what counts. An image that occurs more than once with the same label is learnt from once, with
    the sum of its weights, so an integer weight equals repeating a row, and a weight of zero equals leaving it out;
    the order of the rows does not matter. Of the distinct images of each class, `validation_share` (rounded; at least
    one where the class has three) is kept for choosing among weights and for the temperature; equal images are never
    on both sides. When every class has one or two images there is no such part: the training images then choose among
    the weights, the temperature stays 1, and the probabilities are as sharp as the network makes them.

    Two fits with the same data and an integer `random_state` on the same machine give the same classifier, unless
    there is a `budget`, which makes the number of steps depend on the clock. The pixels are held in memory at the
    working size; use `eyebright train` for more images than that allows. Ctrl-C ends `fit` without a classifier.

    Args:
        recipe: name of the recipe (`eyebright recipes`).
        budget: time for `fit`, such as "5m" or seconds; None lets `epochs`, or else the recipe's default, decide.
        model: name of the network; None lets the recipe choose.
        epochs: epochs of training; None lets the budget or the recipe decide.
        size: side of the network's input in pixels; None lets the recipe choose.
        random_state: seed of the split, weights, order and augmentation: an integer, a NumPy `RandomState`, or None
            for NumPy's global one.
        device: "auto", "cpu", "cuda" or "mps".
        validation_share: share of the images kept for validation, above 0 and below 1.
        image_shape: (H, W) or (H, W, C) of the images in the rows of a table; None guesses as said above.
        settings: further settings of the configuration, as ("optim.learning_rate=3e-4",).

    Attributes:
        classes_: labels in the order of the columns of `predict_proba`; those with a weight above zero.
        n_features_in_, feature_names_in_: of a table only; the names only when its columns have some.
        preprocess_: how images become input.
        network_: the network, in evaluation mode.
        temperature_: logits are divided by it before the softmax.
        plan_: what the recipe decided.
        reasons_: sentences about what was chosen and kept, and why.
        history_: a line for each stage and epoch, as in a run's `history.jsonl`.
        split_counts_: number of distinct images by split and class.
    """

    def __init__(
        self,
        *,
        recipe: str = "auto",
        budget: str | float | None = None,
        model: str | None = None,
        epochs: int | None = None,
        size: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        validation_share: float = 0.15,
        image_shape: tuple[int, ...] | None = None,
        settings: tuple[str, ...] = (),
    ) -> None:
        self.recipe = recipe
        self.budget = budget
        self.model = model
        self.epochs = epochs
        self.size = size
        self.random_state = random_state
        self.device = device
        self.validation_share = validation_share
        self.image_shape = image_shape
        self.settings = settings

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Plan, train and calibrate.

        Args:
            X: N images; see the class.
            y: N labels of any one type.
            sample_weight: N weights of at least zero; None for one each.

        Raises:
            DataError: the images, labels or weights cannot be used; an image is named by its row as `X[row]`.
            UsageError: a parameter cannot be used. Both are `ValueError`s.
        """
        started = time.monotonic()
        config = self._config()
        images, flat = as_images(X), None
        if images is None:
            X, y = validate_data(self, X, y, dtype=np.float64)
        else:
            y = validate_data(self, y=y)
            check_consistent_length(images, y)
            if hasattr(self, "n_features_in_"):  # of a former fit on a table
                del self.n_features_in_
        check_classification_targets(y)
        weights = _weights(sample_weight, len(y))
        used = np.flatnonzero(weights > 0)
        self.classes_, targets = np.unique(y[used], return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y names one class only: {self.classes_[0]!r}", expected="images of two classes or more")
        rows: list[int] = used.tolist()
        if images is None:
            flat = FlatImages.seen_in(X[used], self.image_shape)
            chosen = flat.images(X[used])
        else:
            chosen = [images[row] for row in rows]
        content, sides = zip(*each_row(identify, chosen, rows), strict=True)
        # One of each image under each label, sorted by content, so that the order of the rows cannot matter.
        keys = np.array([f"{image} {target:09d}" for image, target in zip(content, targets, strict=True)])
        _, first, copies = np.unique(keys, return_index=True, return_inverse=True)
        images_ = _Images(
            images=[chosen[number] for number in first],
            rows=[rows[number] for number in first],
            ids=[content[number] for number in first],
            side=int(statistics.median(sides[number] for number in first)),
            targets=targets[first].astype(np.int64),
            weights=np.bincount(copies, weights=weights[used]).astype(np.float64),
        )
        is_val = divide(images_.ids, images_.targets, share=self.validation_share, seed=config.seed)
        self._train(images_, is_val, config, started)
        self.flat_images_ = flat
        self.fingerprint_ = _fingerprint(images_.ids, self.classes_[images_.targets], is_val)
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Calibrated probabilities, float32 (N, classes), columns in the order of `classes_`; rows sum to one.

        Raises:
            DataError: an image cannot be used, or X is a table where the classifier was fitted on images.
        """
        return softmax(self._logits(X), self.temperature_).astype(np.float32)

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable label of every image, (N,)."""
        check_is_fitted(self)
        return np.asarray(self.classes_[self._logits(X).argmax(axis=1)])

    def save(self, folder: str | os.PathLike[str], X: Any, y: Any) -> Bundle:
        """Write a bundle, which `eyebright.load`, `eyebright predict` and other programs read.

        Labels become text. A table's mapping to 0..255 stays here: the bundle takes images.

        Args:
            folder: where the bundle goes; a former one there is replaced. Its name becomes the bundle's.
            X, y: held-out images and their labels. The bundle's metrics are measured on them and nothing else, and a
                few of them become its golden samples.

        Raises:
            DataError: X or y cannot be used, or a label is not among `classes_`.
        """
        images = self._images(X)
        check_consistent_length(images, y)
        names = tuple(str(label) for label in self.classes_)
        first: dict[str, int] = {}
        for row, (image, _) in enumerate(each_row(identify, images, range(len(images)))):
            first.setdefault(image, row)
        held_out = [images[row] for row in first.values()]
        labels = [str(np.asarray(y)[row]) for row in first.values()]
        logits, count = self._logits(held_out), len(held_out)
        sources = [f"X[{row}]" for row in first.values()]
        predictions = make_predictions(list(first), sources, labels, ["test"] * count, logits, self.temperature_, names)
        test = evaluate(predictions)
        record = BundleRecord(
            name=Path(folder).name,
            architecture=self.plan_.architecture,
            architecture_arguments=self.plan_.architecture_arguments,
            classes=names,
            preprocess=self.preprocess_,
            decisions=Decisions(calibration=Calibration(temperature=self.temperature_)),
            data_fingerprint=self.fingerprint_,
            metrics=test.as_dict(),
            licence=self.plan_.licence,
            versions=versions(),
            created=now(),
        )
        shown = slice(GOLDEN_SAMPLES)
        return make_bundle(
            Path(folder),
            record,
            network=self.network_,
            graph=export_onnx(self.network_, self.preprocess_),
            card=model_card(record, test, counts=self.split_counts_),
            golden_ids=tuple(first)[shown],
            golden_images=(None,) * len(held_out[shown]),
            golden_pixels=np.stack([self.preprocess_.pixels(image) for image in held_out[shown]]),
        )

    def _config(self) -> TrainConfig:
        share: Any = self.validation_share
        if not (isinstance(share, (int, float)) and 0 < share < 1):
            raise UsageError(f"validation_share={self.validation_share!r}", expected="a share above 0 and below 1")
        seed: Any = self.random_state
        if not isinstance(seed, numbers.Integral):
            seed = check_random_state(seed).randint(2**31 - 1)
        return assemble_config(
            "arrays given to fit",
            recipe=self.recipe,
            budget=self.budget,
            no_budget=self.budget is None,
            model=self.model,
            epochs=_plain(self.epochs),
            size=_plain(self.size),
            seed=int(seed),
            device=self.device,
            settings=self.settings,
        )

    def _train(self, images: _Images, is_val: npt.NDArray[np.bool_], config: TrainConfig, started: float) -> None:
        """Everything after the division; the counterpart of `eyebright.jobs.train`."""
        device = pick_device(config.device)
        if device.type == "cpu":
            keep_freed_memory()
        members = {"train": np.flatnonzero(~is_val), "val": np.flatnonzero(is_val)}
        apart = len(members["val"]) > 0
        if not apart:
            members["val"] = members["train"]
        facts = DataFacts(
            images={"train": len(members["train"]), "val": len(members["val"]), "test": 0},
            names=tuple(str(name) for name in self.classes_),
            side=images.side,
            grey=look_grey(images.images, images.rows),
        )
        deadline = None
        if config.budget_seconds is not None:
            # Recipes keep time for what only a run does at its end: here it is free for training.
            deadline = started + config.budget_seconds + EXPORT_SECONDS + REPORT_SECONDS
        history: list[dict[str, Any]] = []
        recipe = get_recipe(config.recipe)
        with tempfile.TemporaryDirectory(prefix="eyebright-") as folder, _own_random_numbers(device):
            context = Context(
                config=config, facts=facts, device=device, deadline=deadline, checkpoint=Path(folder),
                progress=Silent(), stop=StopSignal(), record=history.append,
            )  # fmt: skip
            plan: Plan = recipe.plan(context)
            pixels = stack_pixels(images.images, plan.preprocess, images.rows)
            # Weights of about one whatever their unit, so that float32 and the strength of the probe's penalty fit.
            scaled = (images.weights / images.weights[members["train"]].mean()).astype(np.float32)
            sets = {
                split: PixelSet(
                    pixels, part, images.targets[part], preprocess=plan.preprocess, device=device, weights=scaled[part]
                )
                for split, part in members.items()
            }
            if deadline is None:  # how often to evaluate must not depend on how fast the machine just was
                per_epoch = sets["train"].steps_per_epoch(plan.config.optim.batch_size)
                stages = tuple(dataclasses.replace(stage, evaluate_every=per_epoch) for stage in plan.stages)
                plan = dataclasses.replace(plan, stages=stages)
            outcome = recipe.fit(plan, context, sets["train"], sets["val"])
            logits = predict_logits(outcome.network, sets["val"], exact=True).numpy()
        if outcome.architecture_arguments is not None:
            plan = dataclasses.replace(plan, architecture_arguments=outcome.architecture_arguments)
        self.plan_, self.preprocess_, self.network_, self.history_ = plan, plan.preprocess, outcome.network, history
        self.temperature_ = fit_temperature(logits, sets["val"].targets) if apart else 1.0
        aside = () if apart else ("no class has three images: the training images chose among the weights",)
        self.reasons_ = (*plan.reasons, *outcome.reasons, *aside)
        self.split_counts_ = {
            split: {str(name): int((images.targets[part] == index).sum()) for index, name in enumerate(self.classes_)}
            for split, part in (("train", np.flatnonzero(~is_val)), ("val", np.flatnonzero(is_val)))
        }

    def _images(self, X: Any) -> list[ImageInput]:
        check_is_fitted(self)
        images = as_images(X)
        if images is not None:
            return images
        if self.flat_images_ is None:
            raise DataError(
                f"X of shape {np.shape(X)} is a table, but the classifier was fitted on images",
                expected="a list of paths, bytes, Pillow images or arrays, or an array (N, H, W) or (N, H, W, C)",
                remedy="for one image give X[None]",
            )
        return self.flat_images_.images(validate_data(self, X, dtype=np.float64, reset=False))

    def _logits(self, X: Any) -> npt.NDArray[np.float32]:
        images = self._images(X)
        device = pick_device(self.device)
        network = self.network_.to(device)
        parts = []
        for first in range(0, len(images), PREDICTED_TOGETHER):
            part = images[first : first + PREDICTED_TOGETHER]
            pixels = stack_pixels(part, self.preprocess_, range(first, first + len(part)))
            everyone = np.arange(len(part))
            whole = PixelSet(pixels, everyone, 0 * everyone, preprocess=self.preprocess_, device=device)
            parts.append(predict_logits(network, whole, exact=True).numpy())
        return np.concatenate(parts)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "network_" in state and next(state["network_"].parameters()).device.type != "cpu":
            state["network_"] = copy.deepcopy(state["network_"]).cpu()  # readable where there is no such device
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _weights(sample_weight: Any, count: int) -> npt.NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(count)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(count, float(weights))
    if weights.shape != (count,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise DataError(
            f"sample_weight of shape {weights.shape} cannot be used for {count} images",
            expected="one finite weight of at least zero for each image, and one above zero",
        )
    return weights


def _own_random_numbers(device: torch.device) -> Any:
    """A context that leaves torch's global generators as they were: `fit` must not disturb its caller's."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])


def _fingerprint(ids: Sequence[str], labels: npt.NDArray[Any], is_val: npt.NDArray[np.bool_]) -> str:
    """What `Manifest.fingerprint` gives for the same image files, labels and splits."""
    rows = zip(ids, labels, is_val, strict=True)
    lines = sorted(
        json.dumps([image, str(label), "val" if val else "train"], ensure_ascii=False) for image, label, val in rows
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    """A NumPy scalar (as parameter grids hold them) as a Python number."""
    return value.item() if isinstance(value, np.generic) else value
