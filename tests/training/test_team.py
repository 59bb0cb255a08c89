"""A team of real processes: they agree, they gather, and the death of one is heard by the others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eyebright.errors import TeamError, UsageError
from eyebright.training.team import ALONE, Team, join_team

SIZE = 3
VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def start_team(script: str, size: int) -> list[subprocess.Popen[str]]:
    """The processes that torchrun would start, each running `script`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, script],
            env=os.environ
            | {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """What each process has found, {} for one that was killed. Fails, and leaves none running, after two minutes."""
    try:
        return [json.loads(process.communicate(timeout=120)[0] or "{}") for process in processes]
    finally:
        for process in processes:
            process.kill()


def rows_of(rank: int) -> torch.Tensor:
    """4 rows in process 0, none in 1, 2 in 2; values that tell rank, row and column."""
    count = (4, 0, 2)[rank]
    return torch.arange(3.0) + 10 * torch.arange(float(count))[:, None] + 100 * rank


def work(team: Team) -> dict[str, Any]:
    """Every method once, then a death in the backward pass of DDP."""
    found: dict[str, Any] = {"rank": team.rank, "leads": team.leads, "device": str(team.device)}
    found["any"] = [team.any(team.rank == 1), team.any(False)]
    found["share"] = [team.share({"names": ["é", team.rank], "pair": (1, None)}), team.share(None)]
    found["gather"] = team.gather(rows_of(team.rank)).tolist()
    found["gather nothing"] = list(team.gather(torch.empty(0, 7, dtype=torch.int64)).shape)
    flags = torch.tensor([team.rank == 2] * team.rank, dtype=torch.bool)
    found["gather flags"] = team.gather(flags).tolist()
    mine = torch.tensor([0.1 * team.rank, 1e-7], dtype=torch.float64)
    found["sum"] = team.sum(mine).tolist()
    found["unchanged"] = mine.tolist() == [0.1 * team.rank, 1e-7]
    found["slice"] = [team.slice_of(8).start, team.slice_of(8).stop]
    team.wait()
    network = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
    try:
        with team.guarded():
            loss = network(torch.ones(1, 2)).sum()
            if team.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            loss.backward()
    except TeamError as error:
        found["backward"] = str(error)
    for name, call in {
        "any": lambda: team.any(False), "share": lambda: team.share(1), "gather": lambda: team.gather(torch.ones(1, 1)),
        "sum": lambda: team.sum(torch.ones(1)), "wait": team.wait,
    }.items():  # fmt: skip
        try:
            call()
        except TeamError as error:
            found[f"lost in {name}"] = [error.problem, error.remedy]
    found["lost"] = team.lost.is_set()
    team.leave()
    return found


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """One session of three processes, of which the second is killed at the end; what each reports."""
    return finish(start_team(__file__, SIZE))


def test_everyone_knows_its_place(found: list[dict[str, Any]]) -> None:
    assert [found[rank]["rank"] for rank in (0, 2)] == [0, 2]
    assert [found[rank]["leads"] for rank in (0, 2)] == [True, False]
    assert found[0]["device"] == "cpu"


@pytest.mark.parametrize("rank", [0, 2])
def test_all_get_the_same_values(found: list[dict[str, Any]], rank: int) -> None:
    mine = found[rank]
    assert mine["any"] == [True, False]
    assert mine["share"] == [{"names": ["é", 0], "pair": [1, None]}, None]
    assert mine["sum"] == pytest.approx([0.1 + 0.2, 3e-7], rel=1e-12)
    assert mine["unchanged"]


@pytest.mark.parametrize("rank", [0, 2])
def test_rows_come_in_the_order_of_ranks_however_many_each_has(found: list[dict[str, Any]], rank: int) -> None:
    mine = found[rank]
    assert mine["gather"] == torch.cat([rows_of(other) for other in range(SIZE)]).tolist()
    assert mine["gather nothing"] == [0, 7]
    assert mine["gather flags"] == [False, True, True]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_process_is_heard_of_in_the_backward_pass_and_everywhere_else(
    found: list[dict[str, Any]], rank: int
) -> None:
    assert found[1] == {}
    assert found[rank]["lost"]
    assert "another process of this training ended" in found[rank]["backward"]
    assert "eyebright resume" in found[rank]["backward"]
    for name in ("any", "share", "gather", "sum", "wait"):
        problem, remedy = found[rank][f"lost in {name}"]
        assert f"process {rank} of 3" in problem
        assert "eyebright resume" in remedy


@pytest.mark.parametrize(("count", "size"), [(8, 3), (2, 4), (0, 2), (64, 1), (101, 8)])
def test_slices_cover_everything_evenly(count: int, size: int) -> None:
    items = np.arange(count)
    slices = [items[Team(rank=rank, size=size).slice_of(count)] for rank in range(size)]
    assert np.concatenate(slices).tolist() == items.tolist()
    lengths = [len(part) for part in slices]
    assert max(lengths) - min(lengths) <= 1


def test_alone_every_method_gives_its_own_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    team = join_team("cpu")
    assert team == ALONE
    assert (team.leads, team.any(True), team.any(False), team.share((1, "a"))) == (True, True, False, [1, "a"])
    rows = torch.rand(3, 2)
    assert torch.equal(team.gather(rows), rows)
    assert torch.equal(team.sum(rows), rows)
    assert team.slice_of(5) == slice(0, 5)
    team.wait()
    team.leave()
    with pytest.raises(RuntimeError, match="gloo"), team.guarded():
        raise RuntimeError("gloo is nothing that a lone process can lose")


def test_a_team_of_one_and_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torchrun --nproc-per-node 1` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in zip(VARIABLES, ("0", "1", "0", "1", "127.0.0.1", str(port)), strict=True):
        monkeypatch.setenv(name, value)
    team = join_team("cpu")
    try:
        assert (team.leads, team.any(True), team.share({"a": 1})) == (True, True, {"a": 1})
        assert torch.equal(team.gather(rows_of(0)), rows_of(0))
        with pytest.raises(RuntimeError, match="mat1 and mat2"), team.guarded():  # a mistake stays what it is
            torch.ones(2, 3) @ torch.ones(2, 3)
    finally:
        team.leave()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"WORLD_SIZE": None, "MASTER_PORT": None}, "RANK is set, and WORLD_SIZE, MASTER_PORT is not"),
        ({"RANK": "one"}, "RANK is 'one'"),
        ({"RANK": "2"}, "RANK is 2, and WORLD_SIZE is 2"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK is 2, and LOCAL_WORLD_SIZE is 2"),
    ],
)
def test_variables_that_torchrun_would_not_set_are_refused(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], match: str
) -> None:
    right: dict[str, str | None] = dict(zip(VARIABLES, ("0", "2", "0", "2", "127.0.0.1", "29500"), strict=True))
    for name, value in (right | changed).items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=match):
        join_team("cpu")


@pytest.mark.parametrize("kind", ["auto", "cuda"])
def test_more_processes_than_cuda_devices_are_refused(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    for name, value in zip(VARIABLES, ("0", "2", "0", "2", "127.0.0.1", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UsageError, match="2 processes here, and there are only 1 CUDA devices") as caught:
        join_team(kind)
    assert "--nproc-per-node 1" in str(caught.value)


def main() -> None:
    """What a process of the session does."""
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(work(join_team("cpu"))))


if __name__ == "__main__":
    main()
