"""The page of several classifiers: who is better, what that costs, and what each gets right that the others miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eyebright.errors import DataError
from eyebright.evaluation.compare import Contest
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import Integers
from eyebright.report import compare_words as words
from eyebright.report.compare_content import CompareContent, Group, ModelFacts
from eyebright.report.gallery import Gallery
from eyebright.report.page import render_page
from eyebright.report.scatter import Spot, scatter
from eyebright.report.section import Section
from eyebright.report.wording import count, duration, percent, plural, size

MATRIX_MODELS = 10
CLASS_ROWS = 30
_STRONGEST = 0.5
"""Share of colour in a cell at which ink can still be read on it, in light and in dark."""
PICTURES = 12
_COSTS: Sequence[tuple[str, str, Callable[[ModelFacts], float | None], Callable[[float], str]]] = (
    ("Parameters", "numbers that were learnt", lambda facts: facts.parameters, lambda value: short(value)),
    ("Size", "of the weights on disk", lambda facts: facts.weights_bytes, lambda value: size(round(value))),
    ("Latency", "for one image, half of the calls", lambda facts: facts.latency_ms, lambda value: f"{value:.3g} ms"),
    ("Training", "the whole run", lambda facts: facts.training_seconds, lambda value: duration(value)),
)


def compare_page(content: CompareContent) -> str:
    """The page as text: style, figures and images inside, nothing to fetch."""
    one = len(content.groups) == 1
    parts: list[Section] = []
    if content.across is not None:
        parts.append(Section("across", "Across data sets", "compare_across.html", {"across": content.across}))
    rivals = [group for group in content.groups if one or len(group.contest.names) > 1]
    for number, group in enumerate(rivals):
        parts += _sections(group, "" if one else f"-{number + 1}", whole=one)
    single = [group for group in content.groups if group not in rivals]
    if single:
        rows = [row | {"group": group} for group in single for row in _ranking(group)["rows"]]
        parts.append(Section("single", "Without a rival", "compare_single.html", {"rows": rows}))
    if content.unfinished:
        parts.append(Section("unfinished", "Not ranked", "compare_unfinished.html", {"runs": content.unfinished}))
    parts.append(Section("method", "How it was compared", "compare_method.html", {"groups": content.groups}))
    return render_page(
        "compare.html",
        parts,
        content=content,
        verdict=words.verdict(content.groups[0].contest) if one and content.groups else [],
        models=sum(len(group.contest.names) for group in content.groups),
    )


def _sections(group: Group, suffix: str, *, whole: bool) -> list[Section]:
    """The sections of one set of images; `whole` when the page is about them alone."""
    contest = group.contest
    several = len(contest.names) > 1
    charts = _charts(group) if several else []
    context = _ranking(group) | {"verdict": [] if whole else words.verdict(contest), "notes": group.notes}
    context["charts"] = [] if whole else charts
    title = "Who is best" if whole else f"{group.data_set}: {plural(len(contest), 'image')}"
    found = [Section(f"ranking{suffix}", title, "compare_ranking.html", context)]
    if several and whole:
        found.append(Section("pairs", "Each against each", "compare_pairs.html", _pairs(contest)))
    if charts and whole:
        found.append(Section("costs", "What accuracy costs", "compare_costs.html", {"charts": charts}))
    if several and whole:
        found.append(Section("classes", "Class by class", "compare_classes.html", _classes(contest)))
        found.append(Section("alone", "What each gets right that the others miss", "compare_alone.html", _alone(group)))
    if whole:
        found.append(Section("models", "The classifiers", "compare_models.html", _models(group)))
    return found


def _ranking(group: Group) -> dict[str, Any]:
    contest, tied = group.contest, set(group.contest.tied_with_best())
    estimates = [contest.metrics[name].accuracy for name in contest.names]
    low, high = min(e.low for e in estimates), max(e.high for e in estimates)
    room = 0.06 * max(high - low, 0.01)
    low, high = max(0.0, low - room), min(1.0, high + room)

    def place(share: float) -> float:
        return 100 * (share - low) / (high - low)

    rows = []
    for rank, name in enumerate(contest.names, 1):
        metrics, facts = contest.metrics[name], group.facts[name]
        pair = None if name == contest.best else contest.pair(name, contest.best)
        rows.append({
            "rank": rank, "name": name, "report": facts.report, "model": _made_of(facts),
            "letters": contest.letters[name], "bright": name in tied, "accuracy": metrics.accuracy,
            "from": place(metrics.accuracy.low), "to": place(metrics.accuracy.high),
            "at": place(metrics.accuracy.value), "pair": pair, "images": len(contest),
            "difference": None if pair is None else words.points(pair.accuracy.value),
            "range": None if pair is None else words.points_range(pair.accuracy),
            "p": None if pair is None else words.p_value(pair.adjusted_p),
            "macro_f1": metrics.macro_f1, "log_loss": metrics.log_loss, "ece": metrics.ece,
        })  # fmt: skip
    return {
        "rows": rows, "low": low, "high": high, "several": len(rows) > 1, "images": len(contest),
        "letters_used": len(set("".join(contest.letters.values()))) > 1,
    }  # fmt: skip


def _made_of(facts: ModelFacts) -> str:
    return " · ".join(part for part in (facts.recipe, facts.architecture) if part and part != facts.name)


def _pairs(contest: Contest) -> dict[str, Any]:
    """A matrix of differences for a few classifiers; for many, the best against all others."""
    names = contest.names[:MATRIX_MODELS]
    widest = max((abs(pair.accuracy.value) for pair in contest.pairs), default=0) or 1.0
    cells = []
    for row in names:
        line: list[dict[str, Any] | None] = []
        for column in names:
            if row == column:
                line.append(None)
                continue
            pair = contest.pair(row, column)
            detail = (
                f"{row} less {column}: {words.points(pair.accuracy.value)} points "
                f"({words.points_range(pair.accuracy)}), {words.p_value(pair.adjusted_p)}; "
                f"{row} alone right on {count(pair.only_first)}, {column} alone on {count(pair.only_second)}"
            )
            line.append({
                "shown": words.points(pair.accuracy.value), "detail": detail, "apart": pair.told_apart,
                "better": pair.accuracy.value > 0,
                "strength": _STRONGEST * (0.3 + 0.7 * abs(pair.accuracy.value) / widest),
            })  # fmt: skip
        cells.append(line)
    return {
        "names": names,
        "left_out": len(contest.names) - len(names),
        "cells": cells,
        "pairs": [_pair_row(contest, pair.first, pair.second) for pair in contest.pairs][:60],
        "more_pairs": max(0, len(contest.pairs) - 60),
    }


def _pair_row(contest: Contest, first: str, second: str) -> dict[str, Any]:
    pair = contest.pair(first, second)

    def number(estimate: Estimate) -> dict[str, str]:
        return {"value": _signed(estimate.value), "range": f"{_signed(estimate.low)} to {_signed(estimate.high)}"}

    return {
        "first": first, "second": second, "only_first": pair.only_first, "only_second": pair.only_second,
        "apart": pair.told_apart, "p": words.p_value(pair.p_value), "adjusted": words.p_value(pair.adjusted_p),
        "accuracy": {"value": words.points(pair.accuracy.value), "range": words.points_range(pair.accuracy)},
        "macro_f1": {"value": words.points(pair.macro_f1.value), "range": words.points_range(pair.macro_f1)},
        "log_loss": number(pair.log_loss), "brier": number(pair.brier),
    }  # fmt: skip


def _signed(value: float) -> str:
    shown = f"{abs(value):.3f}"
    return shown if float(shown) == 0 else f"{'+' if value > 0 else words.MINUS}{shown}"


def _charts(group: Group) -> list[dict[str, Any]]:
    """Accuracy against each cost that two classifiers or more have."""
    contest, tied = group.contest, set(group.contest.tied_with_best())
    found = []
    for title, meaning, cost_of, show in _COSTS:
        costs = {name: cost_of(group.facts[name]) for name in contest.names}
        spots = [
            Spot(name=name, cost=cost, accuracy=contest.metrics[name].accuracy, bright=name in tied)
            for name, cost in costs.items()
            if cost is not None and cost > 0
        ]
        if len(spots) < 2 or max(spot.cost for spot in spots) < 1.01 * min(spot.cost for spot in spots):
            continue  # nothing to choose between
        missing = [name for name in contest.names if name not in {spot.name for spot in spots}]
        found.append({
            "title": title, "meaning": meaning, "missing": missing,
            "svg": scatter(f"Accuracy against {title.lower()}, one point a classifier", spots, show,
                           seconds=title == "Training"),
        })  # fmt: skip
    return found


def _classes(contest: Contest) -> dict[str, Any]:
    """Accuracy by class; where there are many classes, those on which the classifiers differ most."""
    shares = contest.class_accuracy()
    support = np.bincount(contest.truth, minlength=len(contest.classes))
    spread = np.where(
        support > 0, np.nanmax(np.nan_to_num(shares), axis=0) - np.nanmin(np.nan_to_num(shares), axis=0), -1
    )
    present = int((support > 0).sum())
    order = np.argsort(-spread, kind="stable")[:CLASS_ROWS] if present > CLASS_ROWS else np.flatnonzero(support)
    low, high = float(shares[:, order].min()), float(shares[:, order].max())

    def tint(share: float) -> float:
        return _STRONGEST * (0.1 + 0.9 * (share - low) / (high - low)) if high > low else _STRONGEST / 2

    rows = []
    for index in order:
        best = float(shares[:, index].max())
        rows.append({
            "name": contest.classes[index],
            "images": int(support[index]),
            "cells": [
                {"shown": percent(share, 0), "strength": tint(share), "best": share == best}
                for share in shares[:, index].tolist()
            ],
        })  # fmt: skip
    return {"names": contest.names, "rows": rows, "present": present}


def _alone(group: Group) -> dict[str, Any]:
    contest = group.contest
    gallery = Gallery(group.thumbnails or _gone)
    parts = [
        {
            "name": name,
            "number": len(rows),
            "classes": _by_class(contest, rows),
            "pictures": _pictures(contest, gallery, rows, name),
        }
        for name, rows in contest.only_right().items()
    ]
    none = contest.none_right()
    agreement = contest.agreement()
    return {
        "finding": words.alone_finding(contest),
        "parts": parts,
        "nobody": {
            "number": len(none),
            "classes": _by_class(contest, none),
            "pictures": _pictures(contest, gallery, none, None),
        },
        "agreement": words.agreement_finding(contest),
        "names": contest.names[:MATRIX_MODELS],
        "shares": [
            [
                {"shown": percent(float(share), 0), "strength": _STRONGEST * float(share) ** 2, "same": row == column}
                for column, share in enumerate(line[:MATRIX_MODELS])
            ]
            for row, line in enumerate(agreement[:MATRIX_MODELS])
        ],
    }


def _by_class(contest: Contest, rows: Integers, most: int = 6) -> str:
    counts = np.bincount(contest.truth[rows], minlength=len(contest.classes))
    order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
    named = [f"{contest.classes[index]} {count(int(counts[index]))}" for index in order[:most]]
    return ", ".join(named) + (
        f" and {plural(len(order) - most, 'other class', 'other classes')}" if len(order) > most else ""
    )


def _pictures(contest: Contest, gallery: Gallery, rows: Integers, name: str | None) -> list[dict[str, Any]]:
    """A few of the images, spread over them, with what the others (or all) took them for."""
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(PICTURES, len(rows))).astype(int))] if len(rows) else rows
    found = []
    for row in chosen:
        answers: dict[str, list[str]] = {}
        for model, answer in zip(contest.names, contest.predicted[:, row], strict=True):
            if model != name:
                answers.setdefault(contest.classes[answer], []).append(model)
        alike = len(answers) == 1 and len(contest.names) > 2
        found.append({
            "uri": gallery.uri(contest.ids[row]), "enlarged": gallery.is_tiny(contest.ids[row]),
            "source": contest.sources[row], "label": contest.classes[contest.truth[row]],
            "answers": [(answer, "all of them" if alike else ", ".join(models)) for answer, models in answers.items()],
        })  # fmt: skip
    # Rows of blanks tell nothing: without a single picture the counts by class stand alone.
    return found if any(picture["uri"] for picture in found) else []


def _gone(image: str) -> Any:
    raise DataError(f"the image {image} is not here")


def _models(group: Group) -> dict[str, Any]:
    rows = []
    for name in group.contest.names:
        facts = group.facts[name]
        latency = None if facts.latency_ms is None else f"{facts.latency_ms:.3g} ms"
        rows.append({
            "name": name, "report": facts.report, "path": facts.path, "recipe": facts.recipe,
            "architecture": facts.architecture,
            "parameters": None if facts.parameters is None else short(facts.parameters),
            "counted": facts.parameters_counted,
            "weights": None if facts.weights_bytes is None else size(facts.weights_bytes),
            "onnx": None if facts.onnx_bytes is None else size(facts.onnx_bytes),
            "latency": latency,
            "latency_detail": "" if facts.latency_p99_ms is None else f"99 %: {facts.latency_p99_ms:.3g} ms",
            "training": None if facts.training_seconds is None else duration(facts.training_seconds),
            "memory": None if facts.peak_memory_bytes is None else size(facts.peak_memory_bytes),
        })  # fmt: skip
    return {"rows": rows, "counted": any(row["counted"] for row in rows)}


def short(value: float) -> str:
    """A number with three digits and its unit: 1568582 as `1.57 M`."""
    units = ("", " k", " M", " G")
    power = 0
    while value >= 999.5 and power < len(units) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}{units[power]}"
