"""The verdict at the top of a report: what the classifier is good at, what it is not, and what to do next."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.overfitting import Diagnosis
from eyebright.report import circumstances, remarks
from eyebright.report.content import ReportContent
from eyebright.report.remarks import Remark, Step

_MOST_GOOD, _MOST_WEAK, _MOST_STEPS = 4, 5, 5
# Below the first share the accuracy is told as a fraction of small numbers, which people picture more easily.
_FRACTIONS: Sequence[tuple[float, str]] = (
    (1 / 4, "one in four"), (1 / 3, "one in three"), (1 / 2, "half"), (2 / 3, "two of three"), (3 / 4, "three of four"),
    (4 / 5, "four of five"), (9 / 10, "nine of ten"), (19 / 20, "19 of 20"), (99 / 100, "99 of 100"),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a report says first.

    Attributes:
        summary: one sentence.
        good, weak: what the numbers say for and against it, the weightiest first.
        steps: what to do next, the most useful first.
    """

    summary: str
    good: Sequence[Remark]
    weak: Sequence[Remark]
    steps: Sequence[Step]


def verdict_of(content: ReportContent, *, diagnosis: Diagnosis | None = None) -> Verdict | None:
    """The verdict on what was measured; None without metrics."""
    metrics = content.metrics
    if metrics is None:
        return None
    decided = circumstances.about_decisions(content.decisions)
    found = [
        *remarks.about_chance(metrics),
        *circumstances.about_leaks(content.leaks),
        *circumstances.about_findings(content.findings, leaks=bool(content.leaks)),
        *remarks.about_classes(metrics),
        *remarks.about_confusions(metrics),
        *remarks.about_confidence(content.scored(), metrics, decided=bool(decided)),
        *remarks.about_superclasses(metrics),
        *remarks.about_fit(diagnosis),
        *circumstances.about_parts(content.worst_slices, content.slices, metrics.accuracy),
        *circumstances.about_robustness(content.robustness),
        *decided,
        *remarks.about_size(metrics, metrics.detectable_difference),
    ]
    found.sort(key=lambda remark: -remark.weight)
    good = [remark for remark in found if remark.side == "good"][:_MOST_GOOD]
    weak = [remark for remark in found if remark.side == "weak"][:_MOST_WEAK]
    return Verdict(summary=summary(metrics), good=good, weak=weak, steps=next_steps(content, weak))


def summary(metrics: Metrics) -> str:
    """The accuracy as a fraction that people can picture, with what the interval leaves open."""
    value, low, high = metrics.accuracy.value, metrics.accuracy.low, metrics.accuracy.high
    if value == 1:
        return f"It names every one of these images right; of all such images, at least {100 * low:.0f} in 100."
    near = [(abs(share - value), words) for share, words in _FRACTIONS if low <= share <= high]
    if not near:
        return f"It names {100 * low:.0f} to {100 * high:.0f} of 100 images right."
    return f"It names about {min(near)[1]} images right."


def next_steps(content: ReportContent, weak: Sequence[Remark]) -> list[Step]:
    """What to do next: first what mends the weightiest weakness, then what is not known yet."""
    path, data = shlex.quote(content.path), shlex.quote(content.data)
    steps: list[Step] = []
    if content.leaks or any(remark.anchor == "audit" for remark in weak):
        steps.append(Step(
            text="Take the faults out of the data, then train again on the manifest that this makes:",
            command=f"eyebright audit {data} --fix plan.yaml",
        ))  # fmt: skip
    steps += [step for remark in weak for step in remark.steps]
    if any(remark.anchor == "confusion" for remark in weak) and not content.leaks:
        steps.append(Step(text="Go through doubtful labels by keyboard:", command=f"eyebright audit {data} --review"))
    if not content.robustness:
        steps.append(Step(
            text="Measure what blur, noise and compression do to it:", command=f"eyebright evaluate {path} --robustness"
        ))  # fmt: skip
    if content.config.get("recipe") != "shallow":
        steps.append(Step(
            text="See what the network buys over simple features:", command=f"eyebright train {data} --recipe shallow"
        ))  # fmt: skip
    steps.append(Step(text="Use it:", command=f"eyebright predict {path} photo.jpg"))
    unique = list({(step.text, step.command): step for step in steps}.values())
    # Using it is what it was made for: it stands last, whatever else there is to do.
    return [*unique[:-1][: _MOST_STEPS - 1], unique[-1]]
