"""Images unlike all others, by the distance of their embedding to its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding

NEIGHBOURS = 10
# Robust standard deviations above the median, on a logarithmic scale. With the default network the largest of flowers
# is 2.6, that of trashnet 2.5; 95 % of trashnet's images put among flowers are above 2.9, of flowers among trashnet
# above 3.4.
NOTED = 2.0
CLEAR = 2.8
CLEAR_TIMES = 1.5  # times the median distance: where the distances hardly differ, the score alone says little
MOST_COMPARED = 20_000  # more images are compared with so many of them, drawn at random
_BLOCK = 1024
_EXAMPLES = 24


def check_outliers(
    evidence: Evidence, *, groups: Sequence[object] | npt.NDArray[Any] | None = None, seed: int = 0
) -> list[Finding]:
    """A finding about the images that are farthest from their neighbours; nothing without embeddings.

    Args:
        evidence: the images.
        groups: one name an image; copies of an image are no neighbours of it. The content ids when None.
        seed: of the sample that a large set is compared with.
    """
    if evidence.embeddings is None or len(evidence) <= 2 * NEIGHBOURS:
        return []
    _, codes = np.unique([str(group) for group in (evidence.ids if groups is None else groups)], return_inverse=True)
    distances = neighbour_distances(evidence.embeddings, codes, seed=seed)
    scores = outlier_scores(distances)
    rows = np.flatnonzero(scores >= NOTED)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    clear = int(((scores >= CLEAR) & (distances >= CLEAR_TIMES * np.median(distances))).sum())
    if len(rows) == 0:
        return [
            Finding(
                code="outliers",
                section="coverage",
                severity="passed",
                title="No image is unlike all others",
                count=0,
                why="The distances to the nearest neighbours have no long tail.",
            )
        ]
    if clear:
        title = f"{words.plural(clear, 'image')} {'is' if clear == 1 else 'are'} unlike all others"
    else:
        title = f"{words.plural(len(rows), 'image')} {'is' if len(rows) == 1 else 'are'} somewhat unlike the others"
    return [
        Finding(
            code="outliers",
            section="coverage",
            severity="warning" if clear else "note",
            title=title,
            count=clear or len(rows),
            why="A wrong file, another subject or another kind of picture (a drawing, a screenshot) looks like this; "
            "so does a rare view that is right.",
            remedy="Look at them, and leave out what does not belong.",
            examples=[
                Example(
                    (evidence.ref(int(row), f"distance {distances[row]:.2f}, usual {np.median(distances):.2f}"),),
                    score=float(scores[row]),
                )
                for row in rows[:_EXAMPLES]
            ],
            details={
                "clearly_unlike": clear,
                "somewhat_unlike": len(rows) - clear,
                "median_distance": float(np.median(distances)),
                "largest_distance": float(distances.max()),
            },
        )
    ]


def neighbour_distances(
    embeddings: npt.NDArray[np.float32], groups: npt.NDArray[np.int64], *, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Mean cosine distance to the `NEIGHBOURS` nearest images of other groups, float64 (N,).

    Up to `MOST_COMPARED` images are compared with all, more with a sample of that size, in blocks: time grows with N,
    memory does not.

    Args:
        embeddings: float32 (N, F), rows of length one.
        groups: int64 (N,).
        seed: of the sample.
    """
    others = np.arange(len(embeddings))
    if len(others) > MOST_COMPARED:
        others = np.sort(np.random.default_rng(seed).choice(others, MOST_COMPARED, replace=False))
    distances = np.empty(len(embeddings))
    for start in range(0, len(embeddings), _BLOCK):
        block = slice(start, start + _BLOCK)
        similarity = embeddings[block] @ embeddings[others].T  # (block, others)
        similarity[groups[block][:, None] == groups[others][None, :]] = -1.0
        similarity.partition(similarity.shape[1] - NEIGHBOURS, axis=1)
        distances[block] = 1 - similarity[:, -NEIGHBOURS:].mean(axis=1)
    return distances


def outlier_scores(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Robust standard deviations (median and median absolute deviation) above the median, on a logarithmic scale."""
    spread = np.log(np.maximum(distances, 1e-6))
    middle = np.median(spread)
    scale = 1.4826 * np.median(np.abs(spread - middle))
    return np.asarray((spread - middle) / max(float(scale), 1e-6), dtype=np.float64)
