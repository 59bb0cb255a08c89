"""Where the time of a run went, in words and as `profile.json`: the parts of training, and the stages around it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eyebright.atomic import write_json
from eyebright.data.batches import COPYING, WAITING
from eyebright.run import Run
from eyebright.training.profile import (
    AUGMENT,
    BACKWARD,
    CHECKPOINT,
    COMPILING,
    EVALUATION,
    FORWARD,
    OPTIMISER,
)

PROFILE_FILE = "profile.json"
ARITHMETIC = (FORWARD, BACKWARD)
"""What no other setting of the same training would spare."""
TELLING = 0.10
"""Share of the time from which a part is worth a word of what to do about it."""
_SMALLEST = 0.005
_REMEDIES = {
    WAITING: "images come too late: more threads (compute.workers), a smaller --size, or fewer Albumentations, which "
    "work on single images",
    COPYING: "images are copied to the device in every epoch: compute.resident=true keeps them there where they fit",
    AUGMENT: "rotation, shear, zoom and hue cost most of augmentation; mirroring costs next to nothing",
    OPTIMISER: "larger batches (--batch-size) take fewer steps, and optim.ema_decay=0 leaves the moving average out",
    EVALUATION: "the validation images cost much beside the training images: a smaller share of them (--split), or "
    "fewer evaluations, takes less",
    CHECKPOINT: "checkpoints are written after every epoch, and epochs are short here: the disk is what is waited for",
    COMPILING: "compiling pays for itself in long trainings only: compute.compile=false leaves it out",
}


def profile_sentences(profile: Mapping[str, float], stage_seconds: Mapping[str, float]) -> list[str]:
    """What a user should know of where the time went.

    Args:
        profile: seconds by part of training, as `Profile.seconds` gives them; empty where nothing was trained in steps.
        stage_seconds: seconds by stage of the run (`decode`, `train`, `report`, ...), as the journal has them.
    """
    sentences = []
    training = sum(profile.values())
    if training > 0:
        shares = {part: spent / training for part, spent in sorted(profile.items(), key=lambda item: -item[1])}
        told = [f"{_percent(share)} {part}" for part, share in shares.items() if share >= _SMALLEST]
        sentences.append(f"training took {_duration(training)}: {', '.join(told)}")
        sentences.append(_verdict(shares))
    outside = {name: spent for name, spent in stage_seconds.items() if spent >= 0.1}
    if outside:
        whole = sum(outside.values())
        told = [f"{_duration(spent)} {name}" for name, spent in outside.items()]
        sentences.append(f"of {_duration(whole)} in all: {', '.join(told)}")
        besides = stage_seconds.get("train", 0.0) - training
        if training > 0 and besides > TELLING * whole:
            sentences.append(f"{_duration(besides)} of the stage train went into what comes before and after its steps")
        longest = max(outside, key=lambda name: outside[name])
        if longest != "train":
            sentences.append(f"{longest} took longer than training")
    return sentences


def write_profile(
    run: Run, profiles: Mapping[str, Mapping[str, float]], stage_seconds: Mapping[str, float], *, device: str
) -> list[str]:
    """Write `profile.json` into the run, and return the sentences.

    Args:
        run: the run.
        profiles: seconds by part, by stage of training (`Context.profiles`).
        stage_seconds: seconds by stage of the run.
        device: what computed, such as `cpu`.

    Raises:
        StorageError: the file cannot be written.
    """
    together: dict[str, float] = {}
    for parts in profiles.values():
        for part, spent in parts.items():
            together[part] = together.get(part, 0.0) + spent
    sentences = profile_sentences(together, stage_seconds)
    content: dict[str, Any] = {
        "device": device,
        "training_seconds": _rounded(together),
        "training_seconds_by_stage": {name: _rounded(parts) for name, parts in profiles.items()},
        "stage_seconds": dict(stage_seconds),
        "sentences": sentences,
    }
    write_json(run.file(PROFILE_FILE), content)
    return sentences


def _verdict(shares: Mapping[str, float]) -> str:
    """What limits training, and what to do about it. `shares` come largest first."""
    arithmetic = sum(shares.get(part, 0.0) for part in ARITHMETIC)
    rest = {part: share for part, share in shares.items() if part in _REMEDIES}
    largest = next(iter(rest), None)
    if largest is None or rest[largest] < TELLING:
        return f"it is limited by the arithmetic of the network (forward and backward {_percent(arithmetic)})"
    if rest[largest] < arithmetic:
        return (
            f"it is limited by the arithmetic of the network (forward and backward {_percent(arithmetic)}), then by "
            f"{largest} ({_percent(rest[largest])}): {_REMEDIES[largest]}"
        )
    return (
        f"it is limited by {largest} ({_percent(rest[largest])}, the arithmetic of the network "
        f"{_percent(arithmetic)}): {_REMEDIES[largest]}"
    )


def _rounded(parts: Mapping[str, float]) -> dict[str, float]:
    return {part: round(spent, 4) for part, spent in parts.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
