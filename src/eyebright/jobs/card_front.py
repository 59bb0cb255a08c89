"""The front matter of a model card: what model hubs read of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.metrics import Metrics

TASK = "image-classification"
# Names of the metrics on the hub (`evaluate`), where it has one.
_TYPES = {
    "accuracy": ("accuracy", "Accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "Balanced accuracy"),
    "macro_precision": ("precision", "Macro precision"),
    "macro_recall": ("recall", "Macro recall"),
    "macro_f1": ("f1", "Macro F1"),
    "auroc": ("roc_auc", "Macro AUROC, one class against the rest"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "log_loss": ("log_loss", "Log-loss in nats"),
    "brier": ("brier_score", "Brier score"),
    "ece": ("expected_calibration_error", "Expected calibration error, 15 equal-mass bins"),
}
_LICENCES = frozenset({
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "openrail", "unlicense",
})  # fmt: skip
_HUB_DATA = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)")


def front_matter(
    name: str,
    test: Metrics,
    *,
    library: str,
    licence: str,
    base_model: str | None,
    data: str | None,
    tags: Sequence[str] = (),
) -> str:
    """YAML between two lines of dashes, in the form that `huggingface_hub.ModelCardData` checks.

    Args:
        name: of the model.
        test: its metrics on the test split, of which those that hubs know are listed.
        library: that loads the weights, such as `timm`.
        licence: of the weights that training began from.
        base_model: those weights; None when there were none.
        data: address or name of the data; `hf://datasets/OWNER/NAME` is listed as a data set of the hub.
        tags: besides the task and `eyebright`.
    """
    hub = _HUB_DATA.match(data or "")
    values: dict[str, Any] = {
        **_licence(licence),
        "library_name": library,
        "pipeline_tag": TASK,
        "tags": [TASK, "eyebright", *tags],
        "datasets": [hub.group(1)] if hub else None,
        "base_model": base_model,
        "metrics": [_TYPES[key][0] for key, _ in _known(test)],
        "model-index": [{"name": name, "results": [_results(test, hub.group(1) if hub else None, data)]}],
    }
    listed = {key: value for key, value in values.items() if value is not None}
    return f"---\n{yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=1000).strip()}\n---"


def _licence(licence: str) -> dict[str, str]:
    """A licence that hubs know by name, or `other` with the name that we know."""
    known = licence.strip().lower()
    if known in _LICENCES:
        return {"license": known}
    named = "unknown" if not known else "not-chosen" if known.startswith("none") else _slug(known)
    return {"license": "other", "license_name": named}


def _results(test: Metrics, hub: str | None, data: str | None) -> dict[str, Any]:
    title = hub or data or "images of the user"
    return {
        "task": {"type": TASK, "name": "Image classification"},
        "dataset": {"type": hub or _slug(title), "name": title, "split": "test"},
        "metrics": [
            {"type": _TYPES[key][0], "name": _TYPES[key][1], "value": estimate.value} for key, estimate in _known(test)
        ],
    }


def _known(test: Metrics) -> list[tuple[str, Estimate]]:
    return [(key, estimate) for key, estimate in test.estimates() if key in _TYPES]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "images"
