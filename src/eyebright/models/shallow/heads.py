"""Classifiers of scikit-learn as torch modules: their numbers as tensors, their decisions to rounding.

Two classes have one decision value in scikit-learn; here they have a logit each, minus and plus half of it, so that
their softmax is the sigmoid of that value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from eyebright.models.shallow.features import wide

Floats = npt.NDArray[np.float64]


class KernelMachines(nn.Module):
    """Support vector machines with an RBF kernel, one a class against the rest, on principal components.

    Args:
        features: length F of a vector of features.
        components: number D of principal components.
        vectors: number M of support vectors, of all machines together.
        classes: K.
    """

    gamma: torch.Tensor

    def __init__(self, features: int, *, components: int, vectors: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(features, components)
        self.vectors = nn.Parameter(torch.zeros(vectors, components))
        self.machines = nn.Linear(vectors, classes)
        self.register_buffer("gamma", torch.tensor(1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, F) to decision values (B, K)."""
        # In float64 behind the projection: a distance is a small difference of large squares, and many terms of both
        # signs are added up, so that in float32 runtimes would differ in the fifth digit of a probability.
        points, vectors = wide(self.projection(features)), wide(self.vectors)
        squares = (points * points).sum(1, keepdim=True) + (vectors * vectors).sum(1)
        distances = (squares - 2 * points @ vectors.T).clamp(min=0)
        kernel = torch.exp(-wide(self.gamma) * distances)
        return F.linear(kernel, wide(self.machines.weight), wide(self.machines.bias)).float()


class Trees(nn.Module):
    """Gradient-boosted trees: every tree is walked down the same number of steps, from node to node by gathering.

    All nodes stand in one list. A leaf is its own child, so that steps beyond it change nothing.

    Args:
        trees: number of trees T; tree t adds to output t % outputs.
        nodes: number of nodes of all trees.
        steps: depth of the deepest tree.
        classes: K.
    """

    roots: torch.Tensor
    feature: torch.Tensor
    below: torch.Tensor
    above: torch.Tensor

    def __init__(self, *, trees: int, nodes: int, steps: int, classes: int) -> None:
        super().__init__()
        self.steps = steps
        self.outputs = 1 if classes == 2 else classes
        for name, length in (("roots", trees), ("feature", nodes), ("below", nodes), ("above", nodes)):
            self.register_buffer(name, torch.zeros(length, dtype=torch.int64))
        self.threshold = nn.Parameter(torch.zeros(nodes))
        self.value = nn.Parameter(torch.zeros(nodes))
        self.baseline = nn.Parameter(torch.zeros(self.outputs))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, F) to decision values (B, K)."""
        node = self.roots.expand(features.shape[0], -1)  # (B, T)
        for _ in range(self.steps):
            found = features.gather(1, self.feature[node])
            node = torch.where(found <= self.threshold[node], self.below[node], self.above[node])
        sums = self.value[node].view(features.shape[0], -1, self.outputs).sum(1) + self.baseline
        return torch.cat([-sums / 2, sums / 2], dim=1) if self.outputs == 1 else sums


def one_row_a_class(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Coefficients (K, F) and (K,) from scikit-learn's, which are (1, F) and (1,) for two classes."""
    if len(weight) > 1:
        return weight, bias
    return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2


@torch.no_grad()
def install_linear(layer: nn.Linear, weight: Floats, bias: Floats) -> None:
    """Put the coefficients of a linear classifier of scikit-learn (`coef_`, `intercept_`) into a layer."""
    weight, bias = one_row_a_class(weight, bias)
    layer.weight.copy_(torch.from_numpy(weight))
    layer.bias.copy_(torch.from_numpy(bias))


@dataclasses.dataclass(frozen=True, kw_only=True)
class KernelTensors:
    """Machines with an RBF kernel on principal components.

    Attributes:
        projection, offset: (D, F) and (D,): components = features @ projection.T + offset.
        vectors: (M, D), the support vectors of all machines.
        coefficients, bias: (K, M) and (K,), or of one machine for two classes.
        gamma: of the kernel exp(-gamma * squared distance).
    """

    projection: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    vectors: npt.NDArray[np.float32]
    coefficients: Floats
    bias: Floats
    gamma: float

    @property
    def sizes(self) -> dict[str, int]:
        """What `KernelMachines` must be made with."""
        return {"components": len(self.projection), "vectors": len(self.vectors)}

    @torch.no_grad()
    def install(self, head: KernelMachines) -> None:
        """Put them into a head of these sizes."""
        weight, bias = one_row_a_class(self.coefficients, self.bias)
        head.projection.weight.copy_(torch.from_numpy(self.projection))
        head.projection.bias.copy_(torch.from_numpy(self.offset))
        head.vectors.copy_(torch.from_numpy(self.vectors))
        head.machines.weight.copy_(torch.from_numpy(weight))
        head.machines.bias.copy_(torch.from_numpy(bias))
        head.gamma.fill_(self.gamma)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeTensors:
    """The trees of a `HistGradientBoostingClassifier`.

    Attributes:
        roots: int64 (T,), index of the first node of each tree.
        feature, below, above: int64 (N,), what a node looks at, and where it leads: values up to the threshold go to
            `below`.
        threshold, value: float32 (N,).
        baseline: float32 (outputs,).
        steps: depth of the deepest tree.
    """

    roots: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int64]
    below: npt.NDArray[np.int64]
    above: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    value: npt.NDArray[np.float32]
    baseline: npt.NDArray[np.float32]
    steps: int

    @classmethod
    def of(cls, boosting: Any, *, iterations: int, columns: npt.NDArray[np.int64]) -> TreeTensors:
        """The trees of the first `iterations` of a fitted `HistGradientBoostingClassifier`.

        Args:
            boosting: fitted on float32 features without missing values or categories.
            iterations: how many rounds are kept.
            columns: (F',), which features of the network it was fitted on.
        """
        trees = [tree.nodes for rounds in boosting._predictors[:iterations] for tree in rounds]
        sizes = [len(nodes) for nodes in trees]
        roots = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
        nodes = np.concatenate(trees)
        own = np.arange(len(nodes), dtype=np.int64)
        first = np.repeat(roots, sizes)
        leaf = nodes["is_leaf"].astype(bool)
        return cls(
            roots=roots,
            feature=np.where(leaf, 0, columns[np.where(leaf, 0, nodes["feature_idx"])]).astype(np.int64),
            below=np.where(leaf, own, first + nodes["left"]),
            above=np.where(leaf, own, first + nodes["right"]),
            threshold=_not_above(np.where(leaf, 0.0, nodes["num_threshold"])),
            value=nodes["value"].astype(np.float32),
            baseline=np.asarray(boosting._baseline_prediction, dtype=np.float32).reshape(-1),
            steps=int(max(nodes["depth"])),
        )

    @property
    def sizes(self) -> dict[str, int]:
        """What `Trees` must be made with."""
        return {"trees": len(self.roots), "nodes": len(self.feature), "steps": self.steps}

    @torch.no_grad()
    def install(self, head: Trees) -> None:
        """Put them into a head of these sizes."""
        names: Sequence[str] = ("roots", "feature", "below", "above", "threshold", "value", "baseline")
        for name in names:
            getattr(head, name).copy_(torch.from_numpy(getattr(self, name)))


def _not_above(thresholds: Floats) -> npt.NDArray[np.float32]:
    """The largest float32 at or below each threshold: a float32 feature is on the same side of both."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
