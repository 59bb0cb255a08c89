"""Write docs/recipes.md from the recipes: `python packaging/recipes_page.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eyebright.config import TrainConfig
from eyebright.recipes import BY_SYSTEM, SYSTEMS, as_yaml, get_recipe, settings_of
from eyebright.recipes.base import Recipe
from eyebright.recipes.plain import PLAIN

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipes.md"
HEAD = """\
# Recipes

A recipe is a named set of defaults with a plan: `eyebright train DATA --recipe NAME`. Every setting of it can be
changed, by an option of the command, by `--set key=value`, or in a YAML file; `eyebright recipes show NAME --yaml`
writes one to start from. `eyebright recipes list` shows all, `eyebright recipes show NAME` one of them.

Four recipes are for any images. The others reproduce five published systems, each with the values of its source. Where
a source is silent or contradicts itself, the recipe says what was chosen. All of them run on any images: classes follow
the data, and images are brought to the size and the channels that the recipe names.

This page is made from the code by `python packaging/recipes_page.py`.

## What a published recipe starts from

The defaults of Eyebright are those of `auto`, and a plain training loop has none of them: smoothed labels, an average
of weights, clipped gradients, lower rates for earlier layers, random crops, a budget. A published recipe starts from a
plain loop instead (`eyebright.recipes.plain.PLAIN`): Adam at 1e-3 for as many epochs as it says, in float32, on images
that are squashed to their size and nothing else, the weights of the last step. What a recipe has beyond
that is listed with it. Three things are Eyebright's own and stay in all of them: no split of its making separates
near-duplicates, the test images are scored once, and the normalisation travels with the weights.

## Data

| system | images of the source | nearest real set here |
|---|---|---|
| `deep-v1` | several folder data sets in one (`eyebright datasets combine`) | flowers: 4,317 photos of 128 px |
| `cnn-224` | more than 10,000 photos of various resolutions | trashnet: 2,527 photos of 512x384, 6 classes |
| `animals-*` | Animals-10: 26,179 photos, 10 unbalanced classes | trashnet, which is unbalanced too; flowers |
| `cifar10net-*` | CIFAR-10 | CIFAR-10 itself |
| `fashion-*` | Fashion-MNIST | Fashion-MNIST itself (`fashion-mnist`) |
| `cifar100-*` | CIFAR-100 | a fifth of CIFAR-100, with superclasses |

A set that brings its own test split keeps it; validation images are then taken from its training images.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_system(system) for system in SYSTEMS)


def _system(system: str) -> str:
    title = SYSTEMS[system][0].upper() + SYSTEMS[system][1:]
    return f"\n## {title}\n" + "".join(_recipe(get_recipe(name)) for name in BY_SYSTEM[system])


def _recipe(recipe: Recipe) -> str:
    command = f"eyebright train DATA --recipe {recipe.name}"
    parts = [f"\n### `{recipe.name}`\n", f"{recipe.summary[0].upper()}{recipe.summary[1:]}.\n"]
    if recipe.source:
        parts.append(f"{recipe.source}\n")
    parts.append(f"```\n{command}\n```\n")
    if values := _values(recipe):
        beyond = "a plain loop" if recipe.system else "the defaults"
        parts.append(f"Beyond {beyond}:\n\n```yaml\n{as_yaml(values)}```\n")
    if recipe.published:
        rows = ((one.figure, one.value, one.where) for one in recipe.published)
        parts.append(_table(("published", "value", "on"), rows))
    if recipe.choices:
        parts.append("Choices:\n")
        parts.append("".join(f"- {choice}\n" for choice in recipe.choices))
    if recipe.variants:
        parts.append(_table(("variant", "options"), ((what, f"`{how}`") for what, how in recipe.variants.items())))
    if recipe.measured:
        cells = ((one.data, one.figure, one.value, one.machine, f"`{one.command}`") for one in recipe.measured)
        parts.append(_table(("measured on", "figure", "value", "machine", "command"), cells))
    elif recipe.system:
        parts.append("Not measured yet.\n")
    return "\n".join(parts)


def _values(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says, in the order of the tree: for a published one, where a plain loop says otherwise."""
    if not recipe.system:
        return {key: value for key, value in settings_of(recipe).items() if key != "recipe"}
    said = _beyond(recipe.defaults, PLAIN)
    return {key: said[key] for key in TrainConfig.model_fields if key in said}


def _beyond(said: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in said.items():
        if isinstance(value, Mapping):
            if below := _beyond(value, plain.get(key, {})):
                found[key] = below
        elif key not in plain or plain[key] != value:
            found[key] = float(f"{value:.4g}") if isinstance(value, float) else value
    return found


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
