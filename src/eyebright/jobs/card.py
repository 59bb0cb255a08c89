"""The model card: the README of a bundle in the form of the Hugging Face hub, and of a run when asked for again."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import timm

from eyebright.atomic import replacing_file
from eyebright.bundle import BundleRecord
from eyebright.config import build_config, read_yaml
from eyebright.data.manifest import Manifest
from eyebright.data.sources.address import is_address, without_secrets
from eyebright.evaluation.metrics import Metrics
from eyebright.jobs.card_front import front_matter
from eyebright.jobs.card_sections import class_names, conclusions, evaluation, limits
from eyebright.models.catalog import network_facts
from eyebright.models.pretrained import PACKAGED
from eyebright.run import Run

CARD_FILE = "model_card.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What a card says beside the bundle's record and its numbers; anything may be unknown.

    Attributes:
        network: name of the network, with that of its weights.
        pretrained: whether training began from published weights.
        recipe: name of the recipe.
        data: name or address of the data; of a folder or file its last part only, as a card travels.
        plan, summary: sentences of what was decided before and after training.
        command: words of the command.
        environment: processor, device and so on, by title.
        measured: what `measure_decisions` found on the test images.
        robustness: what `robustness.json` says.
    """

    network: str | None = None
    pretrained: bool | None = None
    recipe: str | None = None
    data: str | None = None
    plan: Sequence[str] = ()
    summary: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    robustness: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def model_card(
    record: BundleRecord,
    test: Metrics,
    *,
    counts: Mapping[str, Mapping[str, int]],
    circumstances: Circumstances | None = None,
) -> str:
    """Markdown that says what the classifier is, what it is good for, how it was made and measured, and how to use it.

    Args:
        record: of the bundle.
        test: metrics of the test split.
        counts: images by split and class.
        circumstances: what else is known; see `circumstances_of`.
    """
    known = circumstances or Circumstances()
    images = {split: sum(classes.values()) for split, classes in counts.items()}
    network = known.network or record.architecture
    pretrained = not record.licence.startswith("none") if known.pretrained is None else known.pretrained
    front = front_matter(
        record.name,
        test,
        library="timm" if _is_timms(record) else "eyebright",
        licence=record.licence,
        base_model=_base_model(network) if pretrained else None,
        data=known.data,
        tags=["onnx"],
    )
    parts = [
        ("", _description(record, network, pretrained)),
        ("Intended use and limits", [
            f"It tells {len(record.classes)} kinds of images apart, for images like those it was trained on.",
            "",
            *limits(record, test, robustness=known.robustness),
        ]),
        ("Training data", _training_data(record, known.data, counts, images)),
        ("Training procedure", _procedure(known)),
        ("Evaluation", evaluation(test, images)),
        ("Confidence, sets and abstention", conclusions(record, known.measured)),
        ("How to use it", _use(record)),
        ("Environment", _environment(record, known.environment)),
        ("Licence", _licence(record, pretrained)),
    ]  # fmt: skip
    body = [line for title, lines in parts for line in ([f"## {title}", ""] if title else []) + [*lines, ""]]
    return "\n".join([front, f"# {record.name}", "", *body])


def write_card(run: Run) -> Path:
    """Write the card of a finished run again, from what its folder says now; the bundle stays as it is.

    Returns:
        path of `model_card.md` in the run's folder.

    Raises:
        BundleError: the run did not finish, or a file of it is damaged.
    """
    record = run.bundle.record
    path = run.file(CARD_FILE)
    text = model_card(
        record,
        Metrics.from_dict(run.metrics["test"]),
        counts=Manifest.read(run.file("manifest.parquet")).counts(),
        circumstances=circumstances_of(run),
    )
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def circumstances_of(run: Run, *, measured: Mapping[str, Any] | None = None) -> Circumstances:
    """What the files of a run say of how it came about; they need not all be there yet.

    Args:
        run: its plan and configuration must exist.
        measured: what `measure_decisions` found, for a run whose `metrics.json` is not yet written.
    """
    plan = _facts(run, "plan.json")
    config = build_config(read_yaml(run.file("config.yaml")))
    environment, metrics = _facts(run, "environment.json"), _facts(run, "metrics.json")
    shown = {
        "Processor": f"{environment.get('processor', '')}, {environment.get('cores', '')} cores",
        "Device": environment.get("device"),
        "Training": _minutes(environment.get("outcome", {}).get("seconds", {}).get("train")),
    }
    return Circumstances(
        network=plan.get("network"),
        pretrained=plan.get("pretrained"),
        recipe=config.recipe,
        data=_portable(without_secrets(config.source)),
        plan=plan.get("reasons", ()),
        summary=environment.get("outcome", {}).get("reasons", ()),
        command=environment.get("command", ()),
        environment={title: str(value) for title, value in shown.items() if value},
        measured=measured if measured is not None else metrics.get("decisions", {}).get("test", {}),
        robustness=_facts(run, "robustness.json"),
    )


def _facts(run: Run, name: str) -> dict[str, Any]:
    path = run.file(name)
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return values


def _description(record: BundleRecord, network: str, pretrained: bool) -> list[str]:
    begun = "from published weights" if pretrained else "from random weights"
    origin = PACKAGED[network].origin if pretrained and network in PACKAGED else ""
    return [
        f"An image classifier with {len(record.classes)} classes: `{network}`, trained {begun}"
        + (f" ({origin})" if origin else "")
        + ".",
        "",
        *class_names(record.classes, record.superclasses),
        "",
        f"It sees images so: {record.preprocess.describe()}. `model.onnx` takes uint8 pixels (N, H, W, C) of that size "
        "and gives calibrated probabilities.",
    ]


def _training_data(
    record: BundleRecord, data: str | None, counts: Mapping[str, Mapping[str, int]], images: Mapping[str, int]
) -> list[str]:
    splits = list(counts)
    named = f"`{data}`, " if data else ""
    lines = [
        f"Data: {named}fingerprint `{record.data_fingerprint}`; "
        + ", ".join(f"{images[split]} {split} images" for split in splits)
        + ".",
        "",
        f"| class | {' | '.join(splits)} |",
        f"|---|{'---|' * len(splits)}",
    ]
    for name in record.classes:
        cells = " | ".join(str(counts[split].get(name, 0)) for split in splits)
        lines.append(f"| {name.replace('|', chr(92) + '|')} | {cells} |")
    return lines


def _procedure(known: Circumstances) -> list[str]:
    lines = [f"Recipe `{known.recipe}`."] if known.recipe else []
    reasons = [*known.plan, *known.summary]
    if reasons:
        lines += ["", *(f"- {reason}" for reason in reasons)]
    if known.command:
        lines += ["", "```", command_text(known.command), "```"]
    return lines or ["How it was trained is not part of the bundle."]


def command_text(words: Sequence[str]) -> str:
    """A command as it would be typed, without the paths of the machine that it ran on: their last part only."""
    program, *rest = (str(word) for word in words)
    path = PurePath(program)
    known = path.stem == "eyebright" or (path.name == "__main__.py" and path.parent.name == "eyebright")
    return shlex.join(["eyebright" if known else path.name, *map(_portable, rest)])


def _portable(text: str) -> str:
    """A path of this machine as its last part, any other text as it is."""
    return text if is_address(text) or not PurePath(text).is_absolute() else PurePath(text).name


def _use(record: BundleRecord) -> list[str]:
    lines = [
        "```python",
        "import eyebright",
        "",
        'classifier = eyebright.load("path/to/this/folder")',
        'print(classifier.predict("photo.jpg"))',
        "```",
    ]
    if _is_timms(record):
        lines += [
            "",
            "Without Eyebright, `timm.create_model('local-dir:path/to/this/folder', pretrained=True)` gives the same "
            "network, whose logits are not calibrated.",
        ]
    return lines


def _environment(record: BundleRecord, facts: Mapping[str, str]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items() if version != "not installed")
    return [f"- {title}: {value}" for title, value in facts.items()] + [
        f"- Versions: {versions}",
        f"- Made on {record.created}",
    ]


def _licence(record: BundleRecord, pretrained: bool) -> list[str]:
    if pretrained:
        weights = f"Training began from weights under this licence: {record.licence or 'unknown'}."
    else:
        weights = (
            "The weights were learnt from the training images alone; whoever publishes them chooses their licence."
        )
    return [
        f"{weights} The training images keep the licences of their owners. The text of this card was made by Eyebright "
        "from the run's own numbers and may be used without conditions (CC0-1.0).",
    ]


def _is_timms(record: BundleRecord) -> bool:
    """Whether timm can build the network without Eyebright."""
    return network_facts(record.architecture, record.architecture_arguments).origin == "timm"


def _base_model(network: str) -> str:
    """The published weights: their name on the hub where they come from there, else the network's name."""
    if network in PACKAGED:
        return network
    settings = timm.get_pretrained_cfg(network, allow_unregistered=True)
    return str(settings.hf_hub_id) if settings is not None and settings.hf_hub_id else network


def _minutes(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
