"""`eyebright recipes`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.shell import HELP_OPTIONS, json_before_action, print_json, verb_with_actions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eyebright.recipes.base import Recipe

command = verb_with_actions("recipes")

WIDTH = 110

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


@command.callback(invoke_without_command=True)
def recipes(context: typer.Context, json_: Json = False) -> None:
    """Ways to train, each with a name for `eyebright train --recipe NAME`.

    A recipe is a set of defaults: every setting can still be changed. Without an action this lists them.

    \b
    Examples:
      eyebright recipes
      eyebright recipes show deep-v1
      eyebright train photos/ --recipe deep-v1
    """
    if context.invoked_subcommand is None:
        list_(json_)
    elif json_:
        raise json_before_action("recipes", context.invoked_subcommand)


@command.command(name="list", context_settings=HELP_OPTIONS)
def list_(json_: Json = False) -> None:
    """List all recipes: those for any images, then those of five published systems.

    \b
    Example:
      eyebright recipes list --json
    """
    from eyebright.recipes import BY_SYSTEM, SYSTEMS

    if json_:
        print_json({
            name: {"system": system, "summary": line}
            for system, lines in BY_SYSTEM.items() for name, line in lines.items()
        })  # fmt: skip
        return
    width = max(len(name) for lines in BY_SYSTEM.values() for name in lines)
    for system, lines in BY_SYSTEM.items():
        print(SYSTEMS[system])
        for name, line in lines.items():
            print(f"  {name:<{width}}  {line}")


@command.command(context_settings=HELP_OPTIONS)
def show(
    name: Annotated[str, typer.Argument(help="Name of a recipe.", show_default=False)],
    json_: Json = False,
    yaml_: Annotated[
        bool, typer.Option("--yaml", help="Print only the settings, as a file for `train --config`.")
    ] = False,
) -> None:
    """Show a recipe: what it reproduces, what was published and measured, its choices, variants and settings.

    The settings are those that differ from the defaults of `auto` (docs/configuration.md).

    \b
    Examples:
      eyebright recipes show cnn-224
      eyebright recipes show cnn-224 --yaml > mine.yaml
    """
    from eyebright.errors import UsageError
    from eyebright.recipes import as_yaml, get_recipe, settings_of

    if json_ and yaml_:
        raise UsageError("--json and --yaml ask for two forms at once", expected="one of them")
    recipe = get_recipe(name)
    if json_:
        print_json(_facts(recipe))
    elif yaml_:
        print(as_yaml(settings_of(recipe)), end="")
    else:
        _print_recipe(recipe)


def _facts(recipe: Recipe) -> dict[str, Any]:
    import dataclasses

    from eyebright.recipes import settings_of

    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "system": recipe.system,
        "command": _train_command(recipe),
        "source": recipe.source,
        "published": [dataclasses.asdict(figure) for figure in recipe.published],
        "measured": [dataclasses.asdict(figure) for figure in recipe.measured],
        "choices": list(recipe.choices),
        "variants": {what: f"{_train_command(recipe)} {options}" for what, options in recipe.variants.items()},
        "settings": settings_of(recipe),
    }


def _train_command(recipe: Recipe) -> str:
    return f"eyebright train DATA --recipe {recipe.name}"


def _print_recipe(recipe: Recipe) -> None:
    from eyebright.recipes import as_yaml, settings_of

    print(f"{recipe.name}: {recipe.summary}")
    if recipe.source:
        _print_paragraphs("source", [recipe.source])
    _print_lines("command", [_train_command(recipe)])
    _print_table("published by the source", [(one.figure, one.value, one.where) for one in recipe.published])
    _print_table("measured", [(one.data, one.figure, one.value, one.machine) for one in recipe.measured])
    _print_lines("how to measure it again", dict.fromkeys(one.command for one in recipe.measured))
    _print_paragraphs("choices", recipe.choices, mark="- ")
    _print_table("variants", list(recipe.variants.items()))
    _print_lines("settings that differ from the defaults", as_yaml(settings_of(recipe)).splitlines())


def _print_lines(title: str, lines: Iterable[str]) -> None:
    for number, line in enumerate(lines):
        if number == 0:
            print(f"\n{title}")
        print(f"  {line}")


def _print_paragraphs(title: str, texts: Iterable[str], mark: str = "") -> None:
    lines = []
    for text in texts:
        lines += textwrap.wrap(text, WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))
    _print_lines(title, lines)


def _print_table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Rows with their columns below each other, each as wide as it needs to be."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    padded = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    _print_lines(title, padded)
