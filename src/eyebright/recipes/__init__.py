"""Recipes: named presets that plan and fit. `recipes()` lists them; nothing here imports torch before it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from eyebright.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from eyebright.recipes.base import Recipe

SUMMARIES = {
    "auto": "pretrained network: linear probe, then fine-tuning as far as the budget goes; the better one is kept",
    "scratch": "any network from random weights (--model NAME), for as long as the budget or --epochs says",
}
"""Name and one line for each recipe; the module of the same name holds it."""


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none; the message suggests the nearest.
    """
    if name not in SUMMARIES:
        raise UsageError(
            f"unknown recipe {name!r}{did_you_mean(name, SUMMARIES)}", expected=f"one of {', '.join(SUMMARIES)}"
        )
    recipe: Recipe = import_module(f"eyebright.recipes.{name}").RECIPE
    return recipe
