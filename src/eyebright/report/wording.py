"""Numbers as people read them, and the sentences that say what a figure means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eyebright.evaluation.estimate import WILSON, Estimate
from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.predictions import Predictions

SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_CONFIDENT = 0.9


def sentence(text: str) -> str:
    """A line of a log as a sentence: a capital letter before it and a full stop behind it."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def percent(share: float, digits: int = 1) -> str:
    """0.8239 as `82.4 %`; never rounded up to 100 % nor down to 0 %."""
    shown = f"{100 * share:.{digits}f}"
    smallest = 10.0**-digits
    if float(shown) >= 100 and share < 1:
        shown = f"{100 - smallest:.{digits}f}"
    if float(shown) <= 0 and share > 0:
        shown = f"{smallest:.{digits}f}"
    return f"{shown}{NARROW_SPACE}%"


def percent_range(estimate: Estimate) -> str:
    """The interval as `79.3 to 85.1 %`."""
    return f"{100 * estimate.low:.1f} to {percent(estimate.high)}"


def count(number: int) -> str:
    """12345 as `12,345`."""
    return f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds as `48 s`, `4 min 37 s` or `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60:02d} min" if whole % 3600 // 60 else "")


def small_number(value: float, digits: int = 2) -> str:
    """0.00075 as `7.5e-4`, 0.25 as `0.25`; small numbers have this many digits at most."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").removesuffix(".")
    return f"{mantissa}e{int(exponent)}"


def size(number: int) -> str:
    """Bytes as `71.3 MB`."""
    value, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.3g} {units[0]}"


def listing(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def always_the_largest_class(metrics: Metrics) -> tuple[str, float]:
    """The accuracy that needs no classifier: the name and share of the most frequent true class."""
    largest = max(metrics.per_class, key=lambda row: row.support)
    return largest.name, largest.support / metrics.images


def confused_pairs(metrics: Metrics, most: int = 8) -> list[dict[str, Any]]:
    """The pairs (true, predicted) behind most mistakes: `true, predicted, count, support, share`.

    `share` is an Estimate: of the images of the true class, with Wilson's interval.
    """
    confusion = np.asarray(metrics.confusion)
    wrong = confusion - np.diag(np.diag(confusion))
    pairs = []
    for cell in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        true, predicted = divmod(int(cell), len(confusion))
        number = int(wrong[true, predicted])
        if number == 0:
            break
        support = int(confusion[true].sum())
        low, high = wilson(number, support)
        pairs.append({
            "true": metrics.classes[true], "predicted": metrics.classes[predicted], "count": number, "support": support,
            "share": Estimate(number / support, float(low), float(high), WILSON),
        })  # fmt: skip
    return pairs


def data_finding(class_counts: Mapping[str, Mapping[str, int]]) -> str:
    """How many images there are for what, and how uneven the classes are."""
    sizes = {split: sum(classes.values()) for split, classes in class_counts.items()}
    totals: dict[str, int] = {}
    for classes in class_counts.values():
        for name, number in classes.items():
            totals[name] = totals.get(name, 0) + number
    largest, smallest = max(totals, key=lambda n: totals[n]), min(totals, key=lambda n: totals[n])
    parts = listing([f"{count(number)} {SPLIT_NAMES.get(split, split)}" for split, number in sizes.items()])
    ratio = totals[largest] / max(1, totals[smallest])
    balance = (
        f"Every class has {plural(totals[largest], 'image')}."
        if totals[largest] == totals[smallest]
        else f"The classes are about the same size ({count(totals[smallest])} to {count(totals[largest])} images)."
        if ratio < 1.25
        else f"The largest class, {largest} ({count(totals[largest])}), is {ratio:.1f} times the smallest, "
        f"{smallest} ({count(totals[smallest])})."
    )
    return f"{plural(sum(sizes.values()), 'image')} in {plural(len(totals), 'class', 'classes')}: {parts}. {balance}"


def curves_finding(history: Sequence[Mapping[str, Any]]) -> str:
    """Where validation accuracy was best."""
    scored = [row for row in history if row.get("val_accuracy") is not None]
    if not scored:
        return "No validation accuracy was recorded."
    best = max(scored, key=lambda row: float(row["val_accuracy"]))
    place = f"in stage {best['stage']}" if len({row.get("stage") for row in history}) > 1 else ""
    epoch = "" if best.get("epoch") is None else f"at epoch {best['epoch']}"
    where = " ".join(part for part in (place, epoch) if part)
    return f"Validation accuracy was best {where}".rstrip() + f": {percent(best['val_accuracy'])}."


def confusion_finding(metrics: Metrics) -> str:
    """Which mistakes it makes most."""
    wrong = metrics.images - sum(row[index] for index, row in enumerate(metrics.confusion))
    if wrong == 0:
        return f"All {plural(metrics.images, 'image')} are on the diagonal: no mistake was made."
    pairs = confused_pairs(metrics, 3)
    first = pairs[0]
    diagonal = f"{count(metrics.images - wrong)} of {count(metrics.images)} images lie on the diagonal."
    if len(pairs) == 3 and pairs[2]["count"] == first["count"]:
        return f"{diagonal} No pair of classes stands out: none is confused more than {plural(first['count'], 'time')}."
    return (
        f"{diagonal} The most common mistake is to take {first['true']} for {first['predicted']}: "
        f"{plural(first['count'], 'image')}, {percent(first['share'].value, 0)} of all {first['true']} images."
    )


def classes_finding(metrics: Metrics) -> str:
    """Which classes are hardest and easiest."""
    rows = sorted((row for row in metrics.per_class if row.support), key=lambda row: row.f1.value)
    if len(rows) < 2:
        return ""
    worst, best = rows[0], rows[-1]
    text = f"Hardest is {worst.name} (F1 {percent(worst.f1.value)}), easiest {best.name} ({percent(best.f1.value)}). "
    if worst.f1.high >= best.f1.low:
        return text + "Their intervals overlap: with this many images the order of the classes is not certain."
    return text + "Their intervals do not overlap."


def calibration_finding(predictions: Predictions, metrics: Metrics) -> str:
    """Whether confidence can be taken at its word."""
    claimed, right = float(predictions.probabilities().max(axis=1).mean()), metrics.accuracy.value
    if metrics.accuracy.low <= claimed <= metrics.accuracy.high:
        verdict = "That is within what chance allows: the confidence can be taken at its word."
    elif claimed > right:
        verdict = f"It is overconfident by {100 * (claimed - right):.1f} points."
    else:
        verdict = f"It is underconfident by {100 * (right - claimed):.1f} points: it is better than it says."
    return f"On average it claims {percent(claimed)} and is right {percent(right)} of the time. {verdict}"


def mistakes_finding(predictions: Predictions) -> str:
    """How many mistakes were made with confidence."""
    wrong = predictions.predicted_index() != predictions.labels_index()
    confident = wrong & (predictions.probabilities().max(axis=1) > _CONFIDENT)
    number = int(wrong.sum())
    if number == 0:
        return "No image was misclassified."
    share = f"{count(int(confident.sum()))} of them" if confident.any() else "none of them"
    return (
        f"{plural(number, 'image')} of {count(len(predictions))} {'is' if number == 1 else 'are'} misclassified, "
        f"{share} with a confidence above {percent(_CONFIDENT, 0)}. Look at the label first: where it is wrong, "
        f"the classifier may be right."
    )
