"""The section about confidence: whether it is true, what is promised on its ground, and whether that is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eyebright.evaluation.conformal import expected_coverage
from eyebright.evaluation.estimate import Estimate
from eyebright.report import decision_charts, wording
from eyebright.report.content import ReportContent
from eyebright.report.curves import Across, Curves, Line, draw_curves
from eyebright.report.gallery import Gallery
from eyebright.report.section import Section
from eyebright.report.wording import percent, plural

_MOST_COLUMNS = 12
_LEAST_CURVE_IMAGES = 10
_METHODS = {
    "none": ("None", "the plain softmax"),
    "temperature": ("Temperature", "one number for all classes"),
    "vector": ("Vector", "a scale and a shift for each class"),
    "isotonic": ("Isotonic", "a rising line for each class"),
}
_SETS = {"aps": "adaptive prediction sets (APS)", "raps": "regularised adaptive prediction sets (RAPS)"}
_SCORES = {
    "energy": ("Energy", "of the logits", "energy of the logits"),
    "distance": ("Distance", "of the features to the nearest class", "distance of the features to the nearest class"),
}


def decisions_section(content: ReportContent, gallery: Gallery) -> Section | None:
    """The section; None for a run without decisions, or whose test images have no labels.

    Args:
        content: `content.decisions` is {fitted, test}, as `evaluation.decide` gives them.
        gallery: not used.
    """
    fitted, test = content.decisions.get("fitted"), content.decisions.get("test")
    if not fitted or not test or not test["images"]:
        return None
    context = {
        "finding": calibration_finding(test["calibration"]),
        "promises": promises(fitted, test),
        "images": test["images"],
        "validation_images": fitted["images"],
        "calibration": _calibration(fitted["calibration"], test["calibration"]),
        "sets": _sets(fitted, test, content.classes),
        "selection": _selection(fitted, test, content.classes),
        "outliers": _outliers(test.get("outliers")),
    }
    return Section("confidence", "Can its confidence be trusted?", "decisions.html", context)


def calibration_finding(measured: Mapping[str, Any]) -> str:
    """Whether confidence can be taken at its word, and what calibration did for it."""
    chosen, before = measured["chosen"], measured["uncalibrated"]
    claimed, right = chosen["mean_confidence"], chosen["accuracy"]
    if right["low"] <= claimed <= right["high"]:
        verdict = "That is within what chance allows: the confidence can be taken at its word."
    elif claimed > right["value"]:
        verdict = f"It is overconfident by {100 * (claimed - right['value']):.1f} points."
    else:
        verdict = f"It is underconfident by {100 * (right['value'] - claimed):.1f} points: it is better than it says."
    text = f"On average it claims {percent(claimed)} and is right {percent(right['value'])} of the time. {verdict}"
    if measured["method"] == "none":
        return text
    gap = before["mean_confidence"] - before["accuracy"]["value"]
    if abs(gap) >= 0.01:
        text += f" Without calibration it would claim {percent(before['mean_confidence'])}."
    return text


def promises(fitted: Mapping[str, Any], test: Mapping[str, Any]) -> list[dict[str, str]]:
    """What is promised on the ground of confidence and whether the test images bear it out, in a sentence each."""
    found = []
    if "sets" in test:
        found.append({"title": "Several classes", "text": _sets_finding(fitted["sets"], test["sets"])})
    if "selection" in test:
        found.append({"title": "No answer", "text": _selection_finding(fitted, test["selection"])})
        if test["selection"].get("superclass_answered"):
            found.append({"title": "Superclass", "text": _superclass_finding(test["selection"])})
    if "outliers" in test:
        found.append({"title": "Something else", "text": _outliers_finding(test["outliers"])})
    return found


def _sets_finding(fitted: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    promised = percent(measured["promised"], 0)
    if not fitted["enough_images"]:
        return (
            f"{plural(fitted['images'], 'validation image')} cannot promise that a set of classes holds the true one "
            f"{promised} of the time: every set holds all classes."
        )
    coverage = measured["coverage"]
    low, high = expected_coverage(fitted["images"], measured["promised"], measured["images"])
    size = measured["mean_size"]
    held = (
        f"Sets of {size:.1f} {'class' if round(size, 1) == 1 else 'classes'} on average hold the true class for "
        f"{percent(coverage['value'])} of the test images; {promised} were promised."
    )
    if coverage["value"] < low:
        return f"{held} That is less than chance explains ({percent(low)} or more)."
    if coverage["value"] < measured["promised"]:
        return f"{held} That is within chance ({100 * low:.1f} to {percent(high)})."
    return held


def _selection_finding(fitted: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    rate, answered, error = measured["error_rate"], measured["answered"], measured["error"]
    asked = percent(rate, 0 if rate >= 0.01 else 1)
    if not answered["count"]:
        if fitted["images"] < fitted["selection"]["least_images"]:
            why = (
                f"{plural(fitted['images'], 'validation image')} are too few to show that, even without an error: "
                f"it takes {fitted['selection']['least_images']}"
            )
        else:
            why = "not even its most confident answers are known to be right that often"
        return f"At an error rate of {asked} it gives no answer: {why}."
    return (
        f"It answers {percent(answered['value'], 0)} of the test images and errs on {percent(error['value'])} of "
        f"these ({_limits(error)}); at most {asked} was asked for. Answering all, it would err on "
        f"{percent(measured['error_of_all']['value'])}."
    )


def _superclass_finding(measured: Mapping[str, Any]) -> str:
    answered, error = measured["superclass_answered"], measured["superclass_error"]
    if not answered["count"]:
        return "Where the class is not sure, the superclass is not sure enough to be named either."
    return (
        f"For another {percent(answered['value'], 0)} of the images it names the superclass only, and errs on "
        f"{percent(error['value'])} of these ({_limits(error)}); {percent(measured['abstained']['value'], 0)} get no "
        f"answer at all."
    )


def _outliers_finding(measured: Mapping[str, Any]) -> str:
    used = measured["scores"].get(measured["used"])
    if used is None:
        return "The score that flags images unlike the training images was not measured."
    alarms = used["false_alarms"]
    return (
        f"Of the test images, which are like the training images, {percent(alarms['value'])} are flagged as unlike "
        f"them ({_limits(alarms)}); {percent(measured['promised'], 0)} were allowed."
    )


def _limits(part: Mapping[str, Any]) -> str:
    return f"{100 * part['low']:.1f} to {percent(part['high'])}"


def _calibration(fitted: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    chosen, before = measured["chosen"], measured["uncalibrated"]
    rows = [
        {
            "title": _METHODS[name][0],
            "meaning": _METHODS[name][1],
            "chosen": name == fitted["method"],
            "cells": [
                (f"{scores['log_loss']:.4f}", f"± {scores['log_loss_error']:.4f}"),
                (
                    f"{scores['difference']:+.4f}".replace("-", "−") if name != "temperature" else "–",
                    f"± {scores['difference_error']:.4f}" if name != "temperature" else "",
                ),
                (f"{scores['brier']:.4f}", f"± {scores['brier_error']:.4f}"),
                (percent(scores["ece"]), f"± {100 * scores['ece_error']:.1f}"),
                (percent(scores["accuracy"]), ""),
            ],
        }
        for name, scores in fitted["compared"].items()
    ]
    return {
        "chart": decision_charts.reliability_before_and_after(chosen, before),
        "ece": _estimate(chosen["ece"]),
        "ece_before": _estimate(before["ece"]),
        "method": _METHODS[fitted["method"]][0].lower(),
        "calibrated": fitted["method"] != "none",
        "temperature": fitted["temperature"],
        "changes_predictions": fitted["method"] in ("vector", "isotonic"),
        "reason": fitted["reason"],
        "rows": rows,
    }


def _estimate(part: Mapping[str, Any]) -> Estimate:
    return Estimate(part["value"], part["low"], part["high"], part["method"])


def _shown(part: Mapping[str, Any]) -> dict[str, str] | None:
    """A share and its interval as text; None when there was nothing to count."""
    if part["value"] is None:
        return None
    return {"value": percent(part["value"]), "range": _limits(part)}


def _sets(fitted: Mapping[str, Any], test: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
    measured = test.get("sets")
    if measured is None:
        return None
    groups = [{"name": _group_name(row), **row, "shown": _shown(row["coverage"])} for row in measured["by_size"]]
    exact = measured["sizes"] if len(measured["sizes"]) <= _MOST_COLUMNS else None
    names = [str(size) for size, _ in exact] if exact else [row["name"] for row in groups]
    counts = [number for _, number in exact] if exact else [row["images"] for row in groups]
    low, high = expected_coverage(fitted["sets"]["images"], measured["promised"], measured["images"])
    worst = sorted(
        ({"name": name, **row, "shown": _shown(row["coverage"])}
         for name, row in zip(classes, measured["per_class"], strict=True) if row["images"]),
        key=lambda row: (row["coverage"]["value"], -row["mean_size"]),
    )  # fmt: skip
    return {
        "method": _SETS[fitted["sets"]["method"]],
        "promised": measured["promised"],
        "coverage": _shown(measured["coverage"]),
        "expected": f"{100 * low:.1f} and {percent(high)}" if fitted["sets"]["enough_images"] else "",
        "above": measured["coverage"]["value"] > high,
        "threshold_images": fitted["sets"]["images"],
        "mean_size": measured["mean_size"],
        "median_size": measured["median_size"],
        "singletons": _shown(measured["singletons"]),
        "singleton_accuracy": _shown(measured["singleton_accuracy"]),
        "chart": decision_charts.named_columns(counts, names, "Sizes of the prediction sets", "classes in the set"),
        "groups": groups,
        "classes": worst,
    }


def _group_name(row: Mapping[str, Any]) -> str:
    if row["from"] == row["to"]:
        return str(row["from"])
    return f"{row['from']}–{row['to']}" if row["from"] < row["to"] else str(row["from"])


def _selection(fitted: Mapping[str, Any], test: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any] | None:
    measured = test.get("selection")
    if measured is None:
        return None
    own = fitted["selection"]["thresholds"] == "per-class"
    rows = [
        {
            "name": name,
            "threshold": "never" if row["threshold"] is None else percent(row["threshold"]),
            "images": row["answered"]["images"],
            "answered": _shown(row["answered"]),
            "error": _shown(row["error"]),
        }
        for name, row in zip(classes, measured["per_class"], strict=True)
    ]
    above = measured.get("superclass_answered")
    levels = [
        ("the class", measured["answered"], measured["error"]),
        *([("the superclass only", above, measured["superclass_error"])] if above else []),
        ("no answer", measured["abstained"], None),
    ]
    curve, across = _curve(measured, mark=not own)
    return {
        "error_rate": measured["error_rate"],
        "threshold": None if measured["threshold"] is None else percent(measured["threshold"]),
        "confidence": percent(fitted["selection"]["confidence"], 0),
        "curve": curve,
        "across": across,
        "area": measured["aurc"],
        "perfect": measured["aurc_perfect"],
        "levels": [
            {"name": name, "share": _shown(share), "error": None if error is None else _shown(error)}
            for name, share, error in levels
        ],
        "other_rates": [
            {
                "rate": percent(row["error_rate"], 0),
                "asked": row["error_rate"] == measured["error_rate"],
                "threshold": None if row["threshold"] is None else percent(row["threshold"]),
                "answered": percent(row["answered"]["value"], 0) if row["answered"]["count"] else "none",
            }
            for row in fitted["selection"].get("other_rates", ())
        ],
        "classes": rows if own else [],
        "validation_images": fitted["images"],
        "two_levels": bool(above),
    }


def _curve(measured: Mapping[str, Any], *, mark: bool) -> tuple[Curves | None, str]:
    """Error against the share answered; the chosen place is marked where one threshold holds for all classes."""
    curve = measured["curve"]
    # The error among the first few images says nothing but which of them came first.
    enough = [
        index for index, share in enumerate(curve["answered"])
        if share * measured["answered"]["images"] >= _LEAST_CURVE_IMAGES
    ]  # fmt: skip
    if len(enough) < 2:
        return None, ""
    thresholds, answered, error = ([curve[name][i] for i in enough] for name in ("thresholds", "answered", "error"))
    across = Across(
        positions=answered,
        labels=[wording.percent(share, 0) for share in answered],
        places=[
            f"answering {percent(share)}, confidence from {percent(threshold)}"
            for share, threshold in zip(answered, thresholds, strict=True)
        ],
    )
    marked = None
    if mark and measured["threshold"] is not None and measured["answered"]["count"]:
        marked = min(range(len(answered)), key=lambda index: abs(answered[index] - measured["answered"]["value"]))
    top = max([*error, measured["error_rate"]])
    drawn = draw_curves(
        "Error among the answered images",
        [Line("error", error)],
        across,
        style="percent",
        marked=marked,
        marked_name="chosen" if marked is not None else "",
        target=measured["error_rate"],
        limits=(0.0, top),
    )
    return drawn, across.data


def _outliers(measured: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if measured is None:
        return None
    rows = []
    for name, score in measured["scores"].items():
        title, meaning, below = _SCORES[name]
        rows.append({
            "title": title, "meaning": meaning, "used": name == measured["used"],
            "chart": decision_charts.score_histogram(
                score["histogram"], score["threshold"], f"{title} of the test images", below
            ),
            "alarms": _shown(score["false_alarms"]),
            "flagged": _shown(score["accuracy_of_flagged"]),
            "others": _shown(score["accuracy_of_others"]),
        })  # fmt: skip
    rows.sort(key=lambda row: not row["used"])
    return {"rows": rows, "promised": measured["promised"]}
