"""Names of the recipes, and the way from a name to its recipe. Nothing here imports torch before it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import yaml

from eyebright.config import build_config
from eyebright.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from eyebright.recipes.base import Recipe

SYSTEMS = {
    "": "for any images",
    "deep-v1": "a custom network from scratch at 128 px",
    "cnn-224": "a production pipeline at 224 px",
    "animals": "ten unbalanced classes of photos",
    "cifar10net": "32 px under hard limits",
    "fashion-cifar100": "how model and data complexity trade off",
}
"""What a recipe belongs to: nothing, or one of five published systems; and what that is about."""

BY_SYSTEM = {
    "": {
        "auto": "pretrained network: linear probe, then fine-tuning as far as the budget goes; the better one is kept",
        "scratch": "any network from random weights (--model NAME), for as long as the budget or --epochs says",
        "fine-tune": "pretrained network: its head first, then all of it with lower rates for earlier layers",
        "fast": "small images to a good accuracy in the least time, from random weights: as wide as the budget allows",
        "shallow": "colour, HOG and LBP features with a classifier of scikit-learn: shows what depth buys",
    },
    "deep-v1": {
        "deep-v1": "five blocks of convolution, batch norm and max-pool at 128 px, StepLR",
    },
    "cnn-224": {
        "cnn-224": "three convolutions and a dense layer at 224 px, cosine annealing; ablation as variants",
    },
    "animals": {
        "animals-cnn": "six convolutions in three blocks at 128 px, from random weights",
        "animals-transfer": "EfficientNet-B0, its head first and then all of it, with class weights",
    },
    "cifar10net": {
        "cifar10net-v2": "fewer than 200,000 parameters, no max-pooling; stops at 85 % on CIFAR-10",
        "cifar10net-v3": "the same limits with residual connections and a better schedule",
    },
    "fashion-cifar100": {
        "fashion-ann": "two dense layers for 28 px grey images",
        "fashion-cnn": "two convolutions for 28 px grey images",
        "fashion-deep-cnn": "four convolutions with batch norm and dropout for 28 px grey images",
        "cifar100-ann": "dense layers for 32 px colour images of 100 classes",
        "cifar100-cnn": "convolutions for 32 px colour images of 100 classes",
        "cifar100-resnet50": "pretrained ResNet-50 for images of 100 classes: its head first, then its second half",
    },
}
"""Name and one line for each recipe, by system."""

SUMMARIES = {name: line for recipes in BY_SYSTEM.values() for name, line in recipes.items()}
"""Name and one line for each recipe; the module of that name, with `_` for `-`, holds it."""


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none; the message suggests the nearest.
    """
    if name not in SUMMARIES:
        raise UsageError(
            f"unknown recipe {name!r}{did_you_mean(name, SUMMARIES)}", expected=f"one of {', '.join(SUMMARIES)}"
        )
    recipe: Recipe = import_module(f"eyebright.recipes.{name.replace('-', '_')}").RECIPE
    return recipe


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that are not those of the configuration tree, its name first.

    Returns:
        A nested mapping of plain values. As YAML it is what `--config` takes, and asks for the same run.
    """
    chosen = build_config(recipe.defaults, {"recipe": recipe.name})
    return {"recipe": recipe.name} | chosen.model_dump(mode="json", exclude_defaults=True)


def as_yaml(settings: Mapping[str, Any]) -> str:
    """Nested settings as YAML that people like to read: parts as blocks, lists of numbers or names on one line."""
    return str(yaml.dump(settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):
    """Plain values in our layout."""


def _sequence(dumper: yaml.SafeDumper, values: Sequence[Any]) -> yaml.Node:
    nested = any(isinstance(value, (Mapping, list, tuple)) for value in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=not nested)


_Dumper.add_representer(list, _sequence)
_Dumper.add_representer(tuple, _sequence)
