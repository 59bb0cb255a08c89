"""The first stage of `auto`: a linear probe on frozen features, and what it tells about the images.

The probe also answers whether mirroring is harmless: where orientation carries the label, mirrored validation images
are classified worse.

The features come from the fastest runtime that gives those of torch. A resumed run need not keep to it: the probe is
saved as soon as it is fitted, and features are computed for nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy.stats import binomtest
from torch import nn

from eyebright.atomic import replacing_folder, write_json
from eyebright.data.batches import PixelSet
from eyebright.data.cache import default_cache
from eyebright.evaluation.calibrate import fit_temperature
from eyebright.recipes.base import Context, Plan
from eyebright.runtimes.graph import graph_file
from eyebright.runtimes.runners import Run
from eyebright.runtimes.trial import Chosen, choose_runtime
from eyebright.training.probe import Probe, extract_features, fit_probe

ORIENTATION_LEVEL = 0.01
_SAMPLES, _SAMPLE_IMAGES = 2, 32


def calibrated_loss(logits: npt.NDArray[np.float32], targets: npt.NDArray[np.int64]) -> float:
    """Mean log-loss after temperature scaling on the same images: compares networks that smooth differently."""
    scaled = logits.astype(np.float64) / fit_temperature(logits, targets)
    scaled -= scaled.max(axis=1, keepdims=True)
    chosen = scaled[np.arange(len(targets)), targets]
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - chosen))


def probe_first(
    network: nn.Module, plan: Plan, context: Context, train: PixelSet, val: PixelSet
) -> tuple[Probe, bool, list[str]]:
    """The linear probe, whether mirroring is harmless, and sentences about both; kept on disk for a resume."""
    folder = context.checkpoint / "probe"
    if not context.team.leads:
        context.team.wait()  # the first process of a team probes for all
    if (folder / "probe.json").is_file():
        found = _load_probe(folder)
    else:
        found = _probe(network, plan, context, train, val)
        _save_probe(folder, *found)
    if context.team.leads:
        context.team.wait()
    return found


def _probe(
    network: nn.Module, plan: Plan, context: Context, train: PixelSet, val: PixelSet
) -> tuple[Probe, bool, list[str]]:
    undecided = plan.config.augment.flip is None and bool(plan.stages)  # then mirrored images are looked at too
    chosen = _runtime(network, plan, context, train, images=len(train) + (2 if undecided else 1) * len(val))
    run = None if chosen is None else chosen.run
    train_features = extract_features(network, train, progress=context.progress, description="features", run=run)
    val_features = extract_features(network, val, progress=context.progress, description="features of val", run=run)
    probe = fit_probe(
        (train_features, train.targets, train.weights), (val_features, val.targets), classes=context.facts.classes
    )
    context.record(
        {"stage": "probe", "strength": probe.strength, "val_loss": probe.val_loss, "val_accuracy": probe.val_accuracy}
        | ({} if chosen is None else {"features": chosen.record()})
    )
    reasons = [f"linear probe: validation accuracy {probe.val_accuracy:.3f} (C={probe.strength:g})"]
    if chosen is not None:
        reasons.insert(0, chosen.sentence)
    flip = plan.config.augment.flip
    if undecided:
        flip, reason = _mirroring_is_harmless(network, probe, val_features, val, context, run)
        reasons.append(reason)
    for reason in reasons:
        context.progress.note(reason)
    return probe, bool(flip), reasons


def _runtime(network: nn.Module, plan: Plan, context: Context, train: PixelSet, *, images: int) -> Chosen | None:
    """What computes the features of so many images; None on a GPU, where the network itself does."""
    wanted = plan.config.compute.features
    if context.device.type != "cpu" and wanted in ("auto", "torch"):
        return None
    network.eval()
    few = train.part(slice(0, _SAMPLES * _SAMPLE_IMAGES))
    return choose_runtime(
        network, plan.preprocess, device=context.device, samples=list(few.centres(_SAMPLE_IMAGES)), images=images,
        graph=lambda: graph_file(network, plan.preprocess, name=plan.network, cache=default_cache()),
        wanted=wanted, threads=plan.config.compute.threads,
    )  # fmt: skip


def _mirroring_is_harmless(
    network: nn.Module,
    probe: Probe,
    val_features: npt.NDArray[np.float32],
    val: PixelSet,
    context: Context,
    run: Run | None,
) -> tuple[bool, str]:
    """Whether mirrored validation images are classified as well as upright ones, by a one-sided sign test on pairs."""
    mirrored_features = extract_features(
        network, val.mirrored(), progress=context.progress, description="mirrored val", run=run
    )

    def right(features: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        return np.asarray((features @ probe.weight.T + probe.bias).argmax(1) == val.targets)

    upright, turned = right(val_features), right(mirrored_features)
    worse, better = int((upright & ~turned).sum()), int((~upright & turned).sum())
    level = binomtest(worse, worse + better, alternative="greater").pvalue if worse + better else 1.0
    accuracy = f"{turned.mean():.3f} mirrored against {upright.mean():.3f} upright"
    if level < ORIENTATION_LEVEL:
        return False, f"mirroring is off: orientation carries the label (validation accuracy {accuracy})"
    return (
        True,
        f"mirroring is on: the probe is not significantly worse on mirrored images (validation accuracy {accuracy})",
    )


def _save_probe(folder: Path, probe: Probe, flip: bool, reasons: list[str]) -> None:
    with replacing_folder(folder) as temporary:
        save_file({"weight": np.ascontiguousarray(probe.weight), "bias": probe.bias}, temporary / "probe.safetensors")
        facts = {"strength": probe.strength, "val_loss": probe.val_loss, "val_accuracy": probe.val_accuracy}
        write_json(temporary / "probe.json", {**facts, "flip": flip, "reasons": reasons})


def _load_probe(folder: Path) -> tuple[Probe, bool, list[str]]:
    facts = json.loads((folder / "probe.json").read_text(encoding="utf-8"))
    arrays = load_file(folder / "probe.safetensors")
    flip, reasons = facts.pop("flip"), facts.pop("reasons")
    return Probe(weight=arrays["weight"], bias=arrays["bias"], **facts), flip, reasons
