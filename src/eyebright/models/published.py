"""Pretrained networks to choose from, with what timm's authors measured of them on ImageNet.

`published_results.csv` holds facts of timm's table `results/results-imagenet.csv` (repository
huggingface/pytorch-image-models, commit 7479d451a6dfd8af27f941b8e82a7402461fae80): top-1 and top-5 accuracy in percent
on the 50,000 images of ImageNet's validation set, parameters with the classifier of 1,000 classes, and the side of the
input. timm publishes some networks at several sizes; the row kept is that of the size that the weights were trained at,
which is also the one that Eyebright takes. Left out are timm's test networks and two names that timm no longer knows.
"""

from __future__ import annotations

import csv
import dataclasses
import fnmatch
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Literal

from eyebright.errors import UsageError, did_you_mean
from eyebright.models.catalog import create_network
from eyebright.models.pretrained import PACKAGED
from eyebright.models.running import running
from eyebright.models.timing import Timing, time_one_image
from eyebright.progress import Progress, Silent

FILE = "published_results.csv"
MOST_MEASURED = 40
Order = Literal["top1", "top5", "parameters", "input", "milliseconds", "name"]
ORDERS: tuple[Order, ...] = ("top1", "top5", "parameters", "input", "milliseconds", "name")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """A pretrained network and what is published of it.

    Attributes:
        model: timm name with the tag of its weights, such as `resnet50.a1_in1k`.
        top1, top5: accuracy in percent on ImageNet's validation set.
        parameters_millions: with the classifier of 1,000 classes.
        input_size: side in pixels at which it was scored.
        installed_as: the name under which its weights are installed here; None where they come from the hub.
        timing: milliseconds on this machine, where measured.
    """

    model: str
    top1: float
    top5: float
    parameters_millions: float
    input_size: int
    installed_as: str | None = None
    timing: Timing | None = None

    @property
    def architecture(self) -> str:
        """The name without the tag of the weights."""
        return self.model.split(".")[0]


@cache
def published_networks() -> tuple[PublishedNetwork, ...]:
    """All rows of the table, by name."""
    text = resources.files("eyebright.models").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(
        PublishedNetwork(
            model=row["model"],
            top1=float(row["top1"]),
            top5=float(row["top5"]),
            parameters_millions=float(row["parameters_millions"]),
            input_size=int(row["input_size"]),
            installed_as=_installed_as(row["model"]),
        )
        for row in csv.DictReader(text.splitlines())
    )


def _installed_as(model: str) -> str | None:
    """Installed weights have the name of the architecture; they are those of the tag `in1k`."""
    architecture, _, tag = model.partition(".")
    return architecture if architecture in PACKAGED and tag == "in1k" else None


def choose(
    pattern: str | None = None, *, offline: bool = False, max_parameters: int | None = None
) -> list[PublishedNetwork]:
    """The rows that match, by name.

    Args:
        pattern: shell pattern of the name, with or without the tag, such as `resnet*`.
        offline: only networks whose weights are installed here.
        max_parameters: most parameters, with 1,000 classes.

    Raises:
        UsageError: none matches.
    """
    named = [row for row in published_networks() if pattern is None or _matches(row, pattern)]
    if not named:
        near = did_you_mean(str(pattern), [row.architecture for row in published_networks()])
        raise UsageError(
            f"no published network is named {pattern!r}{near}", expected='a name or a pattern, such as "resnet*"'
        )
    chosen = [
        row
        for row in named
        if (row.installed_as or not offline)
        and (max_parameters is None or row.parameters_millions * 1e6 <= max_parameters)
    ]
    if not chosen:
        smallest = min(named, key=lambda row: row.parameters_millions)
        raise UsageError(
            f"none of {len(named):,} published networks is left",
            expected="limits that leave one: the smallest here has "
            f"{smallest.parameters_millions:g} million parameters ({smallest.model})"
            + (f"; installed are {', '.join(PACKAGED)}" if offline else ""),
        )
    return chosen


def _matches(row: PublishedNetwork, pattern: str) -> bool:
    return fnmatch.fnmatchcase(row.model, pattern) or fnmatch.fnmatchcase(row.architecture, pattern)


def in_order(rows: Sequence[PublishedNetwork], order: Order) -> list[PublishedNetwork]:
    """The rows, best first: the most accurate, the smallest or the fastest; equal ones by name."""
    keys: dict[str, Callable[[PublishedNetwork], float | str]] = {
        "top1": lambda row: -row.top1,
        "top5": lambda row: -row.top5,
        "parameters": lambda row: row.parameters_millions,
        "input": lambda row: row.input_size,
        "milliseconds": lambda row: row.timing.median if row.timing else float("inf"),
        "name": lambda row: row.model,
    }
    return sorted(rows, key=lambda row: (keys[order](row), row.model))


def measure(rows: Sequence[PublishedNetwork], *, progress: Progress | None = None) -> list[PublishedNetwork]:
    """The same rows with the milliseconds that each takes for one image on this machine's CPU, with random weights.

    Raises:
        UsageError: there are too many to measure.
    """
    if len(rows) > MOST_MEASURED:
        raise UsageError(
            f"--measure would run {len(rows):,} networks, some of them for minutes",
            expected=f"at most {MOST_MEASURED}",
            remedy='narrow them down with a pattern ("resnet*"), --max-parameters or --limit',
        )
    measured = []
    with (progress or Silent()).task("Measuring", total=len(rows), unit="networks") as task:
        for row in rows:
            task.describe(f"Measuring {row.model}")
            size = (3, row.input_size, row.input_size)
            network = create_network(row.model, classes=1000, pretrained=False)
            with running(row.model, size):
                measured.append(dataclasses.replace(row, timing=time_one_image(network, size)))
            task.advance()
    return measured
