"""What a page of several classifiers is made of: contests, and what is known of each classifier beside its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from eyebright.evaluation.across import Across
from eyebright.evaluation.compare import Contest
from eyebright.evaluation.estimate import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A classifier beside its answers; whatever is not known is None.

    Attributes:
        name: what it is called in this comparison.
        path: the run or table, as the user named it.
        recipe, architecture: how it was made, and of what.
        parameters: their number.
        parameters_counted: they were counted in the file of the weights, where no run recorded them.
        weights_bytes, onnx_bytes: sizes of the files.
        latency_ms, latency_p99_ms: for one image from pixels to answer, half and 99 % of the calls are faster.
        latency_threads: on how many cores.
        machine: processor that training seconds and, unless measured just now, latency come from.
        latency_measured_now: all latencies of this comparison were measured in turns on this machine.
        training_seconds: of the whole run, from its start to its report.
        peak_memory_bytes: of the run.
        created: when the run began, ISO 8601.
        report: link to its own page, relative to this one.
    """

    name: str
    path: str
    recipe: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    parameters_counted: bool = False
    weights_bytes: int | None = None
    onnx_bytes: int | None = None
    latency_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_threads: int | None = None
    latency_measured_now: bool = False
    machine: str | None = None
    training_seconds: float | None = None
    peak_memory_bytes: int | None = None
    created: str | None = None
    report: str | None = None

    @property
    def model(self) -> str:
        """What kind of classifier it is: its recipe, else its architecture, else its own name."""
        return self.recipe or self.architecture or self.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Classifiers that were scored on the same images.

    Attributes:
        data_set: name of the data.
        contest: what they answered.
        facts: of each classifier by its name.
        notes: what the reader should know before any number (images left out, who was trained on them).
        thumbnails: gives the picture of an image id; may raise DataError when it is gone.
    """

    data_set: str
    contest: Contest
    facts: Mapping[str, ModelFacts]
    notes: Sequence[str] = ()
    thumbnails: Callable[[str], Image.Image] | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One mapping a classifier, the most accurate first: the rows of `performance_comparison.csv`."""
        contest, tied = self.contest, set(self.contest.tied_with_best())
        rows = []
        for name in contest.names:
            metrics, facts = contest.metrics[name], self.facts[name]
            pair = None if name == contest.best else contest.pair(name, contest.best)
            rows.append({
                "name": name,
                "data_set": self.data_set,
                "test_images": len(contest),
                **_with_limits("accuracy", metrics.accuracy),
                **_with_limits("macro_f1", metrics.macro_f1),
                "log_loss": metrics.log_loss.value,
                "calibration_error": metrics.ece.value,
                "tie_group": contest.letters[name],
                "tied_with_best": name in tied,
                **_with_limits("difference_to_best", None if pair is None else pair.accuracy),
                "adjusted_p": None if pair is None else pair.adjusted_p,
                "parameters": facts.parameters,
                "weights_bytes": facts.weights_bytes,
                "onnx_bytes": facts.onnx_bytes,
                "latency_ms": facts.latency_ms,
                "latency_p99_ms": facts.latency_p99_ms,
                "training_seconds": facts.training_seconds,
                "peak_memory_bytes": facts.peak_memory_bytes,
                "recipe": facts.recipe,
                "architecture": facts.architecture,
                "path": facts.path,
            })  # fmt: skip
        return rows


def _with_limits(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareContent:
    """Everything that the page shows.

    Attributes:
        title: its heading.
        groups: one for each set of test images.
        across: models by data set; None where there is one set of images.
        unfinished: runs without numbers, as (name, state, what to do).
        notes: what the reader should know before any number.
        created: when, as text.
    """

    title: str
    groups: Sequence[Group]
    across: Across | None = None
    unfinished: Sequence[tuple[str, str, str]] = ()
    notes: Sequence[str] = ()
    created: str = ""
