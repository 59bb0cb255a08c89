"""The main job: from images to a run with a classifier, its measurements and a report. Also how a run is resumed."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eyebright.atomic import explained, write_json, write_text
from eyebright.bundle import read_bundle
from eyebright.config import TrainConfig, build_config, read_yaml, to_yaml
from eyebright.data.manifest import Manifest
from eyebright.data.sources.address import is_address, without_secrets
from eyebright.errors import UsageError
from eyebright.jobs.assemble import assemble_config
from eyebright.jobs.carry_out import Sitting, carry_out
from eyebright.jobs.environment import now
from eyebright.jobs.journal import Journal
from eyebright.jobs.prepare import open_images, scan
from eyebright.models.catalog import network_facts
from eyebright.progress import Progress, Silent
from eyebright.recipes.base import Plan
from eyebright.run import Run, check_run_name, create_run, open_run
from eyebright.training.hooks import Hook
from eyebright.training.team import Team, join_team

_LONGEST_STEM = 80


def train(
    data: str | Path,
    *,
    output: str | Path = "runs",
    name: str | None = None,
    progress: Progress | None = None,
    consent_download: bool = False,
    started: float | None = None,
    hooks: Sequence[Hook] = (),
    **options: Any,
) -> Run:
    """Train a classifier on a folder of images, a table or a named data set.

    Under `torchrun` every process calls this; they train together, the first one writes, and all return the run.

    Args:
        data: the images; see the documentation of the sources.
        output: folder that the run's folder is made in.
        name: name of the run; made from the data, the recipe and the time when left out.
        progress: whom to tell; nobody when left out.
        consent_download: whether a named data set may be downloaded.
        started: `time.monotonic()` from which the budget counts; now when left out.
        hooks: told of every step and epoch; see `eyebright.training.hooks`.
        options: `budget`, `recipe`, `model`, `epochs`, `size`, `split`, `allow_bad`, `superclass`, `seed`, `device`,
            `batch_size`, `deterministic`, `file`, `settings`; see `assemble_config`.

    Returns:
        The run; `eyebright.load(run.path)` gives its classifier.

    Raises:
        EyebrightError: see `eyebright.errors`; the message says what to do.
    """
    started = time.monotonic() if started is None else started
    journal = Journal(progress or Silent())
    config = assemble_config(data, **options)
    with _team(config) as team:
        if config.model.name is not None:
            network_facts(config.model.name)  # a typing error should cost no waiting
        if config.distil.teacher is not None:
            read_bundle(config.distil.teacher)
        source = open_images(config.source, superclass=config.data.superclass, consent_download=consent_download)
        begun = None
        if team.leads:
            run = _begin(data, config, source, journal, output=Path(output), name=name)
            begun = str(run.path)
        run = Run(Path(team.share(begun)))
        sitting = Sitting(
            run=run, config=config, source=source, team=team, journal=journal, hooks=hooks, started=started, used=0.0
        )
        return carry_out(sitting, Manifest.read(run.file("manifest.parquet")))


def resume(
    path: str | Path,
    *,
    device: str | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
    started: float | None = None,
    hooks: Sequence[Hook] = (),
) -> Run:
    """Continue a run that was interrupted or killed, from its last checkpoint.

    Args:
        path: the run's folder.
        device: another device than before; rounding, and so the bits, will differ.
        batch_size: another batch size from here on; batches and steps will differ.
        progress, started, hooks: as for `train`.

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
    journal = Journal(progress or Silent())
    config = build_config(read_yaml(run.file("config.yaml")), {} if device is None else {"device": device})
    with _team(config) as team:
        if team.leads and batch_size is not None:
            _change_batch_size(run, batch_size)
        team.wait()
        source = open_images(config.source, superclass=config.data.superclass)
        journal.note(f"resuming {run.path}")
        sitting = Sitting(
            run=run, config=config, source=source, team=team, journal=journal, hooks=hooks, started=started,
            used=float(state.get("seconds", 0.0)),
        )  # fmt: skip
        return carry_out(sitting, Manifest.read(run.file("manifest.parquet")))


@contextmanager
def _team(config: TrainConfig) -> Iterator[Team]:
    team = join_team(config.device)
    try:
        yield team
    finally:
        team.leave()


def _begin(
    data: str | Path, config: TrainConfig, source: Any, journal: Journal, *, output: Path, name: str | None
) -> Run:
    """Look at the images and make the run's folder with its configuration and manifest."""
    name = name or _run_name(data, config.recipe)
    check_run_name(name)
    check_writable(output)
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
    return run


def _change_batch_size(run: Run, batch_size: int) -> None:
    """Give the stages of the run's plan another batch size, with the steps that the same epochs then take."""
    path = run.file("plan.json")
    if batch_size < 1:
        raise UsageError(f"a batch of {batch_size} images", expected="1 or more")
    if not path.is_file():
        raise UsageError(
            f"the run {run.path} has no plan yet, so there is no batch size to change",
            remedy="resume without --batch-size, or train again",
        )
    plan = Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    share = [stage.batch_size / batch_size for stage in plan.stages]
    stages = tuple(
        dataclasses.replace(
            stage,
            batch_size=batch_size,
            steps=max(1, round(stage.steps * factor)),
            most_steps=max(1, round(stage.most_steps * factor)),
            evaluate_every=max(1, round(stage.evaluate_every * factor)),
        )
        for stage, factor in zip(plan.stages, share, strict=True)
    )
    write_json(path, dataclasses.replace(plan, stages=stages).as_dict())


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
