"""What can be compared: runs, their bundles, evaluations on other images, and tables of predictions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from eyebright.bundle import ONNX_FILE, RECORD_FILE, WEIGHTS_FILE, BundleRecord
from eyebright.config import read_yaml
from eyebright.data.manifest import Manifest
from eyebright.data.sources.address import without_secrets
from eyebright.errors import BundleError, DataError, UsageError, did_you_mean_beside
from eyebright.evaluation.predictions import Predictions
from eyebright.jobs.tables import read_predictions
from eyebright.progress import Progress, Silent
from eyebright.report.compare_content import ModelFacts
from eyebright.run import Run, open_run

PREDICTIONS_FILE = "predictions.parquet"
EVALUATIONS = "evaluations"
_BUFFERS = ("running_mean", "running_var")
"""Names of tensors that batch normalisation measures rather than learns."""
_COMPARABLE = "finished runs, their evaluations (RUN/evaluations/NAME), or tables of predictions"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entrant:
    """A classifier with its answers.

    Attributes:
        facts: its name and what is known of it.
        place: the folder or file that it was read from.
        run: the run that it came of; None for a table.
        predictions: labelled predictions of the images that it is judged by, one row an image.
        data: where these images came from, without anything that gives access to them.
        spec: the same as it is opened; None for a table.
        learnt_from: ids of images that it was trained on, and, unless it is judged by the validation split,
            calibrated or chosen on.
        setup: what decides which images are test images: `data`, `seed`, `split shares` and `fingerprint`.
    """

    facts: ModelFacts
    place: Path
    run: Run | None
    predictions: Predictions
    data: str
    spec: str | None
    learnt_from: frozenset[str]
    setup: Mapping[str, str]

    @property
    def name(self) -> str:
        """What it is called."""
        return self.facts.name

    @property
    def ids(self) -> frozenset[str]:
        """Content ids of its images."""
        return frozenset(str(image) for image in self.predictions.column("id"))


def read_entrants(
    paths: Sequence[str | Path], *, split: str = "test", progress: Progress | None = None
) -> list[Entrant]:
    """Read what is to be compared; each gets a name of its own.

    Raises:
        UsageError: one is given twice.
        BundleError: a path is no run, or a run that did not finish.
        DataError: a table or a run has no labelled image in this split.
    """
    places = [_place(Path(path)) for path in paths]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise UsageError(
                f"{paths[index]} is given twice", expected="different classifiers", remedy="name each of them once"
            )
    return with_own_names([read_entrant(path, split=split, progress=progress) for path in paths])


def read_entrant(path: str | Path, *, split: str = "test", progress: Progress | None = None) -> Entrant:
    """Read one of them; see `read_entrants`."""
    given, place = Path(path), _place(Path(path))
    if not place.exists():
        raise BundleError(
            f"{given} does not exist{did_you_mean_beside(given)}",
            expected=_COMPARABLE,
            remedy="check the path; `ls runs` shows the runs of this folder",
        )
    if place.is_file():
        return _from_table(given, place, split, progress or Silent())
    if place.parent.name == EVALUATIONS and (place / PREDICTIONS_FILE).is_file() and is_run(place.parent.parent):
        return _from_run(given, place, Run(place.parent.parent), split, evaluation=True)
    if (place / RECORD_FILE).is_file() and not is_run(place):
        raise BundleError(
            f"{given} is a bundle without its run: what it said about its test images is not there",
            expected=_COMPARABLE,
            remedy="give the folder of the run that it was made in",
        )
    if not is_run(place) and any(is_run(folder) for folder in place.iterdir() if folder.is_dir()):
        raise BundleError(
            f"{given} is a folder of runs, not a run",
            expected=_COMPARABLE,
            remedy=f"name the runs: `eyebright compare {given}/*`; `eyebright report {given}` ranks all of them",
        )
    return _from_run(given, place, open_run(place), split, evaluation=False)


def with_own_names(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The same with names that differ: where two are equal, with as many of the folders above as it takes."""
    names = [entrant.name for entrant in entrants]
    depth = 1
    while len(set(names)) < len(names):
        depth += 1
        repeated = {name for name in names if names.count(name) > 1}
        names = [
            "/".join(entrant.place.parts[-depth:]) if name in repeated else name
            for name, entrant in zip(names, entrants, strict=True)
        ]
    return [
        dataclasses.replace(entrant, facts=dataclasses.replace(entrant.facts, name=name))
        for entrant, name in zip(entrants, names, strict=True)
    ]


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    return (folder / "config.yaml").is_file() and (folder / "state.json").is_file()


def _place(path: Path) -> Path:
    """The folder or file that a path stands for: a bundle and the predictions of a run stand for the run."""
    path = path.resolve()
    inside = (path / RECORD_FILE).is_file() or (path.is_file() and path.name == PREDICTIONS_FILE)
    belongs = is_run(path.parent) or (path.is_file() and path.parent.parent.name == EVALUATIONS)
    return path.parent if inside and belongs else path


def _from_table(given: Path, place: Path, split: str, progress: Progress) -> Entrant:
    table = read_predictions(place, progress=progress)
    named = {name for name in table.column("split") if name is not None}
    return Entrant(
        facts=ModelFacts(name=place.stem, path=str(given)),
        place=place,
        run=None,
        predictions=_judged(table.select(split) if named else table, given, split),
        data=place.name,
        spec=None,
        learnt_from=frozenset(),
        setup={},
    )


def _from_run(given: Path, place: Path, run: Run, split: str, *, evaluation: bool) -> Entrant:
    state = run.state.get("state")
    if state != "complete":
        raise BundleError(
            f"the run {given} did not finish: it is {state}",
            expected="runs that finished",
            remedy=f"continue it with `eyebright resume {given}`, or leave it out",
        )
    config = read_yaml(run.file("config.yaml"))
    manifest = Manifest.read(run.file("manifest.parquet"))
    spec = manifest.spec
    setup = {
        "data": without_secrets(spec),
        "seed": str(config.get("seed")),
        "split shares": "/".join(f"{100 * share:.3g}" for share in config.get("data", {}).get("split", {}).values()),
        "fingerprint": manifest.fingerprint(),
    }
    if evaluation:
        spec, split, setup = str(Run(place).metrics.get("data", place.name)), "test", {}
    learnt = ["train"] if split == "val" else ["train", "val"]
    ids = {
        image
        for image, part in zip(manifest.ok["id"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True)
        if part in learnt
    }
    return Entrant(
        facts=_facts(given, run, config),
        place=place,
        run=run,
        predictions=_judged(Predictions.read(place / PREDICTIONS_FILE).select(split), given, split),
        data=without_secrets(spec),
        spec=spec,
        learnt_from=frozenset(ids),
        setup=setup,
    )


def _judged(table: Predictions, given: Path, split: str) -> Predictions:
    labelled = table.labelled()
    if len(labelled) == 0:
        raise DataError(
            f"{given} has no labelled prediction in the split {split!r}",
            expected="predictions of labelled images",
            remedy="choose another one with --split, or score it on labelled images: `eyebright evaluate RUN DATA`",
        )
    return labelled


def _facts(given: Path, run: Run, config: Mapping[str, Any]) -> ModelFacts:
    bundle, environment = run.bundle, run.environment
    cost, outcome = run.metrics.get("cost", {}), environment.get("outcome", {})
    latency = cost.get("latency_ms", {})
    parameters = cost.get("parameters")
    return ModelFacts(
        name=run.name,
        path=str(given),
        recipe=config.get("recipe"),
        architecture=_architecture(bundle.record),
        parameters=count_weights(bundle.file(WEIGHTS_FILE)) if parameters is None else parameters,
        parameters_counted=parameters is None,
        weights_bytes=bundle.file(WEIGHTS_FILE).stat().st_size,
        onnx_bytes=bundle.file(ONNX_FILE).stat().st_size,
        latency_ms=latency.get("p50"),
        latency_p99_ms=latency.get("p99"),
        latency_threads=latency.get("threads"),
        machine=environment.get("processor"),
        training_seconds=outcome.get("wall_seconds"),
        peak_memory_bytes=outcome.get("peak_memory_bytes"),
        created=environment.get("created"),
    )


def _architecture(record: BundleRecord) -> str:
    """Its name; of a network with a head of its own, that of what the head stands on."""
    backbone = record.architecture_arguments.get("backbone")
    return record.architecture if backbone is None else f"{backbone}, own head"


def count_weights(file: Path) -> int:
    """Numbers in the float tensors of a safetensors file, those that batch normalisation measures left out."""
    with safe_open(file, framework="numpy") as tensors:
        total = 0
        for name in tensors.keys():  # noqa: SIM118 - it is no mapping
            part = tensors.get_slice(name)
            if part.get_dtype().startswith(("F", "BF")) and not name.endswith(_BUFFERS):
                size = 1
                for side in part.get_shape():
                    size *= side
                total += size
    return total
