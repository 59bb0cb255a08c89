"""The images of a run while it trains: there from the beginning, or decoded while the first epoch goes on.

An image that turns out to be broken while training goes on would have been left out had all been decoded before. The
training that has begun is then dropped and begun again without it, so that a run never depends on `data.overlap`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from types import TracebackType

import numpy as np
import torch

from eyebright.atomic import write_json
from eyebright.data.batches import PixelSet
from eyebright.data.manifest import Manifest
from eyebright.data.numbered import Numbered
from eyebright.data.pack import Pack, Packed, PackInProgress, begin_packing
from eyebright.data.sampling import epoch_order
from eyebright.data.sources import Source
from eyebright.jobs.prepare import SPLITS, class_indices, decoded, pixel_set, split_rows, without_failures
from eyebright.progress import Progress
from eyebright.recipes.base import Plan
from eyebright.run import Run
from eyebright.training.team import Team

_MARK = "decoding.json"
_HISTORY = ("history.jsonl", "history.csv")
_LEARNT_FROM = ("train", "val")


class TrainingImages:
    """What a recipe is given, and what is known of the images so far.

    Use it as a context: decoding ends with it.

    Attributes:
        manifest: with the images marked that are known to be broken.
        packed: the images by id.
        sets: the images of `train`, `val` and `test`.
        seconds: that decoding took beside training; None while it goes on, and where all was there before.
    """

    def __init__(
        self, run: Run, manifest: Manifest, source: Source, plan: Plan, team: Team, progress: Progress
    ) -> None:
        self._run, self._plan, self._team, self._progress = run, plan, team, progress
        self._mark = run.checkpoint / _MARK
        self._packing: PackInProgress | None = None
        self.seconds: float | None = None
        self.manifest = manifest
        self._ids = list(dict.fromkeys(manifest.ok["id"].to_pylist()))
        unsettled = self._mark.is_file()
        # A training whose images were all there once, and are no longer, waits for them: it must not lose what it has
        # learnt because a file has gone meanwhile.
        begun = not unsettled and run.checkpoint.is_dir() and any(run.checkpoint.iterdir())
        data = plan.config.data
        if team.size == 1 and data.overlap and data.stream is not True and not begun:
            self.packed = self._begin(source)
        else:
            self.packed = decoded(manifest, source, plan.preprocess, plan.config, progress)
        try:
            if self._packing is None:
                self._settle_before(unsettled)
            self.sets = self._made_sets()
        except BaseException:
            self.close()
            raise

    def settled(self, *, keep: bool) -> bool:
        """Wait until every image was decoded, and leave out those that could not be.

        Returns whether what was learnt may stay. If not, because images that were to be learnt from were among them,
        it is removed from the run; `sets` holds the others then.

        Args:
            keep: what was learnt stays in any case.

        Raises:
            BadImagesError: more images than allowed could not be decoded.
            StorageError: they could not be stored.
        """
        if self._packing is None:
            return True
        # The whole pack in place of the one in the making, which gives nothing any more when images are lost.
        self.packed = Numbered(self._packing.wait(), self._ids)
        self._packing = None
        lost = 0 if keep else self._lost(self.packed.failures)
        if lost:
            self._forget()
        self._leave_out()
        self._mark.unlink(missing_ok=True)
        if lost:
            self._progress.note(f"training begins again without {lost} images that turned out to be broken")
        self.sets = self._made_sets()
        return not lost

    def close(self) -> None:
        """End the decoding, if it still goes on; what was decoded is kept for a resume."""
        if self._packing is not None:
            self._packing.close()

    def __enter__(self) -> TrainingImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, source: Source) -> Packed:
        """Begin to decode, and say on the disk that what is learnt meanwhile may have to be dropped."""
        self._run.checkpoint.mkdir(parents=True, exist_ok=True)
        write_json(self._mark, {"decoded": False})
        packing = begin_packing(
            self.manifest, source, self._plan.preprocess,
            first=needed_first(self.manifest, self._plan), progress=self._progress, finished=self._finished,
        )  # fmt: skip
        if packing.in_background:
            self._packing = packing
        return Numbered(packing, self._ids)

    def _finished(self, packed: Pack, seconds: float) -> None:
        """Called in the background."""
        self.seconds = seconds
        self._progress.note(f"decoded {len(packed.ids):,} images in {seconds:.1f} s while training")
        if not packed.failures:
            self._mark.unlink(missing_ok=True)

    def _settle_before(self, unsettled: bool) -> None:
        """All images are decoded; what a killed sitting learnt before they were may have to be dropped."""
        if not self._team.leads:
            self.manifest = self._without_failures()
            return
        if unsettled and self._lost(self.packed.failures):
            self._forget()
        self._leave_out()
        self._mark.unlink(missing_ok=True)

    def _lost(self, failures: Collection[str]) -> int:
        """How many of these ids training learns from or chooses by."""
        if not failures:
            return 0
        used = self.manifest.ok
        splits = dict(zip(used["id"].to_pylist(), used["split"].to_pylist(), strict=True))
        return sum(splits.get(image) in _LEARNT_FROM for image in failures)

    def _leave_out(self) -> None:
        self.manifest = self._without_failures()
        self.manifest.write(self._run.file("manifest.parquet"))

    def _without_failures(self) -> Manifest:
        allowed = self._plan.config.data.allow_bad
        return without_failures(self.manifest, self.packed.failures, allowed, self._progress)

    def _forget(self) -> None:
        """Remove what was learnt so far, before the manifest is written: a kill in between costs nothing but time."""
        shutil.rmtree(self._run.checkpoint, ignore_errors=True)
        for name in _HISTORY:
            self._run.file(name).unlink(missing_ok=True)
        shutil.rmtree(self._run.file("tensorboard"), ignore_errors=True)

    def _made_sets(self) -> dict[str, PixelSet]:
        device: torch.device = self._team.device
        return {split: pixel_set(self.manifest, self.packed, split, self._plan.preprocess, device) for split in SPLITS}


def needed_first(manifest: Manifest, plan: Plan) -> list[str]:
    """Ids of the images that are learnt from or chosen by, in the order in which training asks for them.

    What trains at once takes the batches of its first epoch, and then validation. What computes features first, or
    looks at every image once, goes through both in order.
    """
    rows = {split: split_rows(manifest, split) for split in _LEARNT_FROM}
    train, val = (rows[split]["id"].to_pylist() for split in _LEARNT_FROM)
    if plan.probe or not plan.stages:
        return [*train, *val]
    sequence = epoch_order(
        class_indices(manifest, rows["train"]), seed=plan.config.seed, epoch=0, sampling=plan.config.data.sampling
    )
    size = plan.stages[0].batch_size
    parts = [np.sort(sequence[first : first + size]) for first in range(0, len(sequence), size)]
    taken = [train[number] for part in parts for number in part.tolist()]
    # With balanced classes, an epoch takes some images twice and others not at all.
    return list(dict.fromkeys([*taken, *val, *train]))
