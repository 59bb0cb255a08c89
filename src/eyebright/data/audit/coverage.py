"""Whether there is enough of everything: images of each class, images to test it on, images fit to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from eyebright.config import SplitShares
from eyebright.data.audit import words
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Finding, Severity
from eyebright.data.audit.outliers import check_outliers
from eyebright.data.audit.quality import check_quality

IMBALANCE_NOTED = 3.0  # times the smallest class
IMBALANCE_WARNED = 10.0
WIDEST = 0.15  # half of the interval that a class may get before it counts as too small
ASSUMED_ACCURACY = 0.9  # for that interval
_QUANTILE = float(ndtri(0.975))


def check_coverage(
    evidence: Evidence,
    *,
    groups: Sequence[object] | npt.NDArray[Any] | None = None,
    shares: SplitShares | None = None,
) -> list[Finding]:
    """Balance of the classes, their size in the test split, quality of the images, and images unlike all others.

    Args:
        evidence: the images; outliers are looked for where it has embeddings.
        groups: one name an image; images of one group are copies or belong together. The content ids when None.
        shares: how the images are divided where the data brings no test split; the usual division when None.
    """
    groups = evidence.ids if groups is None else groups
    findings = []
    if len(evidence.manifest.classes) > 1 and any(label is not None for label in evidence.labels):
        findings += [_balance(evidence, groups), _evaluable(evidence, groups, shares or SplitShares())]
    return [*findings, *check_quality(evidence), *check_outliers(evidence, groups=groups)]


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """The 95 % interval (Wilson 1927) of a share that was found in `count` images; the count may be an expected one."""
    if count <= 0:
        return 0.0, 1.0
    spread = _QUANTILE**2 / count
    centre = (share + spread / 2) / (1 + spread)
    reach = _QUANTILE * (share * (1 - share) / count + spread / (4 * count)) ** 0.5 / (1 + spread)
    return max(0.0, centre - reach), min(1.0, centre + reach)


def least_test_images() -> int:
    """How many test images of a class give an interval of at most `WIDEST` to either side."""
    return next(count for count in range(1, 10_000) if _half_width(count) <= WIDEST)


def _half_width(count: float) -> float:
    low, high = wilson_interval(ASSUMED_ACCURACY, count)
    return (high - low) / 2


def _balance(evidence: Evidence, groups: Sequence[object] | npt.NDArray[Any]) -> Finding:
    counts = {name: int((evidence.labels == name).sum()) for name in evidence.manifest.classes}
    different = Counter(label for label, _ in set(zip(evidence.labels, groups, strict=True)))
    largest, smallest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    ratio = counts[largest] / max(1, counts[smallest])
    severity: Severity = "warning" if ratio >= IMBALANCE_WARNED else "note" if ratio >= IMBALANCE_NOTED else "passed"
    title = (
        f"The largest class, {largest} ({words.plural(counts[largest], 'image')}), is {ratio:.1f} times the smallest, "
        f"{smallest} ({words.count(counts[smallest])})"
    )
    if counts[largest] == counts[smallest]:
        title = f"Every class has {words.plural(counts[largest], 'image')}"
    return Finding(
        code="class-balance",
        section="coverage",
        severity=severity,
        title=title,
        count=0
        if severity == "passed"
        else sum(number * IMBALANCE_NOTED <= counts[largest] for number in counts.values()),
        why="A network that is unsure names the larger class. Accuracy hides it: look at the mean over the classes.",
        remedy=""
        if severity == "passed"
        else "Collect images of the small classes first. Training can weigh them more, which helps less.",
        details={
            "counts": counts,
            "imbalance_ratio": ratio,
            # Copies and images of one group count once: so much of each class is different.
            "different_images": {name: different[name] for name in counts if different[name] < counts[name]},
        },
    )


def _evaluable(evidence: Evidence, groups: Sequence[object] | npt.NDArray[Any], shares: SplitShares) -> Finding:
    """Classes whose accuracy would be known only within an interval that is too wide to be of use."""
    brought = "test" in set(evidence.splits)
    tested: dict[str, float] = {}
    for name in evidence.manifest.classes:
        own = evidence.labels == name
        tested[name] = float((own & (evidence.splits == "test")).sum() if brought else own.sum() * shares.test)
    small = sorted((name for name in tested if _half_width(tested[name]) > WIDEST), key=lambda name: tested[name])
    least = least_test_images()
    intervals = {name: wilson_interval(ASSUMED_ACCURACY, number) for name, number in tested.items()}
    worst = min(tested, key=lambda name: tested[name])
    assumed, low, high = (words.percent(share) for share in (ASSUMED_ACCURACY, *intervals[worst]))
    expected = f"{'' if brought else 'about '}{words.plural(round(tested[worst]), 'test image')}"
    if small:
        others = words.plural(len(small) - 1, "other class", "other classes")
        has = f"{worst} has" if len(small) == 1 else f"{worst} and {others} have"
        title = f"{has} too few images to be evaluated: {worst} gets {expected}"
    else:
        title = f"Every class has enough images to be evaluated: {worst}, the smallest, gets {expected}"
    enough = least if brought else int(np.ceil(least / shares.test))
    return Finding(
        code="small-classes",
        section="coverage",
        severity="warning" if small else "passed",
        title=title,
        count=len(small),
        why=f"If {assumed} of its test images were right, the accuracy of {worst} would be known as {low} to {high}.",
        remedy=f"Collect at least {words.plural(enough, 'image')} of each{' to test on' if brought else ''}, or do not "
        "rely on figures of these classes."
        if small
        else "",
        details={
            "classes": [
                {
                    "class": name,
                    "test_images": round(tested[name], 1),
                    "accuracy": ASSUMED_ACCURACY,
                    "low": intervals[name][0],
                    "high": intervals[name][1],
                }
                for name in sorted(tested, key=lambda name: tested[name])
            ]
        },
    )
