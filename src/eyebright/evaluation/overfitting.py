"""Did it memorise? What the history of a training says about overfitting, in figures and in sentences.

Two things speak of it: how much better the classifier is on the images that it learnt from (the gap), and whether the
validation loss turned and rose while the training loss went on falling. A rise counts only beyond the noise of the
curve. The opposite is looked for as well: training that ended while everything was still improving.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from eyebright.evaluation.curve import FALLS_BY, Curve, falls_at_the_end, noise_of, rise_of
from eyebright.evaluation.history import Record, comparable, figure, figures, stage_of
from eyebright.evaluation.remedies import against_memorising, against_stopping_early, against_unsteadiness, setting

Verdict = Literal["none", "possible", "clear", "underfitting", "too short to tell"]

FEWEST_EPOCHS = 5
"""Validated epochs below which a curve does not say whether it turned."""
# A rise in standard errors, and relative to the lowest loss; the tests simulate how often these give a false alarm.
_POSSIBLE_RISE, _CLEAR_RISE = (2.5, 0.05), (4.0, 0.10)
# A gap of accuracy between training and validation images.
_POSSIBLE_GAP, _CLEAR_GAP = 0.10, 0.25
_LEARNT = 0.90
_MEANINGS: Mapping[Verdict, str] = {
    "none": "No sign of overfitting.",
    "possible": "It may have begun to memorise.",
    "clear": "It memorised training images: it overfits.",
    "underfitting": "It had not finished learning: more epochs would help.",
    "too short to tell": "There are too few epochs to tell whether it overfits.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """Where the validation loss was lowest, and what happened after it.

    Attributes:
        stage, epoch: the epoch of the lowest validation loss; the epoch counts from 1 within its stage.
        last_stage, last_epoch: the last epoch that was validated.
        lowest, last: the validation loss at the two.
        noise: standard deviation of the validation loss from one epoch to the next, around its trend.
        beyond_noise: the rise is larger than that noise explains.
        train_then, train_last: the training loss at the two; None where it was not recorded.
        training: what the training loss did between the two: it "fell", it "rose", or it was "level".
    """

    stage: str
    epoch: int
    last_stage: str
    last_epoch: int
    lowest: float
    last: float
    noise: float
    beyond_noise: bool
    train_then: float | None
    train_last: float | None
    training: Literal["fell", "rose", "level"] | None

    @property
    def memorised(self) -> bool:
        """It got worse on validation images while it did not on training images."""
        return self.beyond_noise and self.training != "rose"

    @property
    def unsteady(self) -> bool:
        """It got worse on both."""
        return self.beyond_noise and self.training == "rose"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gap:
    """Figures on training images beside the same on validation images; None where unknown.

    Attributes:
        basis: "evaluation" for the kept weights on images without augmentation, "running" for means over the last
            epoch, with augmentation and dropout; None without a figure on training images.
        train_accuracy, val_accuracy, train_loss, val_loss: the figures; on a "running" basis the two losses need not
            be the same loss (label smoothing, mixing).
        train_images, val_images: how many images the accuracies come from.
    """

    basis: Literal["evaluation", "running"] | None
    train_accuracy: float | None = None
    val_accuracy: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    train_images: float | None = None
    val_images: float | None = None

    @property
    def accuracy(self) -> float | None:
        """Training accuracy less validation accuracy."""
        return _difference(self.train_accuracy, self.val_accuracy)

    @property
    def loss(self) -> float | None:
        """Validation loss less training loss."""
        return _difference(self.val_loss, self.train_loss)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found.

    Attributes:
        verdict: "none", "possible", "clear", "underfitting" or "too short to tell".
        gap: the classifier on training images and on validation images.
        turn: where the validation loss was lowest; None where no epoch recorded one.
        still_falling: both losses were still falling when training ended.
        sentences: the findings with their figures, the verdict first; each stands alone.
        advice: what to try, the most promising first; settings stand between backticks. Empty when all is well.
    """

    verdict: Verdict
    gap: Gap
    turn: Turn | None
    still_falling: bool
    sentences: tuple[str, ...]
    advice: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dataclasses.asdict(self)
        return values | {"sentences": list(self.sentences), "advice": list(self.advice)}


def diagnose(
    history: Sequence[Record],
    *,
    train: Mapping[str, float] | None = None,
    val: Mapping[str, float] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Read from the history of a training whether it overfitted.

    The last stage is judged, together with comparable ones before it where it is short. What counts as a rise and as
    noise is in `eyebright.evaluation.curve`.

    Args:
        history: one mapping an epoch, as in `history.jsonl`; lines without an epoch, without validation or out of
            order are allowed, and of two lines of one epoch the last counts.
        train: `accuracy`, `loss` and `images` of the kept weights on training images, in evaluation mode; any may be
            left out. Preferred to the running figures of the history.
        val: the same on validation images; figures that are left out are those of the best epoch. `images` alone
            also helps: a gap that so few images may show by chance is none.
        config: the configuration, as nested mappings; with it the advice leaves out what was used already.
    """
    epochs = comparable(history, config, enough=FEWEST_EPOCHS)
    scored = [record for record in epochs if figure(record, "val_loss") is not None]
    gap = _measured_gap(train, val, scored)
    if gap.train_accuracy is None:
        gap = dataclasses.replace(
            _running_gap(epochs, scored), train_images=gap.train_images, val_images=gap.val_images
        )
    turn, falling = _find_turn(epochs, scored), _still_falling(epochs, scored)
    verdict = _verdict(gap, turn, scored, falling, target=setting(config, "stop.target_accuracy"))
    advice: Sequence[str] = ()
    if verdict in ("possible", "clear"):
        turned = turn if turn is not None and turn.memorised and turn.stage == turn.last_stage else None
        advice = against_memorising(config, turned_at_epoch=turned.epoch if turned else None)
    elif verdict == "underfitting":
        advice = against_stopping_early(config, epochs=int(epochs[-1]["epoch"]))
    elif turn is not None and turn.unsteady:
        advice = against_unsteadiness(config)
    sentences = [_MEANINGS[verdict], *_gap_sentences(gap), *_turn_sentences(turn, scored, falling)]
    return Diagnosis(
        verdict=verdict, gap=gap, turn=turn, still_falling=falling, sentences=tuple(sentences), advice=tuple(advice)
    )


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def best_of(scored: Sequence[Record]) -> Record | None:
    """The epoch whose weights were best: as recorded, else that of the lowest validation loss."""
    recorded = next((record for record in reversed(scored) if record.get("new_best")), None)
    return recorded or min(scored, key=lambda record: float(record["val_loss"]), default=None)


def _measured_gap(train: Record | None, val: Record | None, scored: Sequence[Record]) -> Gap:
    best = best_of(scored)
    accuracy, loss = figure(val, "accuracy"), figure(val, "loss")
    return Gap(
        basis="evaluation",
        train_accuracy=figure(train, "accuracy"), train_loss=figure(train, "loss"),
        val_accuracy=figure(best, "val_accuracy") if accuracy is None else accuracy,
        val_loss=figure(best, "val_loss") if loss is None else loss,
        train_images=figure(train, "images"), val_images=figure(val, "images"),
    )  # fmt: skip


def _running_gap(epochs: Sequence[Record], scored: Sequence[Record]) -> Gap:
    last = scored[-1] if scored else epochs[-1] if epochs else None
    names = ("train_accuracy", "val_accuracy", "train_loss", "val_loss")
    known = {name: figure(last, name) for name in names}
    return Gap(basis=None if known["train_accuracy"] is None else "running", **known)


def _find_turn(epochs: Sequence[Record], scored: Sequence[Record]) -> Turn | None:
    if not scored:
        return None
    curve = figures(scored, "val_loss")
    lowest, last = scored[int(np.argmin(curve))], scored[-1]
    then, now = figure(lowest, "train_loss"), figure(last, "train_loss")
    return Turn(
        stage=stage_of(lowest), epoch=int(lowest["epoch"]),
        last_stage=stage_of(last), last_epoch=int(last["epoch"]),
        lowest=float(lowest["val_loss"]), last=float(last["val_loss"]),
        noise=noise_of(curve) if len(curve) >= 3 else 0.0,
        beyond_noise=len(curve) >= FEWEST_EPOCHS and _exceeds(rise_of(curve), _POSSIBLE_RISE),
        train_then=then, train_last=now, training=_movement(then, now, figures(epochs, "train_loss")),
    )  # fmt: skip


def _exceeds(rise: tuple[float, float], limits: tuple[float, float]) -> bool:
    return rise[0] >= limits[0] and rise[1] >= limits[1]


def _movement(then: float | None, now: float | None, losses: Curve) -> Literal["fell", "rose", "level"] | None:
    if then is None or now is None:
        return None
    least = max(FALLS_BY * then, 2 * noise_of(losses) if len(losses) >= 3 else 0.0)
    return "fell" if then - now > least else "rose" if now - then > least else "level"


def _still_falling(epochs: Sequence[Record], scored: Sequence[Record]) -> bool:
    """Whether both losses of the last stage were still going down when it ended."""
    stage = stage_of(scored[-1]) if scored else ""
    curves = [
        figures([record for record in records if stage_of(record) == stage], key)
        for records, key in ((scored, "val_loss"), (epochs, "train_loss"))
    ]
    return all(len(curve) >= FEWEST_EPOCHS and falls_at_the_end(curve) for curve in curves)


def _verdict(
    gap: Gap, turn: Turn | None, scored: Sequence[Record], falling: bool, *, target: float | None
) -> Verdict:  # fmt: skip
    by_gap = _verdict_of_gap(gap)
    if by_gap == "clear":
        return "clear"
    if turn is not None and turn.memorised:
        # A loss that rises while accuracy does too is overconfidence (Guo et al. 2017, arXiv:1706.04599).
        certain = turn.training == "fell" and not _accuracy_grew(scored)
        return "clear" if certain and _exceeds(rise_of(figures(scored, "val_loss")), _CLEAR_RISE) else "possible"
    if by_gap == "possible":
        return "possible"
    if len(scored) < FEWEST_EPOCHS:
        return "none" if gap.basis == "evaluation" else "too short to tell"
    reached = target is not None and gap.val_accuracy is not None and gap.val_accuracy >= target
    learnt = gap.val_accuracy if gap.train_accuracy is None else gap.train_accuracy
    return "underfitting" if falling and not reached and (learnt is None or learnt < _LEARNT) else "none"


def _verdict_of_gap(gap: Gap) -> Verdict:
    """What the gap of accuracy alone says; it must exceed what chance makes of so many images, where that is known."""
    if gap.accuracy is None:
        return "none"
    variance = 0.0
    for share, images in ((gap.train_accuracy, gap.train_images), (gap.val_accuracy, gap.val_images)):
        if share is not None and images:
            variance += share * (1 - share) / images
    certain = gap.accuracy - 2 * math.sqrt(variance)
    return "clear" if certain >= _CLEAR_GAP else "possible" if certain >= _POSSIBLE_GAP else "none"


def _accuracy_grew(scored: Sequence[Record]) -> bool:
    """Whether validation accuracy rose, beyond its noise, after the validation loss had turned."""
    lowest, curve = int(np.argmin(figures(scored, "val_loss"))), figures(scored, "val_accuracy")
    if len(curve) < len(scored):
        return False
    growth = float(curve[-3:].mean() - curve[max(0, lowest - 1) : lowest + 2].mean())
    return growth > max(0.01, noise_of(-curve))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _gap_sentences(gap: Gap) -> list[str]:
    if gap.accuracy is None or gap.train_accuracy is None or gap.val_accuracy is None:
        return []
    apart = f"{abs(100 * gap.accuracy):.1f} points {'less' if gap.accuracy < 0 else 'more'}"
    if gap.basis == "evaluation":
        images = f"{gap.train_images:,.0f}" if gap.train_images else "the"
        return [
            f"The kept weights name {_percent(gap.train_accuracy)} of {images} training images right and "
            f"{_percent(gap.val_accuracy)} of the validation images: {apart} on what it learnt from."
        ]
    caution = "which are harder" if gap.accuracy < 0 else "so the true gap is wider"
    return [
        f"In the last epoch it named {_percent(gap.train_accuracy)} of the training images right and "
        f"{_percent(gap.val_accuracy)} of the validation images: {apart} on what it learnt from. The training figure "
        f"is a running mean on augmented images, {caution}."
    ]


def _turn_sentences(turn: Turn | None, scored: Sequence[Record], falling: bool) -> list[str]:
    if turn is None:
        return ["No epoch recorded a validation loss."]
    staged = turn.stage != turn.last_stage
    there = f"epoch {turn.epoch}" + (f" of {turn.stage}" if staged else "")
    end = f"epoch {turn.last_epoch}" + (f" of {turn.last_stage}" if staged else "")
    few = len(scored) < FEWEST_EPOCHS
    if there == end:
        more = ", and both losses were still falling" if falling else ""
        return [f"Validation loss was lowest in the last epoch, {turn.last_epoch} ({turn.lowest:.3f}){more}."]
    lowest = f"Validation loss was lowest at {there} ({turn.lowest:.3f})"
    if not turn.beyond_noise:
        why = (
            f"{len(scored)} evaluations are too few to call that a turn" if few
            else f"by itself it moves by about {turn.noise:.3f} from epoch to epoch, so that is no turn"
        )  # fmt: skip
        return [f"{lowest} and {turn.last:.3f} at {end}; {why}."]
    rose = f"{lowest} and rose to {turn.last:.3f} by {end}"
    if turn.train_then is None or turn.train_last is None:
        return [f"{rose}."]
    from_to = f"from {turn.train_then:.3f} to {turn.train_last:.3f}"
    if turn.unsteady:
        return [f"{rose}, but training loss rose too, {from_to}: training was unsteady rather than memorising."]
    moved = f"fell {from_to}" if turn.training == "fell" else f"hardly moved ({from_to})"
    sentences = [f"{rose} while training loss {moved}."]
    if _accuracy_grew(scored):
        sentences.append(
            "Validation accuracy grew all the same: what suffered is its confidence, which the temperature corrects."
        )
    best = best_of(scored)
    recorded = best is not None and bool(best.get("new_best")) and stage_of(best) == turn.last_stage
    if best is not None and recorded and int(best["epoch"]) < turn.last_epoch:
        sentences.append(
            f"The best weights are those of epoch {int(best['epoch'])}: the epochs after it cost time, not accuracy."
        )
    return sentences
