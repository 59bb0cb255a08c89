"""Several processes that train one network, as `torchrun` starts them: who they are, and how they agree.

    torchrun --nproc-per-node 2 -m eyebright train photos/

Gradients travel through the default group of torch.distributed (NCCL between CUDA devices, gloo between CPUs).
Everything that decides what happens next travels through a second group, always gloo: it waits for hours where rank 0
prepares images, and yet hears at once when a process has ended, because its connections close.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import threading
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from eyebright.errors import TeamError, UsageError
from eyebright.training.device import pick_device

# For starting and for the gradients of one step.
_STEP_TIMEOUT = datetime.timedelta(minutes=30)
# For control values: rank 0 may decode images for hours before it says how many there are.
_CONTROL_TIMEOUT = datetime.timedelta(hours=12)
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Words of torch.distributed in errors that are plain RuntimeErrors. gloo names its source files.
_LOST = re.compile(r"gloo|NCCL|ProcessGroup|Connection (closed|reset|refused)|[Tt]imed out", re.ASCII)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Team:
    """The processes of one training, seen from one of them. Every method must be called by all of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        device: what this process computes on.
        control: group for control values; None for a process on its own.
        lost: set once another process could not be reached.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    control: dist.ProcessGroup | None = None
    lost: threading.Event = dataclasses.field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports: rank 0."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        if self.control is None:
            return flag
        return bool(self.sum(torch.tensor([int(flag)])))

    def wait(self) -> None:
        """Return when every process has come here."""
        self.any(False)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape and type; the same bits in each. `values` is unchanged."""
        if self.control is None:
            return values.clone()
        total = values.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        with self.guarded():
            dist.all_reduce(total, group=self.control)
        return total.to(values.device)

    def share(self, value: Any) -> Any:
        """The value of rank 0, which JSON must be able to hold: tuples come back as lists, in rank 0 too."""
        if self.control is None:
            return json.loads(json.dumps(value))
        text = json.dumps(value).encode() if self.leads else b""
        length = int(self.sum(torch.tensor([len(text)])))
        content = torch.frombuffer(bytearray(text.ljust(length)), dtype=torch.uint8)
        with self.guarded():
            dist.broadcast(content, src=0, group=self.control)
        return json.loads(content.numpy().tobytes())

    def gather(self, array: Tensor) -> Tensor:
        """The rows of all processes in the order of their ranks: (sum of n, ...) from (n, ...) in each, on the CPU.

        The numbers of rows may differ, and be 0; the other dimensions and the type may not.
        """
        if self.control is None:
            return array.detach().cpu().clone()
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(array)
        counts = self.sum(counts)
        padded = array.detach().cpu().new_zeros((int(counts.max()), *array.shape[1:]))
        padded[: len(array)] = array.detach()
        # As bytes, because gloo does not know every type.
        mine = padded.reshape(-1).view(torch.uint8)
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        if mine.numel():
            with self.guarded():
                dist.all_gather(theirs, mine, group=self.control)
        rows = [one.view(padded.dtype).view(padded.shape) for one in theirs]
        return torch.cat([part[: int(count)] for part, count in zip(rows, counts, strict=True)])

    def slice_of(self, count: int) -> slice:
        """The part of `count` items that falls to this process: contiguous, in rank order, sizes 1 apart at most."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Around collective work, such as a backward pass with DDP: a lost process raises `TeamError`."""
        try:
            yield
        except RuntimeError as error:
            if self.control is None or not (isinstance(error, dist.DistError) or _LOST.search(str(error))):
                raise
            self.lost.set()
            raise TeamError(
                f"another process of this training ended or cannot be reached; process {self.rank} of {self.size} "
                f"stops too ({_short(error)})",
                expected="all processes at work until the end",
                remedy="read what the process that ended first has said; then continue from the last checkpoint with "
                "`eyebright resume RUN`, under torchrun or without",
            ) from error

    def leave(self) -> None:
        """Close the connections; to be called once, at the end, also after an error."""
        if self.control is None or not dist.is_initialized():
            return
        with contextlib.suppress(RuntimeError):  # connections to a process that has ended cannot be closed well
            if self.lost.is_set() and self.device.type == "cuda" and dist.group.WORLD is not None:
                dist.group.WORLD.abort()  # NCCL would wait for the process that has ended
            dist.destroy_process_group()


ALONE = Team()


def join_team(kind: Literal["auto", "cpu", "cuda", "mps"]) -> Team:
    """Join the processes that `torchrun` started, or stay alone when this one was started in another way.

    Args:
        kind: what to compute on; `auto` takes CUDA where it is available.

    Raises:
        UsageError: the variables of torchrun are incomplete or wrong, or there are too few devices.
        TeamError: the other processes did not come.
    """
    if "RANK" not in os.environ:
        return dataclasses.replace(ALONE, device=pick_device(kind))
    number = _from_environment()
    device = pick_device(kind)
    together = number["LOCAL_WORLD_SIZE"]
    if kind == "mps" and number["WORLD_SIZE"] > 1:
        raise UsageError(
            f"{number['WORLD_SIZE']} processes cannot train on mps together",
            expected="cpu or cuda under torchrun",
            remedy="add --device cpu, or start without torchrun",
        )
    if device.type == "mps" and number["WORLD_SIZE"] > 1:
        device = torch.device("cpu")  # chosen by `auto`: a Mac has one such device
    if device.type == "cuda":
        devices = torch.cuda.device_count()
        if together > devices:
            raise UsageError(
                f"torchrun started {together} processes here, and there are only {devices} CUDA devices",
                expected="a CUDA device for each process",
                remedy=f"start with --nproc-per-node {devices}, or add --device cpu",
            )
        device = torch.device("cuda", number["LOCAL_RANK"])
        torch.cuda.set_device(device)
    team = Team(rank=number["RANK"], size=number["WORLD_SIZE"], device=device)
    try:
        if device.type == "cuda":
            dist.init_process_group("nccl", timeout=_STEP_TIMEOUT, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=_STEP_TIMEOUT)
        control = dist.new_group(backend="gloo", timeout=_CONTROL_TIMEOUT)
    except RuntimeError as error:
        raise TeamError(
            f"process {team.rank} of {team.size} could not reach the others ({_short(error)})",
            expected=f"{team.size} processes that can reach MASTER_ADDR and MASTER_PORT",
            remedy="start all of them with torchrun; read what the process that ended first has said",
        ) from error
    assert isinstance(control, dist.ProcessGroup), "the group has all processes"
    return dataclasses.replace(team, control=control)


def _short(error: RuntimeError) -> str:
    """The first sentence of an error of torch.distributed, without the place in its sources."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[[^\]]*\] *", "", line).partition(". ")[0]


def _from_environment() -> dict[str, int]:
    """The numbers that torchrun has put into the environment."""
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise UsageError(
            f"RANK is set, and {', '.join(missing)} is not",
            expected="all variables of torchrun, or none",
            remedy="start with `torchrun --nproc-per-node N -m eyebright ...`, or unset RANK",
        )
    number = {}
    for name in _VARIABLES[:4]:
        text = os.environ[name]
        if not text.isdecimal():
            raise UsageError(f"{name} is {text!r}", expected="a whole number, as torchrun sets it")
        number[name] = int(text)
    for rank, size in (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE")):
        if number[rank] >= number[size]:
            raise UsageError(f"{rank} is {number[rank]}, and {size} is {number[size]}", expected=f"{rank} below it")
    return number
