"""What a comparison found, in sentences that promise no more than the tests do."""

from __future__ import annotations

from collections.abc import Sequence

from eyebright.evaluation.compare import Contest, Pair
from eyebright.evaluation.estimate import Estimate
from eyebright.report.wording import count, listing, percent, plural

MINUS = "\N{MINUS SIGN}"
_NAMED = 6


def points(difference: float, *, sign: bool = True) -> str:
    """A difference of shares in points: 0.021 as `+2.1`."""
    shown = f"{abs(100 * difference):.1f}"
    if not sign or float(shown) == 0:
        return shown
    return f"{'+' if difference > 0 else MINUS}{shown}"


def points_range(estimate: Estimate) -> str:
    """The interval in points: `+0.4 to +3.9`."""
    return f"{points(estimate.low)} to {points(estimate.high)}"


def p_value(value: float) -> str:
    """`p < 0.001` or `p = 0.012`; never `p = 0.000` nor `p = 1.000`."""
    if value < 0.001:
        return "p < 0.001"
    return "p = 1" if value >= 0.9995 else f"p = {value:.3f}"


def verdict(contest: Contest) -> list[str]:
    """One to three sentences: who is best, who is tied, how sure that is, and what it would take to know more."""
    names, images = contest.names, plural(len(contest), "image")
    if len(names) == 1:
        return [f"{names[0]} stands alone: no other classifier was scored on these {images}."]
    tied = [name for name in contest.tied_with_best() if name != contest.best]
    rest = [name for name in names if name != contest.best and name not in tied]
    accuracy = percent(contest.metrics[contest.best].accuracy.value)
    if not tied:
        closest = contest.pair(contest.best, names[1])
        if len(names) == 2:
            sentences = [f"{contest.best} is better than {names[1]} on these {images}: {_difference(closest)}."]
        else:
            sentences = [
                f"{contest.best} is better than every other classifier on these {images}. The closest is {names[1]}, "
                f"{_difference(closest, ' behind', sign=False)}."
            ]
    else:
        sentences = [
            f"{contest.best} names the most of these {images} right ({accuracy}), but {_listed(tied)} cannot be told "
            f"apart from it{_smallest_gap(contest, tied)}."
        ]
        if rest:
            best = contest.pair(contest.best, rest[0])
            worse = "is" if len(rest) == 1 else "are"
            sentences.append(
                f"{_listed(rest)} {worse} worse than {contest.best}: "
                f"{'' if len(rest) == 1 else f'{rest[0]} by '}{_difference(best, sign=False)}."
            )
    sentences += _ties_below(contest, tied)
    needed = contest.images_needed()
    if tied and needed > len(contest):
        sentences.append(
            f"To find a difference of one point between the best two would take about {count(_rounded(needed))} images."
        )
    return sentences


def _difference(pair: Pair, after: str = "", *, sign: bool = True) -> str:
    value = points(pair.accuracy.value, sign=sign)
    low, high = (points(limit, sign=limit < 0) for limit in (pair.accuracy.low, pair.accuracy.high))
    return f"{value} points of accuracy{after} ({low} to {high}; {p_value(pair.adjusted_p)})"


def _smallest_gap(contest: Contest, tied: Sequence[str]) -> str:
    if len(tied) > 1:
        return ""
    pair = contest.pair(contest.best, tied[0])
    return f" ({points(pair.accuracy.value)} points, {points_range(pair.accuracy)}; {p_value(pair.adjusted_p)})"


def _ties_below(contest: Contest, tied: Sequence[str]) -> list[str]:
    """Neighbours further down that were not told apart, when the best is no part of it."""
    below = [name for name in contest.names if name != contest.best and name not in tied]
    groups: list[list[str]] = []
    for letter in dict.fromkeys("".join(contest.letters[name] for name in below)):
        members = [name for name in below if letter in contest.letters[name]]
        whole = [name for name in contest.names if letter in contest.letters[name]]
        if len(members) > 1 and members == whole:
            groups.append(members)
    return [f"{_listed(group)} cannot be told apart from each other." for group in groups[:2]]


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more"
    return listing(names)


def _rounded(number: int) -> int:
    """Two digits: an estimate should not look exact."""
    digits = max(0, len(str(number)) - 2)
    return round(number, -digits)


def alone_finding(contest: Contest) -> str:
    """How much the classifiers complement each other."""
    best = contest.metrics[contest.best].accuracy.value
    oracle, none = contest.any_right(), len(contest.none_right())
    more = points(oracle.value - best, sign=False)
    text = (
        f"If one always knew whom to believe, {percent(oracle.value)} would be right, {more} points more than "
        f"{contest.best} alone. "
    )
    if none == 0:
        return text + "Every image is named right by at least one of them."
    return text + f"{plural(none, 'image is', 'images are')} named right by none: look at their labels first."


def agreement_finding(contest: Contest) -> str:
    """Which two answer most alike."""
    agreement, names = contest.agreement(), contest.names
    pairs = [(agreement[one, other], one, other) for one in range(len(names)) for other in range(one)]
    most, one, other = max(pairs)
    least, first, second = min(pairs)
    if len(names) == 2:
        return f"The two give the same answer for {percent(float(most))} of the images, right or wrong."
    return (
        f"{names[other]} and {names[one]} answer most alike ({percent(float(most))} of the images get the same answer, "
        f"right or wrong), {names[second]} and {names[first]} least ({percent(float(least))})."
    )
