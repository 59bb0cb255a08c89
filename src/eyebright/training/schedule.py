"""Learning-rate schedules as plain functions of how far training has come."""

from __future__ import annotations

import math


def warmup_cosine(done: float, warmup_share: float) -> float:
    """Factor on the peak rate: linear from 0 to 1 in the warm-up, then half a cosine down to 0.

    The cosine is that of SGDR without restarts (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Args:
        done: share of all steps that lie behind, in [0, 1].
        warmup_share: share of the steps that the warm-up takes.
    """
    if done < warmup_share:
        return done / warmup_share
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup_share) / (1 - warmup_share))))
