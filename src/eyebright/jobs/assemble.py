"""The configuration of a run from everything that can say something about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyebright.config import (
    SplitShares,
    TrainConfig,
    build_config,
    parse_assignment,
    parse_duration,
    parse_share,
    read_yaml,
)
from eyebright.errors import UsageError
from eyebright.jobs.prepare import resolve_source, with_absolute_paths
from eyebright.recipes import get_recipe


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
    batch_size: int | None = None,
    deterministic: bool | None = None,
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
    if batch_size is not None:
        options["optim"] = {"batch_size": batch_size}
    if deterministic is not None:
        options["compute"] = {"deterministic": deterministic}
    if split is not None:
        options.setdefault("data", {})["split"] = SplitShares.parse(split).model_dump()
    if allow_bad is not None:
        options.setdefault("data", {})["allow_bad"] = parse_share(allow_bad)
    if superclass is not None:
        options.setdefault("data", {})["superclass"] = superclass
    return with_absolute_paths(build_config(get_recipe(str(named)).defaults, content, *assigned, options))
