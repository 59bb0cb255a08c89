"""Whether a method looks at the weights at all: its maps against those of the same network with random weights.

Adebayo et al. 2018 (arXiv:1810.03292): a map that hardly changes when everything learnt is thrown away shows the image,
not what the classifier has learnt about it. Weights are made random from the last layer downwards ("cascading").
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage, stats
from torch import nn

from eyebright.bundle import Bundle
from eyebright.models.catalog import create_network
from eyebright.progress import Progress, Silent

Floats = npt.NDArray[np.float64]
Heat = npt.NDArray[np.float32]
MapsOf = Callable[[nn.Module, str], Heat]
"""Heat maps (N, H, W) of the same images and classes for a network and the name of a method."""

STAGES = {"classifier": 0.0, "upper half": 0.5, "all": 1.0}
"""How much of the network is made random, in layers from the last one down; at least the last one."""
ALIKE = 0.5
"""From this mean rank correlation with a random network's maps on, a method is said to ignore the weights."""
_WINDOW = 7
_COMPARED_SIDE = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class SanityCheck:
    """How alike the maps of the trained network and of random ones are, for one method.

    Attributes:
        method: its name.
        rank_correlation: Spearman's, mean over images, for each stage of `STAGES`; 1 for equal maps, 0 for unrelated.
        structure: structural similarity (SSIM), mean over images, for each stage; 1 for equal maps.
        ignores_weights: the maps stay alike when all weights are random.
    """

    method: str
    rank_correlation: dict[str, float]
    structure: dict[str, float]
    ignores_weights: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


def check_methods(
    network: nn.Module,
    untrained: nn.Module,
    images: torch.Tensor,
    methods: Sequence[str],
    maps_of: MapsOf,
    *,
    progress: Progress | None = None,
) -> list[SanityCheck]:
    """Compare each method's maps of the trained network with those of the partly and wholly random one.

    Args:
        network: trained; left as it was.
        untrained: the same architecture with weights as they are before training (`untrained_network`).
        images: normalised, (N, C, H, W), five or more.
        methods: names.
        maps_of: makes the maps of these images.
        progress: told of each network.
    """
    correlations: dict[str, dict[str, float]] = {method: {} for method in methods}
    structures: dict[str, dict[str, float]] = {method: {} for method in methods}
    with (progress or Silent()).task("the same with random weights", len(STAGES) + 1, "networks") as task:
        trained = {method: maps_of(network, method) for method in methods}
        task.advance()
        for stage, share in STAGES.items():
            randomised = partly_random(network, untrained, share, images)
            for method in methods:
                other = maps_of(randomised, method)
                correlations[method][stage] = float(rank_correlations(trained[method], other).mean())
                structures[method][stage] = float(structural_similarities(trained[method], other).mean())
            task.advance()
    return [
        SanityCheck(
            method=method,
            rank_correlation=correlations[method],
            structure=structures[method],
            ignores_weights=correlations[method]["all"] >= ALIKE,
        )
        for method in methods
    ]


def untrained_network(bundle: Bundle, *, seed: int = 0) -> nn.Module:
    """The bundle's network with weights as they are before training. The user's random state stays as it is."""
    record = bundle.record
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create_network(
            record.architecture,
            classes=len(record.classes),
            channels=record.preprocess.channels,
            pretrained=False,
            arguments=record.architecture_arguments,
        ).eval()


def partly_random(network: nn.Module, untrained: nn.Module, share: float, images: torch.Tensor) -> nn.Module:
    """A copy of `network` whose last layers, this share of all that have weights, have those of `untrained`.

    Layers count in the order in which the network registers them, which is that of calling in nearly all networks.
    Batch norms among them take their statistics from the images, so that no random layer swells or starves the next.

    Args:
        network: trained; left as it was.
        untrained: of the same architecture.
        share: 0 to 1; at least the last layer is replaced.
        images: normalised, (N, C, H, W), two or more.
    """
    made = copy.deepcopy(network).eval()
    sources, targets = dict(untrained.named_modules()), dict(made.named_modules())
    owners = [name for name, module in targets.items() if any(True for _ in module.parameters(recurse=False))]
    replaced = owners[-max(1, round(share * len(owners))) :]
    with torch.no_grad():
        for name in replaced:
            theirs = dict(_own_tensors(sources[name]))
            for key, value in _own_tensors(targets[name]):
                value.copy_(theirs[key])
        norms = [targets[name] for name in replaced if isinstance(targets[name], nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean
            norm.train()
        if norms:
            made(images)
    return made.eval()


def _own_tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def rank_correlations(ours: Heat, theirs: Heat) -> Floats:
    """Spearman's correlation of each pair of maps (N, H, W), after averaging over at most 32 x 32 cells.

    A map that is the same everywhere is related to nothing: 0.
    """
    one, other = (coarse(maps, _COMPARED_SIDE).reshape(len(maps), -1) for maps in (ours, theirs))
    return np.array([_rank_correlation(a, b) for a, b in zip(one, other, strict=True)])


def structural_similarities(ours: Heat, theirs: Heat) -> Floats:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) of pairs of maps (N, H, W) in [0, 1]."""
    return np.array(
        [_structural(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(ours, theirs, strict=True)]
    )


def coarse(maps: Heat, most: int) -> Floats:
    """Maps (N, H, W) averaged over the cells of a grid with at most so many rows and columns."""
    height, width = maps.shape[1:]
    rows, columns = (np.linspace(0, side, min(most, side) + 1).astype(int) for side in (height, width))
    sums = np.add.reduceat(np.add.reduceat(maps.astype(np.float64), rows[:-1], axis=1), columns[:-1], axis=2)
    return np.asarray(sums / (np.diff(rows)[:, None] * np.diff(columns)[None]))


def _rank_correlation(a: Floats, b: Floats) -> float:
    return float(stats.spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def _structural(a: Floats, b: Floats) -> float:
    window = min(_WINDOW, *a.shape)
    window -= 1 - window % 2  # odd, so that it has a middle
    unbiased = window**2 / max(1, window**2 - 1)

    def local(values: Floats) -> Floats:
        return np.asarray(ndimage.uniform_filter(values, window))

    mean_a, mean_b = local(a), local(b)
    variance_a = unbiased * (local(a * a) - mean_a**2)
    variance_b = unbiased * (local(b * b) - mean_b**2)
    shared = unbiased * (local(a * b) - mean_a * mean_b)
    small, smaller = 0.01**2, 0.03**2
    similarity = ((2 * mean_a * mean_b + small) * (2 * shared + smaller)) / (
        (mean_a**2 + mean_b**2 + small) * (variance_a + variance_b + smaller)
    )
    edge = (window - 1) // 2
    return float(similarity[edge : len(similarity) - edge, edge : similarity.shape[1] - edge].mean())
