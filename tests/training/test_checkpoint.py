"""Checkpoints: a resumed training is the same to the bit, a kill or a full disk loses nothing, damage is noticed."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.optim import Lion, Muon
from torch import nn

from eyebright.errors import CorruptBundleError, StorageError, UsageError
from eyebright.training.checkpoint import Loaded, load_checkpoint, save_checkpoint

Optimiser = torch.optim.Optimizer
OPTIMISERS: dict[str, Callable[[Any], Optimiser]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=1e-2, fused=True),
    "adamw plain": lambda groups: torch.optim.AdamW(groups, lr=1e-2, amsgrad=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=1e-2, fused=True),
    "sgd": lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, nesterov=True),
    "sgd without momentum": lambda groups: torch.optim.SGD(groups, lr=1e-2),
    "lion": lambda groups: Lion(groups, lr=1e-3),
    "muon": lambda groups: Muon(groups, lr=1e-2),
}


def make_network(width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 6, 3), nn.Dropout(0.3),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def make_optimiser(network: nn.Module, kind: str = "adamw") -> Optimiser:
    parameters = list(network.parameters())
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    return OPTIMISERS[kind]([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}])


def steps(network: nn.Module, optimiser: Optimiser, count: int) -> None:
    """Training steps on images that the global generators make."""
    network.train()
    for _ in range(count):
        images = torch.randn(6, 3, 8, 8) + float(np.random.normal())
        targets = torch.tensor([random.randrange(3) for _ in range(6)])
        loss = nn.functional.cross_entropy(network(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def save(folder: Path, step: int, network: nn.Module, optimiser: Optimiser, **state: Any) -> None:
    save_checkpoint(
        folder, step=step, modules={"network": network}, optimiser=optimiser, scaler=None, tensors={}, state=state
    )


def load(folder: Path, network: nn.Module, optimiser: Optimiser) -> Loaded | None:
    return load_checkpoint(folder, modules={"network": network}, optimiser=optimiser, scaler=None)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture
def trained() -> tuple[nn.Module, Optimiser]:
    network = make_network()
    optimiser = make_optimiser(network)
    steps(network, optimiser, 1)
    return network, optimiser


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_training_goes_on_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    """Weights, statistics, moments and the numbers of four generators, for every optimiser."""
    network = make_network()
    optimiser = make_optimiser(network, kind)
    steps(network, optimiser, 3)
    save(tmp_path, 3, network, optimiser)
    steps(network, optimiser, 3)

    again = make_network()
    other = make_optimiser(again, kind)
    steps(again, other, 1)
    loaded = load(tmp_path, again, other)
    assert loaded is not None
    assert (loaded.step, loaded.damaged, loaded.not_restored) == (3, (), ())
    steps(again, other, 3)
    for (name, one), two in zip(network.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    for one, two in zip(optimiser.state.values(), other.state.values(), strict=True):
        assert {key: type(value) for key, value in one.items()} == {key: type(value) for key, value in two.items()}
        for key, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, two[key]), key
                assert (value.dtype, value.stride()) == (two[key].dtype, two[key].stride()), key
            else:
                assert value == two[key], key


def test_plain_values_tensors_and_empty_groups_come_back(tmp_path: Path, trained: tuple[nn.Module, Optimiser]) -> None:
    network, optimiser = trained
    state = {"loop": {"step": 7, "rate": 0.1 + 0.2, "best": None}, "names": ["é"]}
    best = {"a/b": torch.arange(4, dtype=torch.bfloat16), "count": torch.tensor(3), "none": torch.empty(0, 2)}
    save_checkpoint(
        tmp_path, step=7, modules={"network": network, "average": network}, optimiser=optimiser, scaler=None,
        tensors={"best": best, "empty": {}}, state=state,
    )  # fmt: skip
    loaded = load_checkpoint(
        tmp_path, modules={"network": network, "average": make_network()}, optimiser=optimiser, scaler=None
    )
    assert loaded is not None
    assert loaded.state == state
    assert loaded.tensors["empty"] == {}
    assert loaded.tensors["best"].keys() == best.keys()
    for key, value in best.items():
        assert torch.equal(loaded.tensors["best"][key], value)
        assert loaded.tensors["best"][key].dtype == value.dtype


def test_the_scale_of_gradients_comes_back(tmp_path: Path, trained: tuple[nn.Module, Optimiser]) -> None:
    def scaler(scale: float) -> torch.amp.GradScaler:
        made = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
        made.scale(torch.ones(()))  # its scale exists from the first use
        return made

    network, optimiser = trained
    rest: dict[str, Any] = {"modules": {"network": network}, "optimiser": optimiser}
    save_checkpoint(tmp_path, step=1, scaler=scaler(1024.0), tensors={}, state={}, **rest)
    other = scaler(8.0)
    load_checkpoint(tmp_path, scaler=other, **rest)
    assert (other.get_scale(), other.get_growth_interval()) == (1024.0, 100)
    save_checkpoint(tmp_path, step=2, scaler=None, tensors={}, state={}, **rest)
    loaded = load_checkpoint(tmp_path, scaler=other, **rest)
    assert loaded is not None
    assert loaded.not_restored == ("scale of the gradients",)


def test_the_last_two_are_kept(tmp_path: Path, trained: tuple[nn.Module, Optimiser]) -> None:
    assert load(tmp_path / "none", *trained) is None
    (tmp_path / ".step-000000001.1-abcdef01.partial").mkdir()
    for step in (1, 2, 2, 10):
        save(tmp_path, step, *trained, saved=step)
    assert names(tmp_path) == ["step-000000002.1", "step-000000010"]


def test_a_second_checkpoint_of_a_step_is_the_newer_one(tmp_path: Path, trained: tuple[nn.Module, Optimiser]) -> None:
    for attempt in range(12):
        save(tmp_path, 5, *trained, attempt=attempt)
    loaded = load(tmp_path, *trained)
    assert loaded is not None
    assert loaded.state == {"attempt": 11}
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, trained: tuple[nn.Module, Optimiser], file: str, harm: str
) -> None:
    network, optimiser = trained
    for step in (4, 8):
        save(tmp_path, step, network, optimiser, at=step)
    damage(tmp_path / "step-000000008" / file, harm)
    loaded = load(tmp_path, network, optimiser)
    assert loaded is not None
    assert (loaded.step, loaded.state, loaded.damaged) == (4, {"at": 4}, ("step-000000008",))
    # Training goes on from there, and the damaged one does not count as one of two.
    save(tmp_path, 6, network, optimiser)
    assert names(tmp_path) == ["step-000000004", "step-000000006"]


def test_when_all_are_damaged_it_says_what_to_do(tmp_path: Path, trained: tuple[nn.Module, Optimiser]) -> None:
    for step in (4, 8):
        save(tmp_path, step, *trained)
        damage(tmp_path / f"step-{step:09d}" / "tensors.safetensors", "cut")
    with pytest.raises(CorruptBundleError, match=r"step-000000008: tensors\.safetensors is not as") as caught:
        load(tmp_path, *trained)
    assert caught.value.remedy is not None


def damage(path: Path, harm: str) -> None:
    content = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
        return
    middle = content.index(b'"bytes": ') + 9 if path.name == "manifest.json" else len(content) // 2
    if harm == "cut":
        del content[middle:]
    else:
        content[middle] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("width", "weights of the network: 0.weight is 4x3x3x3 there and 5x3x3x3 here"),
        ("layer", "8.weight is only here"),
        ("optimiser", "its optimiser is AdamW, and SGD was asked for"),
        ("frozen", "its optimiser trains 8 tensors, and 6 are to be trained here"),
        ("average", "it holds network, and average, network was asked for"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_nothing_changes(
    tmp_path: Path, trained: tuple[nn.Module, Optimiser], change: str, named: str
) -> None:
    save(tmp_path, 1, *trained)
    network: nn.Sequential = make_network(5 if change == "width" else 4)
    if change == "layer":
        network.append(nn.Linear(3, 3))
    trainable: nn.Module = network[1:] if change == "frozen" else network
    optimiser = make_optimiser(trainable, "sgd" if change == "optimiser" else "adamw")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    random_before = torch.get_rng_state()
    modules = {"network": network} | ({"average": network} if change == "average" else {})
    with pytest.raises(UsageError, match="belongs to another training") as caught:
        load_checkpoint(tmp_path, modules=modules, optimiser=optimiser, scaler=None)
    assert named in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert torch.equal(random_before, torch.get_rng_state())
    assert not optimiser.state


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    network = nn.Linear(64, 64)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    step = 0
    for _ in range(40):
        before = set(tmp_path.glob("step-*"))
        child = os.fork()
        if child == 0:
            try:
                save_for_ever(tmp_path, network, optimiser, step)
            finally:
                os._exit(1)
        while set(tmp_path.glob("step-*")) == before:  # until it is at work
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        loaded = load(tmp_path, network, optimiser)
        assert loaded is not None
        assert loaded.damaged == ()
        assert loaded.state == {"at": loaded.step}
        assert bool((network.weight == loaded.step).all())
        assert loaded.step > step
        step = loaded.step


def save_for_ever(folder: Path, network: nn.Linear, optimiser: Optimiser, step: int) -> None:
    while True:
        step += 1
        with torch.no_grad():
            network.weight.fill_(step)
        save(folder, step, network, optimiser, at=step)


@pytest.mark.parametrize("limit", [0, 500, 5_000])
def test_a_full_disk_leaves_the_former_checkpoints(
    tmp_path: Path, trained: tuple[nn.Module, Optimiser], limit: int
) -> None:
    """The limit falls on the tensors first; with little to save, on the state."""
    network, optimiser = trained
    for step in (1, 2):
        save(tmp_path, step, network, optimiser)
    with files_of_at_most(limit), pytest.raises(StorageError, match="step-000000003"):
        save(tmp_path, 3, network, optimiser, much="x" * 5_000)
    assert names(tmp_path) == ["step-000000001", "step-000000002"]
    loaded = load(tmp_path, network, optimiser)
    assert loaded is not None
    assert loaded.step == 2


@contextlib.contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("there", "here"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.parametrize("kind", ["adamw", "sgd", "lion", "muon"])
def test_another_device_goes_on(tmp_path: Path, there: str, here: str, kind: str) -> None:
    network = make_network().to(there)
    optimiser = make_optimiser(network, kind)

    def step(network: nn.Module, optimiser: Optimiser, device: str) -> None:
        network.eval()
        loss = network(torch.linspace(-1, 1, 384, device=device).view(2, 3, 8, 8)).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    for _ in range(2):
        step(network, optimiser, there)
    save(tmp_path, 2, network, optimiser)
    step(network, optimiser, there)
    other_network = make_network().to(here)
    other = make_optimiser(other_network, kind)
    assert load(tmp_path, other_network, other) is not None
    step(other_network, other, here)
    for one, two in zip(network.parameters(), other_network.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), two.cpu(), rtol=1e-3, atol=1e-4)
