"""`fastnet`: whitened patches, convolutions that begin as identities, several views of an image in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from eyebright.errors import UsageError
from eyebright.export.onnx import export_onnx, has_features
from eyebright.models.catalog import create_network
from eyebright.models.fast import FastNet, UnitConv, Whitening
from eyebright.preprocess import Preprocess


def make(*, channels: int = 3, classes: int = 5, **arguments: Any) -> FastNet:
    torch.manual_seed(0)
    network = create_network(
        "fastnet", classes=classes, channels=channels, pretrained=False, arguments={"width": 8, **arguments}
    )
    assert isinstance(network, FastNet)
    return network.eval()


def correlated(count: int = 60, channels: int = 3, side: int = 20) -> torch.Tensor:
    """Images whose neighbouring pixels and channels resemble each other, as in photographs, and with a mean."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(count, channels, side, side, generator=generator)
    return F.avg_pool2d(noise + noise.mean(1, keepdim=True), 3, 1, 1) * 2 + 0.7


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_mean_zero_and_covariance_one(channels: int) -> None:
    layer, images = Whitening(channels), correlated(channels=channels)
    layer.whiten(images.split(7), smoothing=0.0)
    with torch.no_grad():
        components = layer(images)[:, : 4 * channels]
    values = components.transpose(0, 1).reshape(4 * channels, -1).double().numpy()
    np.testing.assert_allclose(values.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(values, bias=True), np.eye(4 * channels), atol=1e-3)


def test_the_other_half_of_the_outputs_is_the_negative_one() -> None:
    layer, images = Whitening(3), correlated()
    layer.whiten([images])
    with torch.no_grad():
        first, second = layer(images).chunk(2, dim=1)
    torch.testing.assert_close(first, -second, rtol=1e-4, atol=1e-4)


def test_components_come_from_the_most_to_the_least_varying_and_noise_is_not_blown_up() -> None:
    layer = Whitening(3)
    flat = torch.ones(4, 3, 9, 9) * torch.randn(4, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    layer.whiten([flat])  # a single one of the 12 components varies
    norms = layer.weight[:12].flatten(1).norm(dim=1)
    assert torch.isfinite(layer.weight).all()
    assert (norms[1:] >= norms[0]).all()
    with torch.no_grad():
        assert layer(flat).abs().max() < 10


def test_whitening_is_saved_and_never_trains() -> None:
    network = make()
    network.whitening.whiten([correlated()])
    other = make()
    other.load_state_dict(network.state_dict())
    assert torch.equal(other.whitening.weight, network.whitening.weight)
    trained = {name for name, _ in network.named_parameters()}
    assert "stem.whiten.bias" in trained
    assert "stem.whiten.weight" not in trained
    assert "stem.whiten.weight" in network.state_dict()


def test_convolutions_begin_by_passing_their_inputs_on() -> None:
    torch.manual_seed(0)
    conv, images = UnitConv(6, 10), torch.randn(2, 6, 9, 9)
    with torch.no_grad():
        found = conv.eval()(images)[:, :6]
    scale = found[0, 0, 4, 4] / images[0, 0, 4, 4]
    torch.testing.assert_close(found, images * scale, rtol=1e-4, atol=1e-5)


def test_filters_keep_norm_one_on_average_while_they_train() -> None:
    conv = UnitConv(6, 10).train()
    with torch.no_grad():
        conv.weight.mul_(3)
    conv.eval()(torch.randn(2, 6, 9, 9))
    assert conv.weight.norm().item() == pytest.approx(3 * 10**0.5, rel=1e-4)
    conv.train()(torch.randn(2, 6, 9, 9))
    assert conv.weight.norm().item() == pytest.approx(10**0.5, rel=1e-4)


def seen_by_hand(images: torch.Tensor, tta: int, mirror: bool) -> list[tuple[float, torch.Tensor]]:
    """The views and their weights, written out."""
    down, up = (np.pad(images.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect") for _ in range(2))
    up_left, down_right = torch.from_numpy(down[:, :, :-2, :-2].copy()), torch.from_numpy(up[:, :, 2:, 2:].copy())
    if tta == 0:
        return [(1.0, images)]
    if tta == 1:
        return [(0.5, images), (0.5, images.flip(3))] if mirror else [(1.0, images)]
    if mirror:
        return [(0.25, images), (0.25, images.flip(3))] + [
            (0.125, view) for one in (up_left, down_right) for view in (one, one.flip(3))
        ]
    return [(0.5, images), (0.25, up_left), (0.25, down_right)]


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("tta", [0, 1, 2])
def test_evaluation_gives_the_mean_over_the_views(tta: int, mirror: bool) -> None:
    images = correlated(4)
    network, plain = make(tta=tta, mirror=mirror), make()
    with torch.no_grad():
        expected = torch.stack([w * plain(view) for w, view in seen_by_hand(images, tta, mirror)]).sum(0)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        torch.testing.assert_close(network.classifier(features), network(images))
    if tta:
        network.train()
        assert network.forward_features(images).shape[2:] == plain.train().forward_features(images).shape[2:]


def test_whoever_listens_to_a_layer_is_left_with_the_image_as_it_is() -> None:
    images, heard = correlated(2), {}
    for tta in (0, 2):
        network = make(tta=tta)
        network.blocks[2].register_forward_hook(lambda module, given, result, tta=tta: heard.update({tta: result}))
        with torch.no_grad():
            network(images)
    assert torch.equal(heard[0], heard[2])


@pytest.mark.parametrize(("channels", "side", "tta"), [(1, 28, 2)])
def test_the_exported_graph_looks_at_the_same_views(channels: int, side: int, tta: int) -> None:
    network = make(channels=channels, tta=tta)
    network.whitening.whiten([correlated(channels=channels)])
    preprocess = Preprocess(size=side, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    assert has_features(network, preprocess)
    graph = export_onnx(network, preprocess).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    logits, features = session.run(["logits", "features"], {"pixels": pixels})
    with torch.no_grad():
        expected = network((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    assert features.shape == (3, network.num_features)


@pytest.mark.parametrize("side", [16, 24, 33, 64])
def test_any_side_and_depth(side: int) -> None:
    images = torch.randn(2, 3, side, side)
    for depth in (2, 3):
        assert make(depth=depth, tta=2)(images).shape == (2, 5)
    assert make(widths=[8, 12, 20]).num_features == 20


@pytest.mark.parametrize("wrong", [{"depth": 4}, {"tta": 3}, {"widths": [8, 8]}, {"width": 0}])
def test_arguments_that_make_no_network_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="fastnet"):
        make(**wrong)
