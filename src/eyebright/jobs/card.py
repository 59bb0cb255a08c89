"""The model card: the README of a bundle, with the front matter that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from eyebright.bundle import BundleRecord
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.metrics import Metrics


def model_card(record: BundleRecord, test: Metrics, *, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Markdown that says what the classifier is, how it was measured and how to use it."""
    front = {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "license": record.licence.lower() if not record.licence.startswith("none") else "other",
        "tags": ["image-classification", "eyebright"],
    }
    images = {split: sum(classes.values()) for split, classes in counts.items()}
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        f"# {record.name}",
        "",
        f"`{record.architecture}` that tells {len(record.classes)} classes apart: {', '.join(record.classes)}.",
        *_hierarchy(record.superclasses),
        "",
        "## How good it is",
        "",
        f"On {test.images} test images that were scored once ({images.get('train', 0)} were trained on, "
        f"{images.get('val', 0)} chose between candidates and set the temperature):",
        "",
        "| metric | value | 95 % interval | method |",
        "|---|---|---|---|",
        *(_row(name, estimate) for name, estimate in test.estimates()),
        "",
        "| class | precision | recall | F1 | test images |",
        "|---|---|---|---|---|",
        *(
            f"| {row.name} | {_short(row.precision)} | {_short(row.recall)} | {_short(row.f1)} | {row.support} |"
            for row in test.per_class
        ),
        "",
        "## How it sees",
        "",
        f"Preprocessing: {record.preprocess.describe()}. Logits are divided by {record.temperature:.3f} before the "
        "softmax; both are inside `model.onnx`, which takes uint8 pixels (N, H, W, C).",
        "",
        "## How to use it",
        "",
        "```python",
        "import eyebright",
        "",
        'classifier = eyebright.load("path/to/this/folder")',
        'print(classifier.predict("photo.jpg"))',
        "```",
        "",
        "## What it does not know",
        "",
        "It knows these classes only and names one of them for any image. Its probabilities are calibrated for images",
        "like those it was trained on.",
        "",
        f"Licence of the weights that training began from: {record.licence}.",
        f"Data fingerprint: `{record.data_fingerprint}`.",
        f"Made by Eyebright {record.versions.get('eyebright', '')} on {record.created}.",
        "",
    ]
    return "\n".join(lines)


def _hierarchy(superclasses: Mapping[str, str]) -> list[str]:
    members: dict[str, list[str]] = {}
    for name, above in superclasses.items():
        members.setdefault(above, []).append(name)
    listed = "; ".join(f"{above} ({', '.join(names)})" for above, names in members.items())
    return ["", f"The classes have {len(members)} superclasses: {listed}."] if members else []


def _row(name: str, estimate: Estimate) -> str:
    interval = f"{estimate.low:.4f} to {estimate.high:.4f}"
    return f"| {name.replace('_', ' ')} | {estimate.value:.4f} | {interval} | {estimate.method} |"


def _short(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
