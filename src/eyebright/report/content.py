"""What a report is made of: plain values and two tables, so that any source of predictions can have a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image

from eyebright.data.audit.findings import Finding
from eyebright.evaluation.metrics import Metrics
from eyebright.evaluation.predictions import Predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the images are like.

    Attributes:
        formats: number of images for each file format.
        widths, heights: the 5th, 50th and 95th percentile in pixels.
        total_bytes: size of all files.
    """

    formats: Mapping[str, int] = dataclasses.field(default_factory=dict)
    widths: tuple[int, int, int] | None = None
    heights: tuple[int, int, int] | None = None
    total_bytes: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportContent:
    """Everything that the page shows. A part that is empty is left out of the page.

    Attributes:
        run_name: the title.
        data: the data as the user named it.
        run_path: the run's folder, for commands to copy; empty for `runs/NAME`.
        classes: class names in index order.
        predictions: all predictions of the run; `scored_split` are the ones shown.
        test: metrics of the test split, None when there is none.
        validation: metrics of the validation split.
        created: when, as text.
        findings: what was found in the data before training.
        summary: sentences that say what was chosen and why.
        notes: warnings that the reader should see before any number (leaks, a class without test images).
        plan: the lines of the plan as they were printed before the start.
        class_counts: images used, {split: {class: count}}, splits in reading order.
        facts: what the images are like.
        samples: ids of a few images for each class, for the sample grid.
        history: one mapping an epoch with `stage, epoch, train_loss, train_accuracy, val_loss, val_accuracy,
            learning_rate, new_best, seconds`; any of them may be absent or None.
        fit: figures of the kept weights in evaluation mode, to tell overfitting by: `train` and `val`, each with
            `accuracy`, `loss` and `images`; any of them may be absent.
        timings: seconds for each stage, in the order of the run.
        budget_seconds, wall_seconds: what was allowed and what it took.
        preprocess: the sentence that describes the preprocessing.
        ledger: images that were not used: mappings with `source, status, reason`.
        leaks: accuracy on the test images that another split holds too and on the others, where there are such:
            {leaked, clean: {images, accuracy: {value, low, high}}}; empty when there are none.
        slices: accuracy on parts of the test images, {column: {value: {images, accuracy: {value, low, high}}}}.
        worst_slices: parts of the test images on which the classifier does worse than elsewhere, found by search, worst
            first; empty when none was found. `evaluation.slice_search` says what a row holds.
        decisions: what was fitted and measured of calibration, prediction sets, abstention and outliers; as
            `evaluation.decide.measure_decisions` gives it. Empty for a run that has none.
        robustness: accuracy under corruptions, as `evaluation.robustness.Robustness.as_dict` gives it; empty when it
            was not measured.
        cost: `parameters`, `weights_bytes`, `onnx_bytes`, `latency_ms` {p50, p99, threads}, `images_per_second`,
            `peak_memory_bytes`, `peak_gpu_memory_bytes`; any of them may be absent.
        importance: what a classifier on computed features looks at, as `metrics.json` has it; empty for networks.
        explanation: `method`, `layer` and `why` of the overlays, and `note` where something kept them from being made;
            empty without either.
        overlays: gives, for ids of images, the picture with a map of what the classifier looked at laid over it; ids
            whose image is gone are left out. None when there are none.
        embedding: a map of the features in two dimensions, as `evaluation.embedding.FeatureMap.as_dict` gives it; empty
            when there is none.
        provenance: what the run can be traced by, {name: value}, such as the licence of the weights and the fingerprint
            of the data.
        config, environment: settings and surroundings; nested mappings are shown as dotted keys.
        thumbnails: gives the picture of an image id; may raise DataError when it is gone.
    """

    run_name: str
    data: str
    classes: Sequence[str]
    predictions: Predictions
    thumbnails: Callable[[str], Image.Image]
    test: Metrics | None = None
    validation: Metrics | None = None
    run_path: str = ""
    created: str = ""
    findings: Sequence[Finding] = ()
    summary: Sequence[str] = ()
    notes: Sequence[str] = ()
    plan: Sequence[str] = ()
    class_counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    facts: DataFacts = dataclasses.field(default_factory=DataFacts)
    samples: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    fit: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    budget_seconds: float | None = None
    wall_seconds: float | None = None
    preprocess: str = ""
    ledger: Sequence[Mapping[str, str]] = ()
    leaks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    worst_slices: Sequence[Mapping[str, Any]] = ()
    decisions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    robustness: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cost: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    importance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    explanation: Mapping[str, str] = dataclasses.field(default_factory=dict)
    overlays: Callable[[Sequence[str]], Mapping[str, Image.Image]] | None = None
    embedding: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def scored_split(self) -> str:
        """The split behind the headline: `test`, or `val` when there are no test images."""
        return "test" if self.test is not None else "val"

    @property
    def metrics(self) -> Metrics | None:
        """The metrics behind the headline."""
        return self.test if self.test is not None else self.validation

    @property
    def path(self) -> str:
        """The run's folder as it is named in commands."""
        return self.run_path or f"runs/{self.run_name}"

    def scored(self) -> Predictions:
        """The labelled predictions behind the headline."""
        return self.predictions.select(self.scored_split).labelled()
