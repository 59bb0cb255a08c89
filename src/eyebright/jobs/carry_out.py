"""Everything between a run's manifest and its report, alone or as one process of several.

The first process of a team looks at the images, decides, writes and reports; the others compute their part of every
batch. Whatever happens, the run's state says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from eyebright.allocator import keep_freed_memory
from eyebright.atomic import write_json
from eyebright.config import TrainConfig
from eyebright.data.manifest import Manifest
from eyebright.data.packing import ImagesLost
from eyebright.data.sources import Source
from eyebright.errors import EyebrightError, Interrupted, Preempted, TeamError
from eyebright.evaluation.overfitting import diagnose
from eyebright.jobs.environment import describe_environment, now, peak_memory
from eyebright.jobs.finish import finish
from eyebright.jobs.interrupt import heeding_signals, outlive_termination
from eyebright.jobs.journal import Journal, append_history
from eyebright.jobs.prepare import data_facts
from eyebright.jobs.profile import write_profile
from eyebright.jobs.reporting import OVERLAY_SECONDS, make_report
from eyebright.jobs.streaming import with_stream_decided
from eyebright.jobs.training_images import TrainingImages
from eyebright.recipes import get_recipe
from eyebright.recipes.base import Context, Outcome, Plan
from eyebright.recipes.compiled import with_compiling_decided
from eyebright.run import Run
from eyebright.training.hooks import Hook, StopSignal
from eyebright.training.team import Team
from eyebright.training.writers import CsvWriter, TensorBoardWriter

PAGE_SECONDS = 6.0
"""Kept for the page itself when a budget is running out."""
FEWEST_OVERLAY_SECONDS = 5.0
"""With less than this left, the report goes without pictures of what the classifier looked at."""
TOLD = ("possible", "clear", "underfitting")
"""Verdicts on overfitting that a user should see at once; the report has them all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sitting:
    """One process at work on a run, from its start or its resumption on.

    Attributes:
        run, config, source: what is worked on.
        team: the processes that work together.
        journal: whom to tell.
        hooks: told of every step and epoch, besides our own.
        started: `time.monotonic()` from which this sitting counts.
        used: seconds that former sittings took.
    """

    run: Run
    config: TrainConfig
    source: Source
    team: Team
    journal: Journal
    hooks: Sequence[Hook]
    started: float
    used: float

    @property
    def seconds(self) -> float:
        """Time spent on the run, former sittings included."""
        return self.used + time.monotonic() - self.started


def carry_out(sitting: Sitting, manifest: Manifest) -> Run:
    """Plan, pack, train, export, score and report; the run's state is kept true whatever happens.

    Raises:
        EyebrightError: see `eyebright.errors`; the message says how to go on.
    """
    run, stop = sitting.run, StopSignal()

    def left(state: str, **facts: Any) -> None:
        if sitting.team.leads:
            run.set_state(state, since=now(), seconds=sitting.seconds, **facts)

    go_on = f"continue with `eyebright resume {run.path}`"
    try:
        with heeding_signals(stop, sitting.journal), _deterministic(sitting.config.compute.deterministic):
            _stages(sitting, manifest, stop)
    except KeyboardInterrupt:
        left("interrupted")
        raise Interrupted(f"stopped; what was done is kept in {run.path}", remedy=go_on) from None
    except Preempted as error:
        left("interrupted")
        raise Preempted(error.problem, remedy=go_on) from None
    except TeamError as error:
        outlive_termination()
        left("interrupted")
        raise TeamError(error.problem, expected=error.expected, remedy=go_on) from None
    except EyebrightError as error:
        left("failed", error=error.as_dict())
        raise
    except Exception as error:
        left("failed", error={"error": type(error).__name__, "problem": str(error)})
        raise
    return run


def _stages(sitting: Sitting, manifest: Manifest, stop: StopSignal) -> None:
    run, config, journal, team = sitting.run, sitting.config, sitting.journal, sitting.team
    device = team.device
    allocator = keep_freed_memory() if device.type == "cpu" else False
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    environment = {**describe_environment(device, allocator=allocator), "processes": team.size}
    if team.leads:
        write_json(run.file("environment.json"), environment)

    def record(line: dict[str, Any]) -> None:
        append_history(run, line)
        run.set_state("running", since=now(), seconds=sitting.seconds)

    writers = _writers(run, config) if team.leads else []
    context = Context(
        config=config, facts=data_facts(manifest, sitting.source), device=device,
        deadline=None if config.budget_seconds is None else sitting.started + config.budget_seconds - sitting.used,
        checkpoint=run.checkpoint, progress=journal, stop=stop, record=record if team.leads else _forget,
        team=team,
    )  # fmt: skip
    with journal.stage("plan"):
        plan = Plan.from_dict(team.share(_plan(run, context, manifest).as_dict() if team.leads else None))
    with journal.stage("decode"):
        # The others find the first one's pack in the cache, or make their own on another machine.
        if not team.leads:
            team.wait()
        images = TrainingImages(run, manifest, sitting.source, plan, team, journal)
        if team.leads:
            team.wait()
    with images, journal.stage("train"):
        outcome = _trained(sitting, plan, context, images, writers)
    if not team.leads:
        return
    if outcome.architecture_arguments is not None:
        plan = dataclasses.replace(plan, architecture_arguments=outcome.architecture_arguments)
    with journal.stage("export and score"):
        scored = finish(
            outcome.network,
            run=run,
            plan=plan,
            manifest=images.manifest,
            source=sitting.source,
            packed=images.packed,
            sets=images.sets,
            progress=journal,
        )
    accuracy = scored.test.accuracy
    journal.note(f"test accuracy {accuracy.value:.3f}, 95 % interval {accuracy.low:.3f} to {accuracy.high:.3f}")
    fitted = run.metrics["fit"]
    found = diagnose(run.history(), train=fitted["train"], val=fitted["val"], config=plan.config.model_dump())
    if found.verdict in TOLD:
        journal.note(" ".join(found.sentences[:2]))
    if outcome.stopped:
        journal.warn("training was stopped before its planned end")
    facts = {
        "reasons": list(outcome.reasons),
        "warnings": journal.warnings,
        "seconds": journal.seconds,
        "wall_seconds": round(sitting.seconds, 2),
        "stopped": outcome.stopped,
        **peak_memory(device),
    }
    if images.seconds is not None:
        facts["decoding_overlapped_seconds"] = round(images.seconds, 2)
    write_json(run.file("environment.json"), {**environment, "outcome": facts})
    left = context.seconds_left()
    overlay_seconds = OVERLAY_SECONDS if left is None else min(OVERLAY_SECONDS, left - PAGE_SECONDS)
    enough = overlay_seconds > FEWEST_OVERLAY_SECONDS
    if not enough:
        journal.note(f"no time is left to show what it looked at: `eyebright report {run.path}` adds it")
    with journal.stage("report"):
        make_report(run, source=sitting.source, overlays=enough, overlay_seconds=overlay_seconds)
    wall_seconds = sitting.seconds
    _warn_of_time(journal, wall_seconds, config.budget_seconds)
    if config.compute.profile:
        for sentence in write_profile(run, context.profiles, journal.seconds, device=device.type):
            journal.note(sentence)
    facts |= {"wall_seconds": round(wall_seconds, 2), "warnings": journal.warnings, "seconds": journal.seconds}
    write_json(run.file("environment.json"), {**environment, "outcome": facts})
    if not outcome.stopped:
        shutil.rmtree(run.checkpoint, ignore_errors=True)
    run.set_state("complete", since=now(), seconds=wall_seconds, stopped=outcome.stopped)


def _trained(sitting: Sitting, plan: Plan, context: Context, images: TrainingImages, writers: list[Hook]) -> Outcome:
    """What the recipe makes of the images; made again where some turn out to be broken while it learns from them."""
    recipe, outcome = get_recipe(sitting.config.recipe), None
    hooks = [*writers, *sitting.hooks] if sitting.team.leads else []
    try:
        outcome = recipe.fit(plan, dataclasses.replace(context, hooks=hooks), images.sets["train"], images.sets["val"])
    except ImagesLost:
        pass  # seen before anything was learnt from them
    finally:
        for writer in writers:
            if isinstance(writer, TensorBoardWriter):
                writer.close()
    stays = images.settled(keep=outcome is not None and outcome.stopped)
    if outcome is not None and stays:
        return outcome
    return _trained(sitting, plan, context, images, _writers(sitting.run, sitting.config))


def _plan(run: Run, context: Context, manifest: Manifest) -> Plan:
    """The plan of the run: made once, and read again when the run is resumed."""
    path = run.file("plan.json")
    if path.is_file():
        plan = Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    else:
        plan = with_stream_decided(get_recipe(context.config.recipe).plan(context), manifest)
        plan = with_compiling_decided(plan, context)
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


def _writers(run: Run, config: TrainConfig) -> list[Hook]:
    writers: list[Hook] = []
    if config.log.csv:
        writers.append(CsvWriter(run.file("history.csv")))
    if config.log.tensorboard:
        writers.append(TensorBoardWriter(run.file("tensorboard")))
    return writers


def _forget(line: dict[str, Any]) -> None:
    """The history is the first process's."""


def _warn_of_time(journal: Journal, seconds: float, budget: float | None) -> None:
    if budget is not None and seconds > budget:
        slowest = max(journal.seconds, key=lambda name: journal.seconds[name])
        journal.warn(
            f"took {seconds:.0f} s, {seconds - budget:.0f} s more than the budget of {budget:.0f} s; the longest part "
            f"was {slowest!r} with {journal.seconds[slowest]:.0f} s"
        )


@contextlib.contextmanager
def _deterministic(asked: bool) -> Iterator[None]:
    """Only algorithms that give the same bits every time, while the context is open."""
    if not asked:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be repeatable
    former, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(former)
        torch.backends.cudnn.benchmark = benchmark
