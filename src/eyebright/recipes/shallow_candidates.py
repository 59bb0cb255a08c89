"""The classifiers that the recipe `shallow` compares: each fitted by scikit-learn, each with its settings chosen on
validation, each ready to be put into the head of a network.

Costs differ widely, so each has a law by which the number of training images follows from the seconds it may take. The
rates were measured on one core (docs/shallow.md). They are constants, so that the same configuration learns from the
same images on any machine.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import f_classif
from sklearn.svm import SVC, LinearSVC
from torch import nn

from eyebright.models.shallow.heads import KernelTensors, TreeTensors, install_linear, one_row_a_class
from eyebright.recipes.probing import calibrated_loss
from eyebright.training.probe import fit_probe

SVM_STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3)
KERNEL_STRENGTHS = (1.0, 10.0)
KERNEL_WIDTHS = (2.0, 1.0, 0.5)
COMPONENTS = 256
MOST_KERNEL_IMAGES = 5000
TREE_FEATURES = 1000
TREE_ROUNDS = 100
ROUNDS_BETWEEN = 20

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Images as their features.

    Attributes:
        features: float32 (N, F), standardised.
        targets: int64 (N,), class indices.
        weights: float32 (N,), how much each image counts.
    """

    features: Floats
    targets: npt.NDArray[np.int64]
    weights: Floats

    def part(self, rows: npt.NDArray[np.int64]) -> Table:
        """Some of the images, in that order."""
        return Table(features=self.features[rows], targets=self.targets[rows], weights=self.weights[rows])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted classifier.

    Attributes:
        settings: what was chosen on validation, such as `C=0.001`.
        head, sizes: kind and sizes of the head that holds it; see `eyebright.models.shallow.network.HEADS`.
        install: puts its numbers into such a head.
        val_loss: log-loss on validation after temperature scaling there.
        val_accuracy: share of validation images that are right.
    """

    settings: str
    head: str
    sizes: Mapping[str, int]
    install: Callable[[Any], None]
    val_loss: float
    val_accuracy: float


Fit = Callable[[Table, Table, int, int, Callable[[], bool]], Fitted]
"""Fits on the first table, chooses by the second: called with the number of classes, the seed, and a function that says
whether time is up, asked between one setting and the next."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A kind of classifier.

    Attributes:
        title: in words.
        share: of the budget, where all four are fitted.
        fit: fits it.
        seconds: what fitting takes, from numbers of images, features and classes.
        most_images: how many images that many seconds suffice for, from seconds, features and classes.
    """

    title: str
    share: float
    fit: Fit
    seconds: Callable[[int, int, int], float]
    most_images: Callable[[float, int, int], int]


def judge(decisions: npt.NDArray[np.floating[Any]], val: Table) -> tuple[float, float]:
    """Log-loss after temperature scaling and accuracy of decision values (N, K) on validation."""
    logits = decisions.astype(np.float32)
    return calibrated_loss(logits, val.targets), float((logits.argmax(1) == val.targets).mean())


def fit_logistic(train: Table, val: Table, classes: int, seed: int, expired: Callable[[], bool]) -> Fitted:
    """Logistic regression; the strength of its L2 penalty is chosen."""
    probe = fit_probe(
        (train.features, train.targets, train.weights), (val.features, val.targets), classes=classes
    )  # fmt: skip
    loss, accuracy = judge(val.features @ probe.weight.T + probe.bias, val)
    return Fitted(
        settings=f"C={probe.strength:g}", head="linear", sizes={},
        install=lambda layer: install_linear(layer, probe.weight, probe.bias), val_loss=loss, val_accuracy=accuracy,
    )  # fmt: skip


def fit_linear_svm(train: Table, val: Table, classes: int, seed: int, expired: Callable[[], bool]) -> Fitted:
    """Linear support vector machines, one a class against the rest; C is chosen, from strong to weak penalties."""
    best: Fitted | None = None
    for strength in SVM_STRENGTHS:
        machine = LinearSVC(C=strength, dual="auto", random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # validation judges what an unfinished fit is worth
            machine.fit(train.features, train.targets, sample_weight=train.weights)
        weight, bias = one_row_a_class(machine.coef_, machine.intercept_)
        loss, accuracy = judge(val.features @ weight.T + bias, val)
        if best is not None and loss >= best.val_loss:
            break
        best = Fitted(
            settings=f"C={strength:g}", head="linear", sizes={}, install=_linear(weight, bias),
            val_loss=loss, val_accuracy=accuracy,
        )  # fmt: skip
        if expired():
            break
    assert best is not None
    return best


def _linear(weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> Callable[[nn.Linear], None]:
    return lambda layer: install_linear(layer, weight, bias)


def fit_kernel_svm(train: Table, val: Table, classes: int, seed: int, expired: Callable[[], bool]) -> Fitted:
    """Support vector machines with an RBF kernel on principal components; C and the kernel's width are chosen.

    The kernel is computed once for each width and shared by the machines of all classes.
    """
    components = min(COMPONENTS, *(length - 1 for length in train.features.shape))
    analysis = PCA(components, svd_solver="randomized", random_state=seed).fit(train.features)
    projection = analysis.components_.astype(np.float32)
    offset = (-analysis.mean_ @ analysis.components_.T).astype(np.float32)
    points, val_points = (table.features @ projection.T + offset for table in (train, val))
    distances, val_distances = (_squared_distances(one, points) for one in (points, val_points))
    # Without each point's distance to itself.
    usual = 1 / float(np.median(distances[~np.eye(len(points), dtype=bool)]))
    machines = range(1, 2) if classes == 2 else range(classes)
    best: Fitted | None = None
    for width in KERNEL_WIDTHS:
        gamma = usual * width
        kernel, val_kernel = np.exp(-gamma * distances), np.exp(-gamma * val_distances)
        for strength in KERNEL_STRENGTHS:
            coefficients, bias = np.zeros((len(machines), len(points))), np.zeros(len(machines))
            for row, number in enumerate(machines):
                machine = SVC(C=strength, kernel="precomputed", cache_size=500)
                machine.fit(kernel, train.targets == number, sample_weight=train.weights)
                coefficients[row, machine.support_] = machine.dual_coef_[0]
                bias[row] = machine.intercept_[0]
            full, full_bias = one_row_a_class(coefficients, bias)
            loss, accuracy = judge(val_kernel @ full.T + full_bias, val)
            if best is None or loss < best.val_loss:
                used = np.flatnonzero(coefficients.any(axis=0))
                tensors = KernelTensors(
                    projection=projection, offset=offset, vectors=points[used], coefficients=coefficients[:, used],
                    bias=bias, gamma=gamma,
                )  # fmt: skip
                best = Fitted(
                    settings=f"C={strength:g}, gamma={gamma:.3g}, {len(used):,} support vectors, {components} "
                    "principal components",
                    head="kernel", sizes=tensors.sizes, install=tensors.install,
                    val_loss=loss, val_accuracy=accuracy,
                )  # fmt: skip
            if expired():
                return best
    assert best is not None
    return best


def _squared_distances(one: Floats, other: Floats) -> npt.NDArray[np.float64]:
    first, second = one.astype(np.float64), other.astype(np.float64)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(squares.clip(min=0))


def fit_boosting(train: Table, val: Table, classes: int, seed: int, expired: Callable[[], bool]) -> Fitted:
    """Gradient-boosted trees on the features that tell the classes apart best; the number of rounds is chosen.

    The features are those with the largest F of an analysis of variance on the training images: with a few thousand
    images, more of them cost time and bring nothing (docs/shallow.md).
    """
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # features that never change tell nothing: their F is no number
        telling = np.nan_to_num(f_classif(train.features, train.targets)[0], nan=0.0)
    columns = np.sort(np.argsort(-telling, kind="stable")[:TREE_FEATURES]).astype(np.int64)
    features, val_features = train.features[:, columns], val.features[:, columns]
    boosting = HistGradientBoostingClassifier(
        learning_rate=0.1, max_leaf_nodes=15, max_bins=32, l2_regularization=1.0, max_features=0.3,
        early_stopping=False, warm_start=True, random_state=seed,
    )  # fmt: skip
    best: tuple[float, float, int] | None = None
    for rounds in range(ROUNDS_BETWEEN, TREE_ROUNDS + 1, ROUNDS_BETWEEN):
        boosting.set_params(max_iter=rounds)
        boosting.fit(features, train.targets, sample_weight=train.weights)
        values = boosting.decision_function(val_features).reshape(len(val.targets), -1)
        decisions = np.concatenate([-values / 2, values / 2], axis=1) if classes == 2 else values
        loss, accuracy = judge(decisions, val)
        if best is not None and loss >= best[0]:
            break
        best = (loss, accuracy, rounds)
        if expired():
            break
    assert best is not None
    loss, accuracy, rounds = best
    tensors = TreeTensors.of(boosting, iterations=rounds, columns=columns)
    return Fitted(
        settings=f"{rounds} rounds, {len(tensors.roots):,} trees on {len(columns):,} features",
        head="trees", sizes=tensors.sizes, install=tensors.install, val_loss=loss, val_accuracy=accuracy,
    )  # fmt: skip


CANDIDATES: Mapping[str, Candidate] = {
    "logistic": Candidate(
        title="logistic regression",
        share=0.2,
        fit=fit_logistic,
        seconds=lambda images, features, classes: images * features * classes / 2.5e6,
        most_images=lambda seconds, features, classes: int(seconds * 2.5e6 / (features * classes)),
    ),
    "rbf-svm": Candidate(
        title="support vector machines with an RBF kernel",
        share=0.15,
        fit=fit_kernel_svm,
        seconds=lambda images, features, classes: images**2 * classes / 5e6,
        most_images=lambda seconds, features, classes: min(MOST_KERNEL_IMAGES, int(math.sqrt(seconds * 5e6 / classes))),
    ),
    "boosting": Candidate(
        title="gradient-boosted trees",
        share=0.2,
        fit=fit_boosting,
        seconds=lambda images, features, classes: (images / 800 + 2) * classes,
        most_images=lambda seconds, features, classes: int(max(0.0, seconds / classes - 2) * 800),
    ),
    "svm": Candidate(
        title="linear support vector machines",
        share=0.15,
        fit=fit_linear_svm,
        seconds=lambda images, features, classes: images * features * classes / 3e6,
        most_images=lambda seconds, features, classes: int(seconds * 3e6 / (features * classes)),
    ),
}
"""By name, in the order in which they are fitted."""


def fit_timed(
    name: str, train: Table, val: Table, *, classes: int, seed: int, expired: Callable[[], bool]
) -> tuple[Fitted, float]:
    """The fitted candidate, and the seconds that it took."""
    started = time.monotonic()
    return CANDIDATES[name].fit(train, val, classes, seed, expired), time.monotonic() - started


def drawn(targets: npt.NDArray[np.int64], most: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows of at most so many images, classes in proportion and each with one at least, in their order.

    A larger number draws the rows of a smaller one and others.
    """
    if len(targets) <= most:
        return np.arange(len(targets), dtype=np.int64)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(targets))
    # The place of each image among those of its class, as a share: the first of every class come first.
    place = np.empty(len(targets))
    for number in np.unique(targets):
        members = order[targets[order] == number]
        place[members] = np.arange(len(members)) / len(members)
    chosen = np.lexsort((np.arange(len(targets)), place))[:most]
    return np.sort(chosen).astype(np.int64)
