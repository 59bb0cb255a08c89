"""`eyebright recipes`: the list, and what there is to know of each recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from eyebright.cli.main import main
from eyebright.config import build_config, read_yaml
from eyebright.recipes import BY_SYSTEM, SUMMARIES, SYSTEMS, get_recipe


def told(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert main(["recipes", *arguments]) == code
    return capsys.readouterr().out


def told_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(told([*arguments, "--json"], capsys))


def test_the_list_groups_the_recipes_by_system(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(["list"], capsys).splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles == list(SYSTEMS.values())
    assert [line.split()[0] for line in lines if line.startswith(" ")] == list(SUMMARIES)
    assert lines.index("  auto               " + SUMMARIES["auto"]) == 1


def test_without_an_action_there_is_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert told([], capsys) == told(["list"], capsys)
    assert told_json([], capsys) == told_json(["list"], capsys)


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    listed = told_json(["list"], capsys)
    assert list(listed) == list(SUMMARIES)
    assert listed["animals-cnn"] == {"system": "animals", "summary": BY_SYSTEM["animals"]["animals-cnn"]}


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_recipe_is_shown_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = get_recipe(name)
    text = told(["show", name], capsys)
    assert text.startswith(f"{name}: {recipe.summary}\n")
    assert f"\n  eyebright train DATA --recipe {name}\n" in text
    flat = " ".join(text.split())
    assert all(" ".join(choice.split()) in flat for choice in recipe.choices)
    assert all(figure.value in text and figure.where in text for figure in recipe.published)
    assert all(options in text for options in recipe.variants.values())
    assert f"  recipe: {name}\n" in text
    assert ("\nsource\n" in text) == bool(recipe.source)
    assert ("\nmeasured\n" in text) == bool(recipe.measured)
    assert max(len(line) for line in text.splitlines() if "--set" not in line and ": [" not in line) <= 180


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_recipe_as_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, shown = get_recipe(name), told_json(["show", name], capsys)
    assert (shown["name"], shown["summary"], shown["system"]) == (name, recipe.summary, recipe.system)
    assert [figure["value"] for figure in shown["published"]] == [figure.value for figure in recipe.published]
    assert list(shown["variants"]) == list(recipe.variants)
    assert all(line.startswith(f"eyebright train DATA --recipe {name} --") for line in shown["variants"].values())
    assert build_config(shown["settings"]) == build_config(recipe.defaults, {"recipe": name})


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_yaml_is_a_configuration_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(told(["show", name, "--yaml"], capsys), encoding="utf-8")
    assert build_config(read_yaml(file)) == build_config(get_recipe(name).defaults, {"recipe": name})


def test_the_settings_in_the_text_are_the_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(["show", "cifar10net-v2"], capsys)
    below = text.split("settings that differ from the defaults\n")[1]
    assert yaml.safe_load(below) == yaml.safe_load(told(["show", "cifar10net-v2", "--yaml"], capsys))


def test_a_misspelt_recipe_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "deep-v2"]) == 2
    assert "unknown recipe 'deep-v2' (did you mean 'deep-v1'?)" in capsys.readouterr().err


def test_a_misspelt_action_is_an_error_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "shwo", "deep-v1"]) == 2
    assert "there is no action 'shwo' (did you mean 'show'?)" in capsys.readouterr().err


def test_two_forms_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "auto", "--json", "--yaml"]) == 2
    assert "--json and --yaml ask for two forms at once" in capsys.readouterr().err


def test_json_before_the_action_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json", "show", "auto"]) == 2
    assert "--json stands before the action" in capsys.readouterr().err
