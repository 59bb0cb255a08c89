"""The one configuration tree: what a run was asked to do, typed, checked and written back whole.

A recipe gives the defaults; a YAML file, `--set key=value` and the command's own options fill the tree in that order,
later ones winning. Unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eyebright.errors import ConfigError, UsageError, did_you_mean

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|min|m|s)?")
_SECONDS_IN = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "": 1.0}


def parse_duration(text: str | float) -> float:
    """Seconds in `90`, `"90s"`, `"10m"`, `"1.5h"` or `"1h30m"`.

    Raises:
        UsageError: the text is not a duration above zero.
    """
    compact = str(text).strip().lower().replace(" ", "")
    parts = _DURATION_PART.findall(compact)
    whole = "".join(number + unit for number, unit in parts)
    seconds = sum(float(number) * _SECONDS_IN[unit] for number, unit in parts)
    if not parts or whole != compact or not 0 < seconds < float("inf"):
        raise UsageError(f"{text!r} is not a duration", expected="a time such as 90s, 10m, 1.5h or 1h30m")
    return seconds


def parse_share(text: str | float) -> float:
    """A share in [0, 1] from `0.05`, `"0.05"` or `"5%"`.

    Raises:
        UsageError: the text is not a share.
    """
    compact = str(text).strip()
    try:
        value = float(compact[:-1]) / 100 if compact.endswith("%") else float(compact)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{text!r} is not a share", expected="a share such as 5% or 0.05")
    return value


class Part(BaseModel):
    """Base of all parts of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)


class SplitShares(Part):
    """How many of the images go to each split when the data brings none. The three shares sum to one."""

    train: float = Field(0.70, gt=0, lt=1)
    """Share that the network learns from."""
    val: float = Field(0.15, gt=0, lt=1)
    """Share that choices and the temperature are made on."""
    test: float = Field(0.15, gt=0, lt=1)
    """Share that is scored once."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitShares:
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError(f"the shares {self.train:g}, {self.val:g} and {self.test:g} do not sum to 1")
        return self

    @classmethod
    def parse(cls, text: str) -> SplitShares:
        """Read `70/15/15` (train/val/test; any three positive numbers, scaled to sum to one).

        Raises:
            UsageError: the text is not three positive numbers.
        """
        try:
            train, val, test = (float(part) for part in text.split("/"))
        except ValueError:
            train = val = test = 0.0
        if not (min(train, val, test) > 0 and train + val + test < float("inf")):
            raise UsageError(
                f"{text!r} is not a split", expected="three numbers above zero: train/val/test, as 70/15/15"
            )
        total = train + val + test
        return cls(train=train / total, val=val / total, test=test / total)


class DataConfig(Part):
    """Where the images come from and how they are divided."""

    split: SplitShares = SplitShares()
    """Shares of train, val and test; used where the data has no split of its own."""
    allow_bad: float = Field(0.01, ge=0, le=1)
    """Share of unreadable images up to which training goes on without them."""
    audit: Literal["short", "off"] = "short"
    """What is looked at before training: `short` measures every image, finds near-duplicates and keeps them in one
    split; `off` trusts the images."""
    max_pixels: int = Field(100_000_000, gt=0)
    """Images with more pixels than this are listed as too large and not decoded."""
    superclass: str | None = None
    """Where the class above every class comes from: `folders` (`animal/dog/1.jpg`), `column:NAME`, or a YAML file with
    lines `superclass: [class, class]`; left out, there are no superclasses."""


class ImageConfig(Part):
    """How images become input. Values left out are chosen by the recipe."""

    size: int | None = Field(None, ge=8, le=1024)
    """Side of the network's input in pixels."""
    resize: Literal["crop", "squash", "pad"] | None = None
    """What happens to the aspect: cut the centre, squash, or pad."""
    crop_share: float = Field(0.875, gt=0, le=1)
    """For `crop`: side of the centre crop over the shortest side after resizing."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    """Filter for resizing."""


class ModelConfig(Part):
    """Which network."""

    name: str | None = None
    """Any name that timm knows; left out, the recipe chooses."""
    pretrained: bool = True
    """Start from published weights; False starts from random ones."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the classifier while training."""


class OptimConfig(Part):
    """How the weights move."""

    batch_size: int = Field(32, ge=1)
    """Images in a step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of the last layer; earlier layers get less by `layer_decay`."""
    layer_decay: float = Field(0.8, gt=0, le=1)
    """Factor on the learning rate from one stage of the network to the one before it (discriminative rates)."""
    weight_decay: float = Field(0.02, ge=0)
    """AdamW weight decay; norms and biases have none."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps during which the learning rate rises from zero; after it, cosine decay to zero."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest norm of the gradient of all weights together."""
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    """Probability mass that is taken from the true class and spread over all."""
    ema_decay: float = Field(0.98, ge=0, lt=1)
    """Decay a step of the exponential moving average of weights; 0 keeps no average."""


class AugmentConfig(Part):
    """What training does to images. All of it happens on batches, on the device that trains."""

    flip: bool | None = None
    """Mirror left and right with probability one half; left out, the recipe finds out whether orientation carries
    the label."""
    min_area: float = Field(0.5, gt=0, le=1)
    """Smallest share of the image's area that a random crop keeps."""
    aspect: float = Field(0.2, ge=0, lt=1)
    """Largest change of the aspect of a random crop, as the natural logarithm of the ratio."""
    brightness: float = Field(0.1, ge=0, lt=1)
    """Largest relative change of brightness and contrast."""
    mixup: float | None = Field(None, ge=0)
    """Parameter of the beta distribution that mixes pairs of images; 0 mixes none; left out, the recipe decides."""


class TrainConfig(Part):
    """Everything that decides what a training run does."""

    recipe: str = "auto"
    """Name of the recipe; `eyebright recipes` lists them."""
    source: str = ""
    """The images: a folder, a table, a Parquet or IDX file, or a name."""
    budget_seconds: float | None = Field(600.0, gt=0)
    """Wall-clock time for the whole command, report included; None trains for `epochs` whatever it takes."""
    epochs: int | None = Field(None, ge=0)
    """Epochs of fine-tuning or training; left out, the budget decides."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the split, the weights, the order and the augmentation."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute."""
    checkpoint_seconds: float = Field(120.0, gt=0)
    """Longest time between two checkpoints; there is one after every epoch as well."""
    data: DataConfig = DataConfig()
    image: ImageConfig = ImageConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    augment: AugmentConfig = AugmentConfig()


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


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
        else:
            lines.append(f"{key or 'configuration'}={problem['input']!r}: {problem['msg']}")
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
