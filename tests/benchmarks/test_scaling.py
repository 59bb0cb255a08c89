"""The arithmetic behind the table of predicted time and cost: figures worked out by hand, and its limits."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import scale_cost
from scaling import HOUR_SECONDS, Machines, Work, all_reduce_seconds, predict, step_of

# 1,000,000 images, 10 epochs, from a pack, on 4 devices that nothing holds up.
WORK = Work(
    name="work", images=1_000_000, passes=10, batch=100, gradient_bytes=100e6, stored_bytes=50e3, packed_bytes=150e3,
    pack=True,
)  # fmt: skip
MACHINES = Machines(
    devices=4, device_rate=1000.0, cores=20, decode_rate=100.0, network_bytes=100e9, overlap=0.5, storage_bytes=100e9,
    price=2.0,
)  # fmt: skip


def test_nothing_in_the_way_the_devices_decide() -> None:
    told = predict(WORK, MACHINES)
    assert (told.first_limit, told.limit) == ("compute", "compute")
    assert told.seconds == pytest.approx(10 * 1_000_000 / 4000)
    assert told.cost == pytest.approx(2500 / HOUR_SECONDS * 4 * 2.0)
    assert told.rate == pytest.approx(4000)
    assert told.efficiency == pytest.approx(1)
    assert told.pack_bytes == 150e9
    assert told.storage_bytes == pytest.approx(4000 * 150e3)
    assert told.cores == pytest.approx(10)


def test_too_few_cores_decide_the_first_pass_and_the_pack_frees_the_others() -> None:
    few = dataclasses.replace(MACHINES, cores=2)
    told = predict(WORK, few)
    assert (told.first_limit, told.limit) == ("decode", "compute")
    assert told.seconds == pytest.approx(1_000_000 / (4 * 200) + 9 * 1_000_000 / 4000)
    streamed = predict(dataclasses.replace(WORK, pack=False), few)
    assert (streamed.limit, streamed.pack_bytes) == ("decode", 0)
    assert streamed.seconds == pytest.approx(10 * 1_000_000 / (4 * 200))
    assert streamed.efficiency == pytest.approx(0.2)


def test_a_slow_network_decides_once_the_backward_pass_hides_no_more_of_it() -> None:
    # A step computes 0.1 s, of which 0.05 s can hide the exchange of 2 * 3/4 * 100 MB = 150 MB.
    hidden = dataclasses.replace(MACHINES, network_bytes=150e6 / 0.05)
    assert step_of(WORK, hidden, packed=True).exposed == pytest.approx(0, abs=1e-12)
    slow = dataclasses.replace(MACHINES, network_bytes=150e6 / 0.15)
    step = step_of(WORK, slow, packed=True)
    assert (step.exchange, step.exposed, step.seconds) == pytest.approx((0.15, 0.1, 0.2))
    assert step.limit == "network"
    assert predict(WORK, slow).efficiency == pytest.approx(0.5)
    # One device exchanges nothing, and neither does a prediction.
    assert predict(WORK, dataclasses.replace(slow, devices=1)).limit == "compute"
    assert predict(dataclasses.replace(WORK, gradient_bytes=0), slow).efficiency == pytest.approx(1)


def test_a_slow_storage_decides_and_its_need_is_told() -> None:
    slow = dataclasses.replace(MACHINES, storage_bytes=300e6)
    told = predict(WORK, slow)
    assert (told.first_limit, told.limit) == ("storage", "storage")
    assert told.rate == pytest.approx(300e6 / 150e3)
    # The first pass reads 50 kB an image and writes 150 kB to the pack.
    assert told.seconds == pytest.approx(1_000_000 * 200e3 / 300e6 + 9 * 1_000_000 * 150e3 / 300e6)
    streamed = predict(dataclasses.replace(WORK, pack=False), slow)
    assert (streamed.limit, streamed.rate) == ("compute", pytest.approx(4000))
    enough = dataclasses.replace(MACHINES, storage_bytes=told.storage_bytes * 1.001)
    assert predict(WORK, enough).limit == "compute"


def test_a_prediction_is_one_pass_that_decodes() -> None:
    told = predict(dataclasses.replace(WORK, passes=1, pack=False, gradient_bytes=0), MACHINES)
    assert told.seconds == pytest.approx(250)
    assert told.storage_bytes == pytest.approx(4000 * 50e3)


@given(st.integers(1, 512), st.floats(1e3, 1e9), st.floats(1e6, 1e12))
def test_more_devices_never_take_longer_over_the_ring_than_twice_the_gradients(
    devices: int, gradient: float, network: float
) -> None:
    seconds = all_reduce_seconds(gradient, devices, network)
    assert seconds <= all_reduce_seconds(gradient, devices + 1, network) <= 2 * gradient / network


@given(
    st.integers(1, 512), st.floats(1, 1e5), st.floats(0.5, 256), st.floats(1, 1e4), st.floats(1e6, 1e12),
    st.floats(0, 1), st.floats(1e6, 1e13), st.booleans(),
)  # fmt: skip
def test_no_prediction_is_faster_than_its_slowest_part(
    devices: int, rate: float, cores: float, decode: float, network: float, overlap: float, storage: float, pack: bool
) -> None:
    machines = Machines(
        devices=devices, device_rate=rate, cores=cores, decode_rate=decode, network_bytes=network, overlap=overlap,
        storage_bytes=storage, price=1.0,
    )  # fmt: skip
    work = dataclasses.replace(WORK, pack=pack)
    told = predict(work, machines)
    least = work.images * work.passes / (devices * rate)
    assert told.seconds >= least * (1 - 1e-9)
    assert told.efficiency <= 1 + 1e-9
    if not pack:
        assert told.seconds >= work.images * work.passes / (devices * cores * decode) * (1 - 1e-9)
    assert told.cost == pytest.approx(told.seconds / 3600 * devices)


def test_rates_of_a_gpu_come_from_what_make_bench_gpu_saved(tmp_path: Path) -> None:
    lines = [
        {"row": "resnet50", "program": scale_cost.OURS, "unit": "images/s", "median": 2500.0},
        {"row": "resnet50", "program": "the limit", "unit": "images/s", "median": 2600.0},
        {"row": "fast-94", "program": scale_cost.OURS, "unit": "s", "median": 1.5},
    ]
    path = tmp_path / "bench-gpu-20260101-000000.json"
    path.write_text(json.dumps({"machine": "one GPU", "lines": lines}), encoding="utf-8")
    assert scale_cost.gpu_rates(path) == {"resnet50": scale_cost.Rate(2500.0, f"{path.name}: one GPU")}


def test_the_table_says_of_each_rate_where_it_comes_from_and_leaves_out_what_was_not_measured() -> None:
    given = scale_cost.options([])
    rates = {
        "decode": scale_cost.Rate(100.0, "here"),
        "lite0": scale_cost.Rate(1000.0, "elsewhere"),
        "lite0 predict, core": scale_cost.Rate(30.0, "here"),
    }
    text = "\n".join(scale_cost.table(rates, given))
    assert "lite0" in text
    assert "elsewhere" in text
    assert "100.0 million" in text
    assert "no rate: resnet50" in text
    for devices in (1, 8, 64):
        assert f"| {devices} GPU" in text
