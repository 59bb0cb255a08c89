"""A step asks a GPU for work and never waits for it: shown on tensors without values, and on a GPU where there is one.

Without a GPU, the tensors of the device are fake: they have a shape and a place and no values. Whatever would need a
value on the CPU (`item`, `nonzero`, a boolean index, an `if`) raises there, and so would wait on a real device. Copies
to the device are looked at one by one: from pinned memory, and not blocking.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eyebright.config import TrainConfig, build_config
from eyebright.data.batches import Order, PixelSet
from eyebright.models.small import SmallNet
from eyebright.preprocess import Preprocess
from eyebright.training.level import Level
from eyebright.training.loss import Objective
from eyebright.training.optim import Average, make_optimiser
from eyebright.training.score import predict_logits
from eyebright.training.step import Learner, train_step
from eyebright.training.team import ALONE

CUDA = torch.device("cuda")
CLASSES = 4
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"augment": {"flip": False}},
    "flips": {"augment": {"flip": True, "vertical_flip": True}},
    "geometry": {"augment": {"flip": True, "rotation": 20, "shift": 0.1, "min_area": 0.5, "shear": 10}},
    "colours": {"augment": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05}},
    "erasing": {"augment": {"erasing": 0.5}},
    "randaugment": {"augment": {"policy": "randaugment"}},
    "mixing": {"augment": {"mixup": 0.2, "cutmix": 1.0}},
    "accumulation": {"optim": {"accumulate": 3}},
    "clipping": {"optim": {"clip_norm": 1.0}},
    "sgd": {"optim": {"optimiser": "sgd"}},
    "lion": {"optim": {"optimiser": "lion"}},
    "muon": {"optim": {"optimiser": "muon"}},
    "loss": {"loss": {"name": "focal", "class_weights": "balanced", "logit_adjustment": 1.0}},
}


class WaitedError(Exception):
    """Something would have made the CPU wait for the device."""


class FakeDevice(TorchDispatchMode):
    """Computes on the CPU as ever, and on the device with tensors that have no values; refuses copies that wait."""

    def __init__(self, pinned: list[torch.Tensor]) -> None:
        super().__init__()
        self.pinned = pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        target = kwargs.get("device")
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors) and str(target or "cpu") == "cpu":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        to_device = func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu"
        if to_device and not (kwargs.get("non_blocking") and any(args[0] is one for one in self.pinned)):
            raise WaitedError("a copy to the device that is not from pinned memory, or is waited for")
        if any(tensor.device.type == "cuda" for tensor in tensors) and str(target or "cuda") == "cpu":
            raise WaitedError("a copy from the device")
        if func is torch.ops.aten.copy_.default and args[0].device != args[1].device:
            raise WaitedError("a copy between devices")
        if func is torch.ops.aten._fused_sgd_.default:
            return None  # torch cannot compute it without values
        return func(*args, **kwargs)


def make_network(device: torch.device) -> nn.Module:
    with torch.device(device):
        return SmallNet(CLASSES, width=8, drop_rate=0.1)


def make(config: TrainConfig, device: torch.device, level: Level | None) -> tuple[Learner, PixelSet, Average]:
    """What a step needs, on the device."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    targets = np.arange(48) % CLASSES
    preprocess = Preprocess(size=16)
    network = make_network(device)
    images = PixelSet(pixels, np.arange(48), targets, preprocess=preprocess, device=device)
    learner = Learner(
        model=network, optimiser=make_optimiser(network, config.optim),
        scaler=torch.amp.GradScaler("cuda", enabled=False),
        objective=Objective(config.loss, images.class_totals(CLASSES if level is None else 2)[:CLASSES], device),
        config=config, size=16, classes=CLASSES, team=ALONE, level=level, teacher=None,
    )  # fmt: skip
    return learner, images, Average(network, 0.9)


def steps(learner: Learner, images: PixelSet, average: Average, sums: torch.Tensor, *, first: int) -> None:
    """An epoch of three steps."""
    order = Order(seed=0, batch_size=16, settings=learner.config.data)
    for number, batch in enumerate(images.shuffled(order, epoch=0)):
        train_step(learner, images, batch, first + number, 0.5, sums)
        average.update(learner.model, first + number)


def on_fake_device(config: TrainConfig, *, resident: bool, level: Level | None = None) -> None:
    """Three steps, and an evaluation of nothing, on a device whose tensors have no values."""
    pinned: list[torch.Tensor] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        patch.setattr(torch.cuda, "manual_seed", lambda seed: None)
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
        patch.setattr("eyebright.training.optim.copy.deepcopy", lambda network: make_network(CUDA))
        learner, images, average = make(config, CUDA, level)
        images = images.staying(resident)
        sums = torch.zeros(4, dtype=torch.float64, device=CUDA)

        def backward(loss: torch.Tensor) -> None:
            # The engine of autograd wants a real device, and what it runs is torch's own.
            for parameter in learner.model.parameters():
                parameter.grad = torch.zeros_like(parameter)

        patch.setattr(torch.autograd, "backward", backward)
        with FakeDevice(pinned):
            steps(learner, images, average, sums, first=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_no_step_waits_for_the_device(name: str) -> None:
    on_fake_device(build_config({"compute": {"precision": "float32"}}, SETTINGS[name]), resident=False)


def test_no_step_waits_where_images_stay_on_the_device() -> None:
    on_fake_device(build_config({"compute": {"precision": "float32"}}), resident=True)


def test_no_step_waits_that_learns_superclasses() -> None:
    level = Level(torch.tensor([0, 0, 1, 1]))
    on_fake_device(build_config({"compute": {"precision": "float32"}}), resident=False, level=level)


class WithoutInferenceMode:
    """torch, with `no_grad` in place of a mode that tensors without values cannot be in."""

    inference_mode = torch.no_grad

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def test_an_evaluation_waits_once_at_its_end() -> None:
    pinned: list[torch.Tensor] = []
    batches: list[int] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "pin_memory", pin_memory)
        patch.setattr("eyebright.training.optim.copy.deepcopy", lambda network: make_network(CUDA))
        patch.setattr("eyebright.training.score.torch", WithoutInferenceMode())
        learner, images, _ = make(build_config({}), CUDA, None)
        learner.model.register_forward_hook(lambda network, inputs, output: batches.append(len(output)))
        with pytest.raises(WaitedError, match="from the device"), FakeDevice(pinned):
            predict_logits(learner.model, images, 20, exact=True)
    assert batches == [20, 20, 8]


@pytest.mark.parametrize(
    "waiting",
    [
        lambda there: float(there.sum()),
        lambda there: there.nonzero(),
        lambda there: there[there > 0],
        lambda there: there + torch.ones(3).to(there.device),
        lambda there: torch.tensor([1.0, 2.0, 3.0], device=there.device) + there,
        lambda there: there.cpu().numpy(),
    ],
    ids=["a number", "positions", "a boolean index", "a copy that is waited for", "a list", "values"],
)
def test_the_fake_device_notices_waiting(waiting: Callable[[torch.Tensor], Any]) -> None:
    errors = (WaitedError, DataDependentOutputException, DynamicOutputShapeException)
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = torch.zeros(3, device=CUDA)
        with pytest.raises(errors), FakeDevice([]):
            waiting(there)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("resident", [False, True], ids=["gathered", "resident"])
def test_no_step_waits_on_a_real_gpu(name: str, resident: bool) -> None:
    learner, images, average = make(build_config(SETTINGS[name]), CUDA, None)
    images = images.staying(resident)
    sums = torch.zeros(4, dtype=torch.float64, device=CUDA)
    steps(learner, images, average, sums, first=0)  # the first steps choose algorithms, and make moments
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        steps(learner, images, average, sums, first=3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(sums[3]) == 2 * 48
