"""The main job: from images to a run with a classifier, its measurements and a report. Also how a run is resumed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from eyebright.allocator import keep_freed_memory
from eyebright.atomic import explained, write_json, write_text
from eyebright.config import (
    SplitShares,
    TrainConfig,
    build_config,
    parse_assignment,
    parse_duration,
    parse_share,
    read_yaml,
    to_yaml,
)
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.data.sources.address import is_address, without_secrets
from eyebright.errors import EyebrightError, Interrupted, UsageError
from eyebright.jobs.environment import describe_environment, now, peak_memory
from eyebright.jobs.finish import finish
from eyebright.jobs.interrupt import stop_on_interrupt
from eyebright.jobs.prepare import (
    data_facts,
    open_images,
    pack,
    pixel_set,
    resolve_source,
    scan,
    with_absolute_paths,
)
from eyebright.jobs.reporting import make_report
from eyebright.models.catalog import network_facts
from eyebright.progress import Progress, Silent
from eyebright.recipes import get_recipe
from eyebright.recipes.base import Context, Plan
from eyebright.run import Run, check_run_name, create_run, open_run
from eyebright.training.device import pick_device
from eyebright.training.hooks import StopSignal

_LONGEST_STEM = 80


class _Journal:
    """What a run has told so far: passes everything on to the user and keeps warnings and timings for the report."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.warnings: list[str] = []
        self.seconds: dict[str, float] = {}

    def task(self, description: str, total: int, unit: str = "images") -> Any:
        return self._progress.task(description, total, unit)

    def note(self, text: str) -> None:
        self._progress.note(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self._progress.warn(text)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside under this name."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 2)


def assemble_config(
    data: str | Path,
    *,
    recipe: str | None = None,
    budget: str | float | None = None,
    no_budget: bool = False,
    model: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    split: str | None = None,
    allow_bad: str | float | None = None,
    superclass: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    file: str | Path | None = None,
    settings: Sequence[str] = (),
) -> TrainConfig:
    """The configuration from a recipe's defaults, a YAML file, `key=value` settings and options, later ones winning.

    Raises:
        UsageError: a value cannot be read, or the recipe is unknown.
        ConfigError: a key is unknown or a value is out of range.
    """
    content = read_yaml(file) if file is not None else {}
    assigned = [parse_assignment(text) for text in settings]
    named = recipe or next((layer["recipe"] for layer in reversed([content, *assigned]) if "recipe" in layer), "auto")
    options: dict[str, Any] = {"source": resolve_source(str(data)), "recipe": named}
    if budget is not None and no_budget:
        raise UsageError(
            "both a budget and no budget were asked for",
            expected="one of them",
            remedy="leave one of --budget and --no-budget out",
        )
    if budget is not None:
        options["budget_seconds"] = parse_duration(budget)
    if no_budget or (budget is None and epochs is not None):
        options["budget_seconds"] = None
    for key, value in (("epochs", epochs), ("seed", seed), ("device", device)):
        if value is not None:
            options[key] = value
    if model is not None:
        options["model"] = {"name": model}
    if size is not None:
        options["image"] = {"size": size}
    if split is not None:
        options.setdefault("data", {})["split"] = SplitShares.parse(split).model_dump()
    if allow_bad is not None:
        options.setdefault("data", {})["allow_bad"] = parse_share(allow_bad)
    if superclass is not None:
        options.setdefault("data", {})["superclass"] = superclass
    return with_absolute_paths(build_config(get_recipe(str(named)).defaults, content, *assigned, options))


def train(
    data: str | Path,
    *,
    output: str | Path = "runs",
    name: str | None = None,
    progress: Progress | None = None,
    consent_download: bool = False,
    started: float | None = None,
    **options: Any,
) -> Run:
    """Train a classifier on a folder of images, a table or a named data set.

    Args:
        data: the images; see the documentation of the sources.
        output: folder that the run's folder is made in.
        name: name of the run; made from the data, the recipe and the time when left out.
        progress: whom to tell; nobody when left out.
        consent_download: whether a named data set may be downloaded.
        started: `time.monotonic()` from which the budget counts; now when left out.
        options: `budget`, `recipe`, `model`, `epochs`, `size`, `split`, `allow_bad`, `superclass`, `seed`, `device`,
            `file`, `settings`; see `assemble_config`.

    Returns:
        The run; `eyebright.load(run.path)` gives its classifier.

    Raises:
        EyebrightError: see `eyebright.errors`; the message says what to do.
    """
    started = time.monotonic() if started is None else started
    journal = _Journal(progress or Silent())
    config = assemble_config(data, **options)
    device = pick_device(config.device)
    if config.model.name is not None:
        network_facts(config.model.name)  # a typing error should cost no waiting
    output = Path(output)
    name = name or _run_name(data, config.recipe)
    check_run_name(name)
    check_writable(output)
    source = open_images(config.source, superclass=config.data.superclass, consent_download=consent_download)
    with journal.stage("look at the images"):
        manifest, looked = scan(source, config, journal)
    run = create_run(output, name)
    try:
        write_text(run.file("config.yaml"), to_yaml(config))
        manifest.write(run.file("manifest.parquet"))
        if looked is not None:
            write_json(run.file("audit.json"), looked.as_dict())
        run.set_state("running", since=now(), seconds=0.0)
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)  # not yet a run that could be resumed
        raise
    journal.note(f"run {run.path}")
    return _carry_out(run, config, manifest, source, device, journal, started=started, used=0.0)


def resume(path: str | Path, *, progress: Progress | None = None, started: float | None = None) -> Run:
    """Continue a run that was interrupted or killed, from its last checkpoint.

    Raises:
        UsageError: the run is complete.
        BundleError: there is no run at that path.
    """
    started = time.monotonic() if started is None else started
    run = open_run(path)
    state = run.state
    if state.get("state") == "complete" and not (run.checkpoint / "loop").is_dir():
        raise UsageError(
            f"the run {run.path} is complete",
            expected="a run that was interrupted or killed",
            remedy="train again to get another one",
        )
    journal = _Journal(progress or Silent())
    config = build_config(read_yaml(run.file("config.yaml")))
    manifest = Manifest.read(run.file("manifest.parquet"))
    source = open_images(config.source, superclass=config.data.superclass)
    journal.note(f"resuming {run.path}")
    used = float(state.get("seconds", 0.0))
    return _carry_out(run, config, manifest, source, pick_device(config.device), journal, started=started, used=used)


def _carry_out(
    run: Run, config: TrainConfig, manifest: Manifest, source: Source, device: torch.device, journal: _Journal,
    *, started: float, used: float,
) -> Run:  # fmt: skip
    """Everything after the manifest, with the run's state kept true whatever happens."""
    stop = StopSignal()

    def seconds() -> float:
        return used + time.monotonic() - started

    try:
        _stages(run, config, manifest, source, device, journal, stop, started=started, used=used)
    except KeyboardInterrupt:
        run.set_state("interrupted", since=now(), seconds=seconds())
        raise Interrupted(
            f"stopped; what was done is kept in {run.path}", remedy=f"continue with `eyebright resume {run.path}`"
        ) from None
    except EyebrightError as error:
        run.set_state("failed", since=now(), seconds=seconds(), error=error.as_dict())
        raise
    except Exception as error:
        facts = {"error": type(error).__name__, "problem": str(error)}
        run.set_state("failed", since=now(), seconds=seconds(), error=facts)
        raise
    return run


def _stages(
    run: Run, config: TrainConfig, manifest: Manifest, source: Source, device: torch.device, journal: _Journal,
    stop: StopSignal, *, started: float, used: float,
) -> None:  # fmt: skip
    allocator = keep_freed_memory() if device.type == "cpu" else False
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    environment = describe_environment(device, allocator=allocator)
    write_json(run.file("environment.json"), environment)
    deadline = None if config.budget_seconds is None else started + config.budget_seconds - used

    def record(line: dict[str, Any]) -> None:
        _append_history(run, line)
        run.set_state("running", since=now(), seconds=used + time.monotonic() - started)

    context = Context(
        config=config, facts=data_facts(manifest, source), device=device, deadline=deadline,
        checkpoint=run.checkpoint, progress=journal, stop=stop, record=record,
    )  # fmt: skip
    recipe = get_recipe(config.recipe)
    with journal.stage("plan"):
        plan = _plan(run, context)
    with journal.stage("decode"):
        manifest, packed = pack(manifest, source, plan.preprocess, config, journal)
        manifest.write(run.file("manifest.parquet"))
    sets = {split: pixel_set(manifest, packed, split, plan.preprocess, device) for split in ("train", "val", "test")}
    with journal.stage("train"), stop_on_interrupt(stop, journal):
        outcome = recipe.fit(plan, context, sets["train"], sets["val"])
    with journal.stage("export and score"):
        scored = finish(
            outcome.network,
            run=run,
            plan=plan,
            manifest=manifest,
            source=source,
            packed=packed,
            sets=sets,
            progress=journal,
        )
    accuracy = scored.test.accuracy
    journal.note(f"test accuracy {accuracy.value:.3f}, 95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}")
    if outcome.stopped:
        journal.warn("training was stopped before its planned end")
    wall_seconds = used + time.monotonic() - started
    facts = {
        "reasons": list(outcome.reasons),
        "warnings": journal.warnings,
        "seconds": journal.seconds,
        "wall_seconds": round(wall_seconds, 2),
        "stopped": outcome.stopped,
        **peak_memory(device),
    }
    write_json(run.file("environment.json"), {**environment, "outcome": facts})
    with journal.stage("report"):
        make_report(run, source=source)
    wall_seconds = used + time.monotonic() - started
    if config.budget_seconds is not None and wall_seconds > config.budget_seconds:
        slowest = max(journal.seconds, key=lambda name: journal.seconds[name])
        journal.warn(
            f"took {wall_seconds:.0f} s, {wall_seconds - config.budget_seconds:.0f} s more than the budget of "
            f"{config.budget_seconds:.0f} s; the longest part was {slowest!r} with {journal.seconds[slowest]:.0f} s"
        )
    facts |= {"wall_seconds": round(wall_seconds, 2), "warnings": journal.warnings, "seconds": journal.seconds}
    write_json(run.file("environment.json"), {**environment, "outcome": facts})
    if not outcome.stopped:
        shutil.rmtree(run.checkpoint, ignore_errors=True)
    run.set_state("complete", since=now(), seconds=wall_seconds, stopped=outcome.stopped)


def _plan(run: Run, context: Context) -> Plan:
    """The plan of the run: made once, and read again when the run is resumed."""
    path = run.file("plan.json")
    if path.is_file():
        plan = Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    else:
        plan = get_recipe(context.config.recipe).plan(context)
        write_json(path, plan.as_dict())
    facts = context.facts
    context.progress.note(
        f"{sum(facts.images.values())} images in {facts.classes} classes: "
        + ", ".join(f"{count} {split}" for split, count in facts.images.items())
    )
    context.progress.note(f"preprocessing: {plan.preprocess.describe()}")
    for reason in plan.reasons:
        context.progress.note(f"plan: {reason}")
    left = context.seconds_left()
    if left is not None and context.config.budget_seconds is not None:
        context.progress.note(
            f"plan: to be done within {context.config.budget_seconds:.0f} s, {left:.0f} s of them left"
        )
    return plan


def _append_history(run: Run, line: Mapping[str, Any]) -> None:
    """Add one line to `history.jsonl`; a resumed run replaces the lines that it repeats."""
    path = run.file("history.jsonl")

    def place(entry: Mapping[str, Any]) -> tuple[Any, Any]:
        return entry.get("stage"), entry.get("epoch")

    kept = [entry for entry in run.history() if place(entry) != place(line)]
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in [*kept, line]))


def _run_name(data: str | Path, recipe: str) -> str:
    """Made from the data, the recipe and the time; short enough for a folder, and without what gives access."""
    given = str(data)
    text = without_secrets(given) if is_address(given) or not Path(given).exists() else Path(given).resolve().name
    stem = re.sub(r"[^\w.-]+", "-", text).strip("-.")[-_LONGEST_STEM:]
    return f"{stem or 'data'}-{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"


def check_writable(output: Path) -> None:
    """Fail now rather than after an hour when runs cannot be written to this folder. Nothing is left there.

    Raises:
        UsageError: it is a file, or lies below one.
        StorageError: the folder cannot be made or written.
    """
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UsageError(
            f"{there} is a file", expected="a folder for runs", remedy="choose another one with --output DIR"
        )
    with explained(output), tempfile.TemporaryFile(dir=there):
        pass
