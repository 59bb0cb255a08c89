"""The learning-rate range test with the steps of the training loop itself."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from eyebright.config import TrainConfig
from eyebright.data.batches import Change, Order, PixelSet
from eyebright.errors import NonFiniteLossError
from eyebright.progress import Progress
from eyebright.training.device import needs_scaling
from eyebright.training.freezing import freeze, training_mode
from eyebright.training.loss import Objective
from eyebright.training.lr_finder import RateCurve, range_test
from eyebright.training.optim import make_optimiser
from eyebright.training.stage import Stage
from eyebright.training.step import Learner, train_step
from eyebright.training.team import ALONE
from eyebright.training.untouched import leaving_untouched
from eyebright.training.wrapping import wrapped


def search_rate(
    network: nn.Module,
    train: PixelSet,
    *,
    config: TrainConfig,
    stage: Stage,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    change: Change | None = None,
    progress: Progress | None = None,
) -> RateCurve:
    """The loss over rising rates, with the augmentation, the loss and the optimiser of a stage.

    Afterwards the network, its gradients and every random state are bit for bit as before. The optimiser is one of
    its own, so none of the caller's is touched.

    Args:
        network: on its device; its weights are where the test begins.
        train: the images.
        config: everything but what the stage says itself.
        stage: batch size, input size, what is frozen.
        lowest, highest, steps: see `range_test`.
        change: what happens to single images before they are batched.
        progress: whom to tell.
    """
    config = stage.applied_to(config)
    classes = int(network.num_classes)  # type: ignore[arg-type]
    order = Order(
        seed=config.seed, batch_size=stage.batch_size, settings=config.data, change=change,
        workers=config.compute.workers,
    )  # fmt: skip
    with leaving_untouched(network):
        freeze(network, stage.frozen)
        optimiser = make_optimiser(network, config.optim)
        scaler = torch.amp.GradScaler(train.device.type, enabled=needs_scaling(train.device, config.compute.precision))
        with wrapped(network, train, config=config, team=ALONE) as model:
            learner = Learner(
                model=model, optimiser=optimiser, scaler=scaler, config=config, size=stage.size, classes=classes,
                objective=Objective(config.loss, train.class_totals(classes), train.device), team=ALONE, level=None,
                teacher=None,
            )  # fmt: skip
            batches = itertools.chain.from_iterable(train.shuffled(order, epoch=epoch) for epoch in itertools.count())
            sums = torch.zeros(4, device=train.device)
            numbers = itertools.count()

            def step(rate: float) -> float:
                training_mode(network, fixed_statistics=stage.fixed_statistics)
                factor = rate / stage.learning_rate
                try:
                    return float(train_step(learner, train, next(batches), next(numbers), factor, sums))
                except NonFiniteLossError:
                    return math.nan

            curve = range_test(step, lowest=lowest, highest=highest, steps=steps, progress=progress)
    return curve
