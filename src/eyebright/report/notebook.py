"""What a notebook shows of a run and of predictions: one small card, without scripts, on light and dark grounds alike.

Notebooks drop style sheets from cells that are not trusted, so that every style stands on its element; colours are
those of the notebook, or such that can be read on white and on black.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from PIL import Image

from eyebright.classifier import Prediction
from eyebright.decode import decode_image
from eyebright.errors import EyebrightError
from eyebright.evaluation.estimate import Estimate
from eyebright.report.gallery import data_uri, small
from eyebright.report.wording import duration, percent, percent_range, plural
from eyebright.run import Run

ACCENT, WRONG = "#7a68e8", "#d0564a"
"""Both have a contrast of at least 3 to 1 on white and on black; they carry shapes and large figures only."""
_HARD_CLASSES = 3
_MOST_PREDICTIONS = 24
_SOFT = "opacity:.72;font-size:.88em"
_CARD = (
    "font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;line-height:1.45;max-width:46em;"
    "border:1px solid rgba(128,128,128,.4);border-radius:10px;padding:16px 20px;margin:4px 0"
)
_LINE = "border-bottom:1px solid rgba(128,128,128,.25)"


def run_html(run: Run) -> str:
    """A card of a run: how good it is and how sure that is, the classes that need care, and what can be done next.

    A run that did not finish, or that cannot be read, gets a card that says so: a notebook must always show something.
    """
    try:
        state = str(run.state.get("state"))
        metrics = run.metrics if state == "complete" else {}
        body = _finished(run, metrics) if "test" in metrics else _unfinished(run, state)
    except (EyebrightError, KeyError, TypeError, ValueError) as error:
        problem = error.problem if isinstance(error, EyebrightError) else f"its files cannot be read ({error})"
        body = _paragraph(escape(problem))
    title = f'<div style="font-weight:650;font-size:1.1em">{escape(run.name)}</div>'
    return f'<div style="{_CARD}">{title}{body}</div>'


def predictions_html(predictions: Prediction | Sequence[Prediction]) -> str:
    """A table of predictions: the picture where it is a file that is there, the answer, and the likeliest classes."""
    rows = [predictions] if isinstance(predictions, Prediction) else list(predictions)
    cells = [_prediction_row(prediction) for prediction in rows[:_MOST_PREDICTIONS]]
    more = len(rows) - len(cells)
    note = _paragraph(Markup(f"and {plural(more, 'more prediction')}"), soft=True) if more > 0 else ""
    table = (
        f'<table style="border-collapse:collapse;width:100%">{"".join(cells)}</table>' if cells else "no predictions"
    )
    return f'<div style="{_CARD}">{table}{note}</div>'


def _finished(run: Run, metrics: Mapping[str, Any]) -> str:
    test, leaks = metrics["test"], metrics.get("leaks", {})
    clean = leaks.get("clean")
    accuracy = Estimate(**(clean or test)["accuracy"])
    images = (clean or test)["images"]
    of = f"of {plural(images, 'test image')} right"
    if clean:
        of += f" ({plural(leaks['leaked']['images'], 'other')} left out: another split holds them too)"
    baseline = max((row["support"] for row in test["per_class"]), default=0) / max(1, test["images"])
    figures = ", ".join(
        f"{name} {percent(test[key]['value'])}"
        for key, name in (("macro_f1", "macro F1"), ("ece", "calibration error"))
    )
    wall = run.environment.get("outcome", {}).get("wall_seconds") if run.file("environment.json").is_file() else None
    took = f", trained in {duration(wall)}" if wall else ""
    return "".join([
        f'<div style="margin:8px 0 0"><span style="font-size:2.4em;font-weight:680;line-height:1.1;color:{ACCENT}">'
        f"{percent(accuracy.value)}</span> <span>{escape(of)}</span></div>",
        _paragraph(Markup(f"95 % interval {percent_range(accuracy)}; {figures}{took}"), soft=True),
        _scale(accuracy, baseline),
        _hard_classes(test["per_class"]),
        _next(run),
    ])  # fmt: skip


def _unfinished(run: Run, state: str) -> str:
    command = f"eyebright resume {_from_here(run.path)}"
    return _paragraph(escape(f"This run has no results: it is {state}.")) + _paragraph(
        Markup(f"continue it: {_code(command)}"), soft=True
    )


def _scale(accuracy: Estimate, baseline: float) -> str:
    """A bar from 0 to 100 % with the interval, the accuracy, and what always saying the largest class would give."""

    def part(left: float, width: str, colour: str, more: str) -> str:
        return (
            f'<span style="position:absolute;left:{100 * left:.2f}%;width:{width};background:{colour};{more}"></span>'
        )

    words = f"accuracy {percent(accuracy.value)}, interval {percent_range(accuracy)}, largest class {percent(baseline)}"
    band = part(
        accuracy.low, f"{100 * (accuracy.high - accuracy.low):.2f}%", ACCENT,
        "top:5px;height:10px;border-radius:5px;opacity:.35;min-width:3px",
    )  # fmt: skip
    point = part(accuracy.value, "12px", ACCENT, "top:4px;height:12px;margin-left:-6px;border-radius:50%")
    mark = part(baseline, "2px", "currentColor", "top:3px;height:14px;opacity:.6")
    rule = part(0, "100%", "currentColor", "top:9px;height:2px;opacity:.18")
    return (
        f'<div role="img" aria-label="{escape(words)}" style="position:relative;height:20px;margin:10px 0 2px">'
        f"{rule}{mark}{band}{point}</div>"
        f'<div style="{_SOFT};margin:0 0 10px">The thin mark is what always saying the largest class would give.</div>'
    )


def _hard_classes(rows: Sequence[Mapping[str, Any]]) -> str:
    """The classes whose F1 is surely below the mean of all, hardest first; the hardest one when none is."""
    present = sorted((row for row in rows if row["support"]), key=lambda row: float(row["f1"]["value"]))
    if len(present) < 2:
        return ""
    mean = sum(float(row["f1"]["value"]) for row in present) / len(present)
    hard = [row for row in present if row["f1"]["high"] < mean][:_HARD_CLASSES]
    title = "Classes that need care" if hard else "Hardest class, though its interval reaches the mean"
    lines = "".join(
        f'<tr style="{_LINE}"><td style="padding:4px 18px 4px 0;text-align:left">{escape(row["name"])}</td>'
        f'<td style="padding:4px 0;text-align:left">F1 {percent(row["f1"]["value"])} '
        f'<span style="{_SOFT}">({percent_range(Estimate(**row["f1"]))}; {plural(row["support"], "image")})</span>'
        "</td></tr>"
        for row in hard or present[:1]
    )
    return (
        f'<div style="font-weight:600;margin:6px 0 2px">{title}</div>'
        f'<table style="border-collapse:collapse;margin:0 0 12px">{lines}</table>'
    )


def _next(run: Run) -> str:
    here = _from_here(run.path)
    lines = []
    if run.report.is_file():
        lines.append(f'<a style="color:inherit" href="{escape(_from_here(run.report))}" target="_blank">the report</a>')
    lines += [_code(f'eyebright.load("{here}").predict("photo.jpg")'), _code(f"eyebright predict {here} photos/")]
    return f'<div style="{_SOFT}">next: {" · ".join(lines)}</div>'


def _prediction_row(prediction: Prediction) -> str:
    uri = _picture(prediction.source)
    image = f'<img src="{uri}" alt="" style="max-width:72px;max-height:72px;border-radius:6px">' if uri else ""
    source = f'<div style="{_SOFT}">{escape(Path(prediction.source).name)}</div>' if prediction.source else ""
    bars = "".join(
        f'<div style="display:flex;align-items:center;gap:8px"><span style="min-width:7em">{escape(name)}</span>'
        '<span style="flex:1;min-width:60px;height:8px;border-radius:4px;background:rgba(128,128,128,.22)">'
        f'<span style="display:block;height:8px;border-radius:4px;background:{ACCENT};width:{100 * share:.1f}%"></span>'
        "</span>"
        f'<span style="min-width:4.5em;text-align:right">{percent(share)}</span></div>'
        for name, share in prediction.top(3)
    )
    warning = f'<div style="color:{WRONG}">unlike the images it learnt from</div>' if prediction.outlier else ""
    return (
        f'<tr style="{_LINE}"><td style="padding:8px 14px 8px 0;width:80px;vertical-align:top">{image}</td>'
        f'<td style="padding:8px 0;text-align:left;vertical-align:top"><b>{escape(prediction.label)}</b>'
        f"{source}{warning}{bars}</td></tr>"
    )


def _picture(source: str | None) -> str:
    """The picture as a data URI; empty when it is no file that is there."""
    if source is None or not Path(source).is_file():
        return ""
    try:
        picture: Image.Image = decode_image(Path(source).read_bytes(), channels=3, at_least=144)
        return data_uri(small(picture))
    except (EyebrightError, OSError):
        return ""


def _from_here(path: Path) -> str:
    """The path as one would type it in the working folder, where links of a notebook begin too."""
    try:
        near = os.path.relpath(path)
    except ValueError:  # on another drive
        return path.as_posix()
    return Path(near).as_posix()


def _paragraph(content: str, *, soft: bool = False) -> str:
    return f'<div style="margin:4px 0;{_SOFT if soft else ""}">{content}</div>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
