"""Find a learning rate for a data set and a recipe: a few steps at rising rates, and a plot. No run is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from eyebright.allocator import keep_freed_memory
from eyebright.atomic import write_bytes, write_json, write_text
from eyebright.config import TrainConfig
from eyebright.errors import UsageError, did_you_mean
from eyebright.jobs.assemble import assemble_config
from eyebright.jobs.journal import Journal
from eyebright.jobs.prepare import data_facts, open_images, pack, pixel_set, scan
from eyebright.jobs.train import check_writable
from eyebright.progress import Progress, Silent
from eyebright.recipes import get_recipe
from eyebright.recipes.base import Context, Plan, make_network
from eyebright.recipes.stages import image_change
from eyebright.report.rate_page import rate_figure_png, rate_page
from eyebright.training.device import pick_device
from eyebright.training.hooks import StopSignal
from eyebright.training.lr_finder import RateCurve
from eyebright.training.rate_search import search_rate
from eyebright.training.stage import Stage

DEFAULT_RECIPE = "fine-tune"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateFinding:
    """What a range test found.

    Attributes:
        curve: losses over rates, and the suggestion.
        stage: name of the stage that was tested.
        network: name of the network.
        folder: where the plot (`rates.png`, `rates.html`) and the figures (`rates.json`) lie.
    """

    curve: RateCurve
    stage: str
    network: str
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        curve = dataclasses.asdict(self.curve)
        plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in curve.items()}
        return {"network": self.network, "stage": self.stage, **plain}


def find_learning_rate(
    data: str | Path,
    *,
    output: str | Path = "lr-find",
    stage: str | None = None,
    steps: int = 100,
    lowest: float = 1e-7,
    highest: float = 10.0,
    progress: Progress | None = None,
    consent_download: bool = False,
    **options: Any,
) -> RateFinding:
    """Train a few steps at rising learning rates and see where the loss falls most steeply.

    Args:
        data: the images, as for `train`.
        output: folder for the plot and the figures.
        stage: which stage of the recipe; the first when left out.
        steps, lowest, highest: of the test; see `range_test`.
        progress: whom to tell.
        consent_download: whether a named data set may be downloaded.
        options: as for `train`; the recipe is `fine-tune` when left out.

    Raises:
        UsageError: the recipe has no such stage, or sets its rates itself (`auto`).
    """
    journal = Journal(progress or Silent())
    options = {**options, "recipe": options.get("recipe") or DEFAULT_RECIPE, "no_budget": True}
    config = assemble_config(data, **options)
    if config.recipe == "auto":
        raise UsageError(
            "the recipe 'auto' sets its rates itself",
            expected="another recipe",
            remedy=f"leave --recipe out (it is {DEFAULT_RECIPE}), or name one of `eyebright recipes`",
        )
    folder = Path(output)
    check_writable(folder)
    source = open_images(config.source, superclass=config.data.superclass, consent_download=consent_download)
    manifest, _ = scan(source, config, journal)
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    context = Context(
        config=config, facts=data_facts(manifest, source), device=device, deadline=None, checkpoint=folder,
        progress=journal, stop=StopSignal(), record=_forget,
    )  # fmt: skip
    plan = get_recipe(config.recipe).plan(context)
    chosen = _stage_of(plan, stage)
    manifest, packed = pack(manifest, source, plan.preprocess, config, journal)
    train = pixel_set(manifest, packed, "train", plan.preprocess, device)
    network = make_network(plan, context)
    curve = search_rate(
        network, train, config=plan.config, stage=chosen, lowest=lowest, highest=highest, steps=steps,
        change=image_change(plan), progress=journal,
    )  # fmt: skip
    finding = RateFinding(curve=curve, stage=chosen.name, network=plan.network, folder=folder)
    _write(finding, plan.config)
    return finding


def _stage_of(plan: Plan, name: str | None) -> Stage:
    known = {stage.name: stage for stage in plan.stages}
    if name is not None and name not in known:
        raise UsageError(
            f"the recipe has no stage {name!r}{did_you_mean(name, known)}", expected=f"one of {', '.join(known)}"
        )
    stage = plan.stages[0] if name is None else known[name]
    if stage.level != "class":
        raise UsageError(f"the stage {stage.name!r} learns superclasses", expected="a stage that learns classes")
    return stage


def _write(finding: RateFinding, config: TrainConfig) -> None:
    finding.folder.mkdir(parents=True, exist_ok=True)
    curve = finding.curve
    facts: dict[str, Any] = {
        "rates": curve.rates, "losses": curve.losses, "smoothed": curve.smoothed, "suggestion": curve.suggestion,
    }  # fmt: skip
    write_json(finding.folder / "rates.json", finding.as_dict())
    write_bytes(finding.folder / "rates.png", rate_figure_png(**facts))
    title = f"Learning rates for {finding.network}, stage {finding.stage}, recipe {config.recipe}"
    write_text(finding.folder / "rates.html", rate_page(**facts, title=title, reason=curve.reason))


def _forget(line: dict[str, Any]) -> None:
    """There is no run, so there is no history."""
