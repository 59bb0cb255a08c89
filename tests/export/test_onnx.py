"""The exported graph says what the network says, at any batch size, with normalisation and calibration inside."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from eyebright.decisions import Calibration
from eyebright.export.calibrated import with_calibration
from eyebright.export.onnx import PixelsToOutputs, export_onnx
from eyebright.models.catalog import create_network
from eyebright.preprocess import Preprocess

NETWORKS = {"smallnet": (1, 20), "resnet18": (3, 64), "tf_efficientnet_lite0": (3, 64)}
"""Channels and side of the input for each."""


class Exported(NamedTuple):
    network: nn.Module
    preprocess: Preprocess
    graph: onnx.ModelProto


def session_of(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def randomise(network: nn.Module) -> None:
    """Batch norms as after training: statistics of zero and one would hide an export that forgets them."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            nn.init.constant_(module.weight, 0.8)


@pytest.fixture(scope="module", params=NETWORKS)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A network of five classes with random weights, and its graph."""
    channels, side = NETWORKS[request.param]
    preprocess = Preprocess(
        size=side, resize="squash", resize_to=0, interpolation="bicubic", channels=channels,
        mean=(0.485, 0.456, 0.406)[:channels], std=(0.229, 0.224, 0.225)[:channels],
    )  # fmt: skip
    torch.manual_seed(0)
    network = create_network(request.param, classes=5, channels=channels, pretrained=False)
    randomise(network)
    network.eval()
    return Exported(network, preprocess, export_onnx(network, preprocess))


def pixels_for(preprocess: Preprocess, count: int) -> Any:
    shape = (count, preprocess.size, preprocess.size, preprocess.channels)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


def by_torch(exported: Exported, pixels: Any) -> tuple[Any, Any]:
    """Probabilities and logits of the network itself, normalised as the definition says."""
    images = torch.from_numpy(pixels).float() / 255
    images = (images - torch.tensor(exported.preprocess.mean)) / torch.tensor(exported.preprocess.std)
    with torch.inference_mode():
        logits = exported.network(images.permute(0, 3, 1, 2))
    return torch.softmax(logits, 1).numpy(), logits.numpy()


def test_the_graph_gives_what_the_network_gives(exported: Exported) -> None:
    pixels = pixels_for(exported.preprocess, 4)
    graph = with_calibration(exported.graph, Calibration(method="none"), {})
    probabilities, logits = session_of(graph).run(["probabilities", "logits"], {"pixels": pixels})
    expected_probabilities, expected_logits = by_torch(exported, pixels)
    scale = np.abs(expected_logits).max()
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5 * scale + 1e-5)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=1e-4)
    assert np.ptp(expected_logits, axis=0).max() > 1e-3 * scale  # the images do matter


@pytest.mark.parametrize("count", [1, 3, 17])
def test_the_batch_size_changes_nothing(count: int, exported: Exported) -> None:
    session = session_of(exported.graph.SerializeToString())
    pixels = pixels_for(exported.preprocess, 17)
    whole = session.run(["logits"], {"pixels": pixels})[0]
    parts = [session.run(["logits"], {"pixels": pixels[start : start + count]})[0] for start in range(0, 17, count)]
    received = np.concatenate(parts)
    assert received.shape == (17, 5)
    np.testing.assert_allclose(received, whole, atol=2e-5 * max(1.0, float(np.abs(whole).max())))


def calibrations(classes: int) -> dict[str, Calibration]:
    """One of each method, none of which is the identity."""
    generator = np.random.default_rng(4)
    lines = []
    for corners in range(2, 2 + classes):  # of different length
        heights = np.sort(generator.uniform(0.01, 1, corners))
        lines.append(tuple(zip(np.linspace(0, 1, corners).tolist(), heights.tolist(), strict=True)))
    scale, bias = generator.uniform(0.5, 2, classes), generator.normal(size=classes)
    return {
        "temperature": Calibration(temperature=2.5),
        "vector": Calibration(method="vector", scale=tuple(scale.tolist()), bias=tuple(bias.tolist())),
        "isotonic": Calibration(method="isotonic", temperature=0.4, knots=tuple(lines)),
    }


@pytest.mark.parametrize("method", ["temperature", "vector", "isotonic"])
def test_the_graph_calibrates_as_the_record_says_and_leaves_the_logits(method: str, exported: Exported) -> None:
    calibration, pixels = calibrations(5)[method], pixels_for(exported.preprocess, 3)
    before = session_of(exported.graph.SerializeToString()).run(["logits"], {"pixels": pixels})[0]
    session = session_of(with_calibration(exported.graph, calibration, {"name": "a", "classes": '["ä"]'}))
    probabilities, logits = session.run(["probabilities", "logits"], {"pixels": pixels})
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_allclose(probabilities, calibration.probabilities(logits), atol=1e-5)
    assert session.get_modelmeta().custom_metadata_map == {"name": "a", "classes": '["ä"]'}
    assert [output.name for output in session.get_outputs()] == ["probabilities", "logits", "features"]


def test_temperature_is_a_division_of_the_logits(exported: Exported) -> None:
    session = session_of(with_calibration(exported.graph, Calibration(temperature=2.5), {}))
    probabilities, logits = session.run(["probabilities", "logits"], {"pixels": pixels_for(exported.preprocess, 3)})
    scaled = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64) / 2.5)
    np.testing.assert_allclose(probabilities, scaled / scaled.sum(1, keepdims=True), atol=1e-5)


def test_calibrating_twice_keeps_the_last_and_the_original(exported: Exported) -> None:
    before = exported.graph.SerializeToString()
    last = Calibration(temperature=0.5)
    for first in calibrations(5).values():
        once = onnx.load_from_string(with_calibration(exported.graph, first, {}))
        assert with_calibration(once, last, {}) == with_calibration(exported.graph, last, {})
    assert exported.graph.SerializeToString() == before


def test_features_go_into_the_classifier(exported: Exported) -> None:
    logits, features = session_of(exported.graph.SerializeToString()).run(
        ["logits", "features"], {"pixels": pixels_for(exported.preprocess, 3)}
    )
    classifier = exported.network.get_classifier()  # type: ignore[operator]
    with torch.inference_mode():
        np.testing.assert_allclose(classifier(torch.from_numpy(features)).numpy(), logits, rtol=1e-3, atol=1e-4)


def test_a_network_that_is_no_features_and_classifier_has_no_features() -> None:
    preprocess = Preprocess(size=8, resize="squash", resize_to=0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)).eval()
    graph = export_onnx(plain, preprocess)
    assert [output.name for output in graph.graph.output] == ["logits"]
    graph_bytes = with_calibration(graph, Calibration(), {})
    probabilities = session_of(graph_bytes).run(["probabilities"], {"pixels": pixels_for(preprocess, 2)})[0]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_the_network_is_left_as_it_was(exported: Exported) -> None:
    whole = PixelsToOutputs(exported.network, exported.preprocess)
    pixels = pixels_for(exported.preprocess, 2)
    with torch.inference_mode():
        logits, _ = whole(torch.from_numpy(pixels))
    np.testing.assert_allclose(logits.numpy(), by_torch(exported, pixels)[1], rtol=1e-3, atol=1e-4)
    assert not exported.network.training
    assert not any(isinstance(value, torch._subclasses.FakeTensor) for value in exported.network.state_dict().values())


def test_the_graph_is_self_contained_and_plain(exported: Exported) -> None:
    onnx.checker.check_model(exported.graph, full_check=True)
    assert {node.domain for node in exported.graph.graph.node} <= {"", "ai.onnx"}
    assert not exported.graph.functions
    assert not [entry.name for entry in exported.graph.graph.initializer if entry.external_data]
