"""The parts of a model card's body that turn numbers into sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.bundle import BundleRecord
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.metrics import ClassMetrics, Metrics

_WEAKEST = 3
_FEW_IMAGES = 30
_LISTED_CLASSES = 30


def evaluation(test: Metrics, images: Mapping[str, int]) -> list[str]:
    """Every number with its interval, then every class."""
    return [
        f"On {_plural(test.images, 'test image')} that were scored once ({images.get('train', 0)} were trained on; "
        f"{images.get('val', 0)} chose among weights and fitted what is concluded from the output). The intervals hold "
        "the value on endless images like these in about 95 of 100 cases.",
        "",
        "| metric | value | 95 % interval | method |",
        "|---|---|---|---|",
        *(_row(name, estimate) for name, estimate in test.estimates()),
        "",
        "| class | precision | recall | F1 | AUROC | test images |",
        "|---|---|---|---|---|---|",
        *(_class_row(row) for row in test.per_class),
        *_detectable(test),
    ]


def limits(record: BundleRecord, test: Metrics, *, robustness: Mapping[str, Any]) -> list[str]:
    """What it should not be trusted with, as far as the numbers say."""
    lines = [
        "- It knows the classes above and no others. For an image of anything else it names one of them all the same"
        + (
            ", unless its outlier score is looked at (see below)."
            if record.decisions.outliers is not None
            else "; nothing warns of that."
        ),
        "- Everything here was measured on test images from the same source as the training images. Other cameras, "
        "places or times were not tested.",
        *_weakest(test),
        *_confused(test),
        *_trust(test),
    ]
    few = [row for row in test.per_class if row.support < _FEW_IMAGES]
    if few:
        names = _listing([f"{row.name} ({row.support})" for row in few[:10]], len(few) - 10)
        lines.append(f"- Classes with fewer than {_FEW_IMAGES} test images, of which little is known: {names}.")
    lines.append(_robust(robustness))
    return lines


def conclusions(record: BundleRecord, measured: Mapping[str, Any]) -> list[str]:
    """Calibration, prediction sets, abstention and outliers: what was promised and what the test images gave."""
    decisions = record.decisions
    found = [
        f"- Probabilities: {decisions.calibration.describe()}, fitted on validation images. It is inside `model.onnx`."
    ]
    if decisions.sets is not None:
        part, text = measured.get("sets", {}), ""
        if "coverage" in part:
            text = f" On the test images {_share(part['coverage'])}, with {part['mean_size']:.2f} classes on average."
        found.append(
            f"- Prediction sets ({decisions.sets.method.upper()}): hold the true class for at least "
            f"{100 * decisions.sets.coverage:g} % of images like these.{text}"
        )
    if decisions.selection is not None:
        found.append(_selection(decisions.selection.error_rate, decisions.selection.threshold, measured))
    if decisions.outliers is not None:
        found.append(
            f"- Images unlike the training images are flagged by their {decisions.outliers.used}, with "
            f"{100 * decisions.outliers.false_alarms:g} % false alarms on images like the training images."
        )
    return found


def class_names(classes: Sequence[str], superclasses: Mapping[str, str]) -> list[str]:
    """The classes, below their superclasses where there are some."""
    if not superclasses:
        return [f"Classes: {_listing(list(classes[:_LISTED_CLASSES]), len(classes) - _LISTED_CLASSES)}."]
    members: dict[str, list[str]] = {}
    for name, above in superclasses.items():
        members.setdefault(above, []).append(name)
    rows = [f"{above} ({', '.join(names)})" for above, names in members.items()]
    return [f"The classes have {len(members)} superclasses: {'; '.join(rows)}."]


def _row(name: str, estimate: Estimate) -> str:
    interval = f"{estimate.low:.4f} to {estimate.high:.4f}"
    return f"| {name.replace('_', ' ')} | {estimate.value:.4f} | {interval} | {estimate.method} |"


def _class_row(row: ClassMetrics) -> str:
    auroc = "" if row.auroc is None else _short(row.auroc)
    cells = (row.name.replace("|", "\\|"), _short(row.precision), _short(row.recall), _short(row.f1), auroc)
    return f"| {' | '.join(cells)} | {row.support} |"


def _detectable(test: Metrics) -> list[str]:
    if test.detectable_difference is None:
        return []
    return [
        "",
        f"Another classifier tested on the same images must differ by about {100 * test.detectable_difference:.1f} "
        "points of accuracy for McNemar's test to find it in four of five attempts.",
    ]


def _weakest(test: Metrics) -> list[str]:
    seen = sorted((row for row in test.per_class if row.support), key=lambda row: row.recall.value)
    worst = [row for row in seen[:_WEAKEST] if row.recall.value < 1]
    if not worst:
        return []
    named = _listing([f"{row.name} ({_percent(row.recall)} found)" for row in worst])
    return [f"- Weakest classes: {named}."]


def _confused(test: Metrics) -> list[str]:
    pairs = [
        (count, true, said)
        for true, row in enumerate(test.confusion)
        for said, count in enumerate(row)
        if true != said and count
    ]
    if not pairs:
        return []
    count, true, said = max(pairs, key=lambda pair: pair[0])
    return [
        f"- Its commonest mistake: {test.classes[true]} taken for {test.classes[said]} "
        f"({count} of {sum(test.confusion[true])} test images)."
    ]


def _trust(test: Metrics) -> list[str]:
    error = test.ece
    points = f"{100 * error.value:.1f} points ({100 * error.low:.1f} to {100 * error.high:.1f})"
    return [f"- Its confidence differs from its accuracy by {points} on average over groups of like confidence."]


def _robust(found: Mapping[str, Any]) -> str:
    mean = found.get("mean_error")
    if not mean:
        return "- Blurred, noisy, dark or recompressed images were not tested."
    return (
        f"- On images with noise, blur, bad weather or digital faults it is wrong in {100 * mean['value']:.1f} % of "
        f"cases ({100 * mean['low']:.1f} to {100 * mean['high']:.1f} %), the mean over kinds and strengths."
    )


def _selection(rate: float, threshold: float | None, measured: Mapping[str, Any]) -> str:
    asked = f"to be wrong in at most {100 * rate:g} % of its answers"
    if threshold is None:
        return f"- Abstention: no confidence was found that would let it keep {asked}; it would never answer."
    part, text = measured.get("selection", {}), ""
    if "answered" in part and "error" in part:
        text = f" On the test images it answered {_share(part['answered'])} and was wrong in {_share(part['error'])}."
    return f"- Abstention: with a confidence of at least {threshold:.3f} it is meant {asked}.{text}"


def _share(values: Mapping[str, Any]) -> str:
    return f"{100 * values['value']:.1f} % ({100 * values['low']:.1f} to {100 * values['high']:.1f})"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.0f} %, {100 * estimate.low:.0f} to {100 * estimate.high:.0f}"


def _short(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listing(names: Sequence[str], more: int = 0) -> str:
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
