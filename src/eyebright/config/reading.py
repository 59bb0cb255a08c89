"""The configuration from nested mappings, settings and YAML, and back to YAML. Unknown keys are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from eyebright.config.part import Part
from eyebright.config.tree import TrainConfig
from eyebright.errors import ConfigError, UsageError, did_you_mean


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if not isinstance(value, Mapping):
            into[key] = value
            continue
        if not isinstance(into.get(key), dict):
            into[key] = {}  # never the given mapping itself: a recipe's defaults must stay as they are
        _merge(into[key], value)


def parse_assignment(text: str) -> dict[str, Any]:
    """The nested mapping that `optim.learning_rate=3e-4` stands for; the value is read as YAML.

    Raises:
        UsageError: there is no `=` or no key.
    """
    key, separator, value = text.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not separator or not all(names):
        raise UsageError(f"{text!r} is not a setting", expected="key=value, as optim.learning_rate=3e-4")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(
            f"{text!r} is not a setting: its value is not YAML", expected="key=value, as optim.learning_rate=3e-4"
        ) from None
    if isinstance(parsed, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?e[+-]?\d+", parsed.strip(), re.IGNORECASE):
        parsed = float(parsed)  # YAML 1.1 reads 3e-4 as text
    nested: Any = parsed
    for name in reversed(names):
        nested = {name: nested}
    return dict(nested)


def build_config(*layers: Mapping[str, Any]) -> TrainConfig:
    """Fill the tree with nested mappings, later ones winning.

    Raises:
        ConfigError: a key is unknown or a value is out of range; all problems are listed.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        raise _explain(error) from None


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    part: Any = TrainConfig
    for name in location:
        field = part.model_fields.get(str(name)) if isinstance(part, type) and issubclass(part, Part) else None
        part = field.annotation if field is not None else None
    return list(part.model_fields) if isinstance(part, type) and issubclass(part, Part) else []


def _explain(error: ValidationError) -> ConfigError:
    lines = []
    for problem in error.errors():
        key = ".".join(str(name) for name in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1])
            lines.append(f"unknown key {key!r}{did_you_mean(str(problem['loc'][-1]), known)}")
        elif isinstance(problem["input"], Mapping):  # several values that do not go together, named by the message
            lines.append((f"{key}: " if key else "") + problem["msg"].removeprefix("Value error, "))
        else:
            lines.append(f"{key}={problem['input']!r}: {problem['msg']}")
    return ConfigError(
        "; ".join(lines),
        expected="keys and values of the configuration (see docs/configuration.md)",
        remedy="correct the option, the --set or the YAML file that holds it",
    )


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A configuration file as a nested mapping.

    Raises:
        ConfigError: the file is missing, is not YAML or is not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"the configuration file {path} cannot be read: {reason}", expected="a YAML file in UTF-8"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise ConfigError(
            f"{path} is not valid YAML: {getattr(error, 'problem', None) or error}{where}",
            expected="a YAML mapping of keys to values",
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}", expected="a YAML mapping of keys to values")
    return content


def to_yaml(config: TrainConfig) -> str:
    """The whole tree as YAML, in the order of its fields; `read_yaml` and `build_config` read it back."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
