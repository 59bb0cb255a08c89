"""Features by any runtime are torch's; which one computes them is chosen by measure, and by fakes of it here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import eyebright.runtimes.trial as trial
from eyebright.data.batches import PixelSet
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.errors import MissingDependencyError, UsageError
from eyebright.models.catalog import create_network, network_facts
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent
from eyebright.runtimes.graph import graph_file, kept_graph
from eyebright.runtimes.race import race
from eyebright.runtimes.runners import Features, Pixels, Run, onnx_runner, openvino_is_here
from eyebright.runtimes.trial import Chosen, Tried, choose_runtime, compare, decide, relative_difference
from eyebright.training.probe import extract_features

CPU = torch.device("cpu")
FACTS = network_facts("tf_efficientnet_lite0")
PREPROCESS = Preprocess(size=64, resize="squash", mean=FACTS.mean, std=FACTS.std)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return create_network("tf_efficientnet_lite0", classes=2, pretrained=True).eval()


@pytest.fixture(scope="module")
def pixels(flowers_sample: Path) -> Pixels:
    places = Manifest.scan(open_source(flowers_sample)).ok["source"].to_pylist()[:24]
    return np.stack([PREPROCESS.pixels(flowers_sample / place) for place in places])


@pytest.fixture(scope="module")
def graph(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that is there already."""
    path = graph_file(network, PREPROCESS, name="tf_efficientnet_lite0", cache=tmp_path_factory.mktemp("cache"))
    kept_graph(network, PREPROCESS, path)
    return path


@pytest.fixture(scope="module")
def reference(network: nn.Module, pixels: Pixels) -> Features:
    images = torch.from_numpy(PREPROCESS.normalise(pixels))
    with torch.inference_mode():
        features: Features = network.forward_head(network.forward_features(images), pre_logits=True).numpy()  # type: ignore[operator]
    return features


def choose(network: nn.Module, pixels: Pixels, graph: Path, wanted: str = "auto", images: int = 10**6) -> Chosen:
    return choose_runtime(
        network, PREPROCESS, device=CPU, samples=[pixels[:8], pixels[8:16]], images=images, graph=lambda: graph,
        wanted=wanted,
    )  # fmt: skip


class Clock:
    """Runners that take as many seconds an image as they are told, by a clock that only they move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def runner(self, seconds: float, *, error: float = 0.0) -> Run:
        def run(batch: Pixels) -> Features:
            self.now += seconds * len(batch)
            features = batch.reshape(len(batch), -1)[:, :4].astype(np.float32) + 1
            return features * np.float32(1 + error)

        return run


@pytest.mark.parametrize("wanted", ["torch", "onnx", "openvino"])
def test_every_runtime_gives_the_features_of_torch(
    wanted: str, network: nn.Module, pixels: Pixels, graph: Path, reference: Features
) -> None:
    if wanted == "openvino":
        pytest.importorskip("openvino")
    chosen = choose(network, pixels, graph, wanted)
    assert chosen.runtime == wanted
    assert "as asked" in chosen.sentence
    found = np.concatenate([chosen.run(pixels[:16]), chosen.run(pixels[16:19]), chosen.run(pixels[19:])])
    assert found.dtype == np.float32
    assert relative_difference(found, reference) < 1e-4


def test_a_trial_names_the_speeds_and_takes_the_fastest(
    network: nn.Module, pixels: Pixels, graph: Path, reference: Features
) -> None:
    chosen = choose(network, pixels, graph)
    assert set(chosen.tried) == {"torch", "onnx"} | ({"openvino"} if openvino_is_here() else set())
    assert chosen.tried[chosen.runtime].speed == max(tried.speed for tried in chosen.tried.values())
    assert all(tried.difference < 1e-4 for tried in chosen.tried.values())
    assert "images a second" in chosen.sentence
    assert chosen.record()["tried"]["onnx"]["speed"] == chosen.tried["onnx"].speed
    assert relative_difference(chosen.run(pixels), reference) < 1e-4


def test_a_small_set_is_left_to_torch_without_an_export(network: nn.Module, pixels: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    chosen = choose(network, pixels, path, images=20)
    assert (chosen.runtime, dict(chosen.tried)) == ("torch", {})
    assert "20 images are too few" in chosen.sentence
    assert not path.exists()


def test_an_export_is_weighed_where_no_graph_is_kept(
    network: nn.Module, pixels: Pixels, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 images take torch 10 s: enough for a trial, too little for an export besides."""
    monkeypatch.setattr(trial, "_speed", lambda run, batch: 100.0)
    monkeypatch.setattr(trial, "compare", lambda runners, samples, seconds: dict.fromkeys(runners, FASTEST))
    assert "export" in choose(network, pixels, tmp_path / "graph.onnx", images=1000).sentence
    assert not (tmp_path / "graph.onnx").exists()
    assert set(choose(network, pixels, graph, images=1000).tried) >= {"torch", "onnx"}


FASTEST = Tried(speed=1.0, difference=0.0)


def test_a_network_that_cannot_be_exported_stays_with_torch(pixels: Pixels, tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward_features(self, images: torch.Tensor) -> torch.Tensor:
            mean = images.mean((2, 3))
            return self.layer(mean) if float(mean.sum()) < 1e9 else mean  # decides by a value: no graph can

        def forward_head(self, maps: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
            return maps

    chosen = choose(Stubborn().eval(), pixels, tmp_path / "graph.onnx", images=10**9)
    assert chosen.runtime == "torch"
    assert "Stubborn cannot be exported" in chosen.sentence


def test_on_another_device_torch_computes_and_nothing_else_may_be_asked(network: nn.Module, pixels: Pixels) -> None:
    def choose_there(wanted: str) -> Chosen:
        return choose_runtime(
            nn.Identity(), PREPROCESS, device=torch.device("meta"), samples=[pixels], images=10**6,
            graph=Path, wanted=wanted,
        )  # fmt: skip

    assert choose_there("auto").runtime == "torch"
    with pytest.raises(UsageError, match="computes on the CPU"):
        choose_there("onnx")


def test_openvino_that_is_not_installed_is_named_with_its_extra(
    network: nn.Module, pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyebright.runtimes.runners.openvino_is_here", lambda: False)
    with pytest.raises(MissingDependencyError, match=r"eyebright\[openvino\]"):
        choose(network, pixels, tmp_path / "graph.onnx", "openvino")
    assert not (tmp_path / "graph.onnx").exists()


def test_a_forced_runtime_with_other_features_is_refused(
    network: nn.Module, pixels: Pixels, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(content: bytes, *, threads: int) -> Run:
        run = onnx_runner(content, threads=threads)
        return lambda batch: run(batch) * np.float32(1.01)

    monkeypatch.setattr(trial, "onnx_runner", spoilt)
    with pytest.raises(UsageError, match="other features"):
        choose(network, pixels, graph, "onnx")


@pytest.mark.parametrize(
    ("seconds", "errors", "expected"),
    [
        ((0.02, 0.01, 0.005), (0.0, 1e-6, 1e-6), "openvino"),
        ((0.02, 0.01, 0.005), (0.0, 1e-6, 1e-2), "onnx"),
        ((0.02, 0.01, 0.005), (0.0, np.nan, 1e-2), "torch"),
        ((0.001, 0.01, 0.005), (0.0, 0.0, 0.0), "torch"),
    ],
)
def test_the_fastest_that_agrees_is_taken(
    seconds: tuple[float, ...], errors: tuple[float, ...], expected: str, pixels: Pixels
) -> None:
    clock = Clock()
    names = ("torch", "onnx", "openvino")
    runners = {name: clock.runner(one, error=error) for name, one, error in zip(names, seconds, errors, strict=True)}
    tried = compare(runners, [pixels[:8], pixels[8:16], pixels[16:19]], seconds=0.0, clock=clock)
    assert [tried[name].speed for name in names] == pytest.approx([1 / one for one in seconds])
    chosen = decide(runners, tried)
    assert chosen.runtime == expected
    assert ("not taken" in chosen.sentence) == any(not one.agrees for one in tried.values())


def test_a_race_takes_turns_and_ends_in_time() -> None:
    clock, order = Clock(), list[str]()

    def way(name: str, seconds: Callable[[int], float]) -> Callable[[int], None]:
        def work(number: int) -> None:
            order.append(name)
            clock.now += seconds(number)

        return work

    # A pause of the machine in one round moves no median.
    found = race({"a": way("a", lambda n: 100.0 if n == 1 else 1.0), "b": way("b", lambda n: 2.0)}, 1.0, clock=clock)
    assert found == {"a": 1.0, "b": 2.0}
    assert order == ["a", "b", "b", "a", "a", "b"]
    order.clear()
    race({"a": way("a", lambda n: 1.0)}, 1e9, clock=clock)
    assert len(order) == 9


def test_a_kept_graph_belongs_to_weights_size_and_normalisation(network: nn.Module, graph: Path) -> None:
    cache = graph.parents[2]
    other = create_network("tf_efficientnet_lite0", classes=2, pretrained=False).eval()
    larger = Preprocess(size=96, resize="squash", mean=FACTS.mean, std=FACTS.std)
    name = "tf_efficientnet_lite0"
    assert graph_file(network, PREPROCESS, name=name, cache=cache) == graph
    assert graph_file(other, PREPROCESS, name=name, cache=cache) != graph
    assert graph_file(network, larger, name=name, cache=cache) != graph


def test_the_probe_s_features_do_not_depend_on_the_runtime(
    network: nn.Module, pixels: Pixels, graph: Path, reference: Features
) -> None:
    images = PixelSet(
        pixels, np.arange(len(pixels)), np.zeros(len(pixels), dtype=np.int64), preprocess=PREPROCESS, device=CPU
    )
    by_torch = extract_features(network, images, progress=Silent(), description="features", batch_size=10)
    run = choose(network, pixels, graph, "onnx").run
    by_onnx = extract_features(network, images, progress=Silent(), description="features", run=run, batch_size=10)
    assert relative_difference(by_torch, reference) < 1e-4
    assert relative_difference(by_onnx, reference) < 1e-4
