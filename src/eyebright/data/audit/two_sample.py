"""Two-sample tests: may these images have been drawn from where those were?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

PERMUTATIONS = 999
DIMENSIONS = 64  # of the embeddings after a principal component analysis
_LEAST_EXPECTED = 5.0  # images of a category in a split; rarer ones are counted together
_FOLDS = 5

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]


class Comparison(NamedTuple):
    """Outcome of a test.

    Attributes:
        statistic: the effect, from 0 (no difference) to 1.
        p_value: how often chance alone would make it as large.
    """

    statistic: float
    p_value: float


def compare_numbers(one: Numbers, other: Numbers) -> Comparison:
    """Kolmogorov and Smirnov's test: the largest distance between the two cumulative distributions."""
    found = stats.ks_2samp(one, other, method="asymp")
    return Comparison(float(found.statistic), float(found.pvalue))


def compare_categories(one: Sequence[object], other: Sequence[object]) -> Comparison:
    """A chi-squared test of homogeneity; the effect is the share of images that would have to change category."""
    names = sorted({*one, *other}, key=str)
    code = {name: number for number, name in enumerate(names)}
    counts = np.array(
        [np.bincount([code[name] for name in some], minlength=len(names)) for some in (one, other)], dtype=np.float64
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    # The test is about large counts: the rarest categories are counted together until they are enough.
    smaller = counts.sum(axis=1).min() / counts.sum()
    table = counts[:, np.argsort(counts.sum(axis=0), kind="stable")]
    while table.shape[1] > 1 and table[:, 0].sum() * smaller < _LEAST_EXPECTED:
        table = np.concatenate([table[:, :2].sum(axis=1, keepdims=True), table[:, 2:]], axis=1)
    if table.shape[1] < 2:
        return Comparison(distance, 1.0)
    return Comparison(distance, float(stats.chi2_contingency(table, correction=False).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the given order."""
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    corrected = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    found = np.empty(len(p_values))
    found[order] = corrected
    return [float(value) for value in found]


def principal_components(embeddings: npt.NDArray[np.float32]) -> Numbers:
    """The first `DIMENSIONS` principal components, float64 (N, at most 64)."""
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(left[:, :DIMENSIONS] * scale[:DIMENSIONS], dtype=np.float64)


def mean_discrepancy(points: Numbers, second: npt.NDArray[np.bool_], strata: Codes, *, seed: int) -> Comparison:
    """Maximum mean discrepancy with a Gaussian kernel as wide as the median distance, tested by permutations.

    Gretton et al., A Kernel Two-Sample Test (2012). Memberships are permuted within strata only, so that a difference
    in the shares of the strata (the classes) is none.

    Args:
        points: float64 (N, D).
        second: bool (N,), true for the images of the second sample.
        strata: int64 (N,); each holds equal shares of both samples, or as equal as can be.
        seed: of the permutations.

    Returns:
        The square root of the discrepancy over its largest possible value, and the p-value.
    """
    squared = pdist(points, "sqeuclidean")
    width = float(np.median(squared)) or 1.0
    kernel = np.exp(-squareform(squared) / width).astype(np.float32)
    random = np.random.default_rng(seed)
    # Row 0 is what was found, the others are permuted: one matrix product gives all.
    members = np.tile(second, (PERMUTATIONS + 1, 1))
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        members[1:, rows] = random.permuted(members[1:, rows], axis=1)
    weights = np.where(members, 1 / second.sum(), -1 / (~second).sum()).astype(np.float32)  # (permutations, N)
    discrepancies = ((weights @ kernel) * weights).sum(axis=1, dtype=np.float64)
    found = discrepancies[0]
    # Rounding must not make a permutation that changes nothing look smaller.
    p_value = (1 + int((discrepancies[1:] >= found - 1e-7).sum())) / (PERMUTATIONS + 1)
    return Comparison(float(max(0.0, found / 2) ** 0.5), p_value)


def told_apart(points: Numbers, second: npt.NDArray[np.bool_], groups: Codes, *, seed: int) -> tuple[float, Numbers]:
    """How well a linear classifier tells the samples apart, out of fold (Lopez-Paz and Oquab 2017).

    Args:
        points: float64 (N, D).
        second: bool (N,).
        groups: int64 (N,); groups stay in one fold.
        seed: of the folds.

    Returns:
        The area under its ROC curve, 0.5 when it cannot, and its scores, float64 (N,), high for the second sample.
    """
    _, groups = np.unique(groups, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups] % _FOLDS
    scores = np.zeros(len(points))
    for fold in range(_FOLDS):
        held_out = folds == fold
        if not held_out.any() or len(np.unique(second[~held_out])) < 2:
            continue
        # Even priors: the sizes of the splits must not decide.
        learner = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1, priors=[0.5, 0.5])
        scores[held_out] = learner.fit(points[~held_out], second[~held_out]).decision_function(points[held_out])
    ranks = stats.rankdata(scores)
    m, n = int(second.sum()), int((~second).sum())
    return float((ranks[second].sum() - m * (m + 1) / 2) / (m * n)), scores
