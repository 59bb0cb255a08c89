"""Our own networks: each is what its source says, and does what timm's networks do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models import group_parameters
from torch import nn

from eyebright.config import HeadConfig
from eyebright.errors import UsageError
from eyebright.export.onnx import export_onnx
from eyebright.models.blocks import activation_layer
from eyebright.models.catalog import architecture_of, count_parameters, create_network, own_networks
from eyebright.preprocess import Preprocess


def conv(inputs: int, outputs: int, side: int = 3, *, bias: bool = False, norm: bool = True) -> int:
    """Weights of a full convolution, of its bias, and of its batch norm (a scale and a shift for each channel)."""
    return side * side * inputs * outputs + (outputs if bias else 0) + (2 * outputs if norm else 0)


def separable(inputs: int, outputs: int) -> int:
    """Nine weights for each input channel, its norm, and a 1x1 convolution with its norm."""
    return 9 * inputs + 2 * inputs + inputs * outputs + 2 * outputs


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def keras(inputs: int, outputs: int, *, norm: bool = True) -> int:
    """A convolution whose batch norm comes after its ReLU, so that it has a bias."""
    return conv(inputs, outputs, bias=True, norm=norm)


def separable_stage(inputs: int, outputs: int, blocks: int) -> int:
    shortcut = conv(inputs, outputs, 1) if inputs != outputs else 0
    return separable(inputs, outputs) + (2 * blocks - 1) * separable(outputs, outputs) + shortcut


def bottlenecks(inputs: int, width: int) -> int:
    """One block of a `resnet10t`: two 3x3 convolutions and, where the width changes, a 1x1 shortcut."""
    return conv(inputs, width) + conv(width, width) + (conv(inputs, width, 1) if inputs != width else 0)


CNN224_TRUNK = keras(3, 32) + keras(32, 64) + keras(64, 128)

PARAMETERS = {
    "deep_v1": conv(3, 32) + conv(32, 64) + conv(64, 128) + conv(128, 256) + conv(256, 512) + dense(512, 10),
    "cnn224": CNN224_TRUNK + dense(128, 256) + dense(256, 10),
    "cnn224_baseline": CNN224_TRUNK - 2 * (32 + 64 + 128) + dense(128, 10),
    "cnn224_bn": CNN224_TRUNK + dense(128, 10),
    "cnn224_dropout": CNN224_TRUNK + dense(128, 10),
    "animals_cnn": keras(3, 32) + keras(32, 32) + keras(32, 64) + keras(64, 64) + keras(64, 128) + keras(128, 128)
    + dense(128, 128) + dense(128, 10),
    "cifar10net_v2": 181_942,
    "cifar10net_v3": conv(3, 32) + separable_stage(32, 32, 4) + separable_stage(32, 64, 4)
    + separable_stage(64, 128, 4) + dense(128, 10),
    "fastnet": 24 + 64 * (9 * 24 + 1) + (64 + 256) * (9 * 64 + 1) + 3 * 256 * (9 * 256 + 1) + dense(256, 10),
    "fashion_ann": dense(28 * 28, 128) + dense(128, 64) + dense(64, 10),
    "fashion_cnn": keras(1, 32, norm=False) + keras(32, 64, norm=False) + dense(64 * 5 * 5, 128) + dense(128, 10),
    "fashion_deep_cnn": keras(1, 32) + keras(32, 32, norm=False) + keras(32, 64) + keras(64, 64, norm=False)
    + dense(64 * 7 * 7, 256) + 2 * 256 + dense(256, 10),
    "cifar100_ann": dense(3 * 32 * 32, 512) + dense(512, 256) + dense(256, 100),
    "cifar100_cnn": keras(3, 32, norm=False) + keras(32, 64, norm=False) + keras(64, 128, norm=False)
    + dense(128 * 4 * 4, 256) + dense(256, 100),
    "smallnet": conv(3, 32) + bottlenecks(32, 32) + bottlenecks(32, 64) + bottlenecks(64, 128) + dense(128, 10),
    "headed": conv(3, 24) + conv(24, 32) + conv(32, 64) + bottlenecks(64, 64) + bottlenecks(64, 128)
    + bottlenecks(128, 256) + bottlenecks(256, 512) + dense(512, 8) + 2 * 8 + dense(8, 10),
}  # fmt: skip
"""With the default number of classes; worked out here from what SYSTEMS.md and the docs say of each."""

ARGUMENTS: dict[str, dict[str, Any]] = {"headed": {"backbone": "resnet10t", "hidden": [8], "batch_norm": True}}
SIDES = {"fashion_ann": 28, "fashion_cnn": 28, "fashion_deep_cnn": 28}
GREY = frozenset(SIDES)

every_network = pytest.mark.parametrize("name", sorted(PARAMETERS))


def make(name: str, **more: Any) -> Any:
    """The network with weights and batch norms as after training: zeros and ones would hide what is left out."""
    torch.manual_seed(0)
    options = {"classes": 5, "channels": 1 if name in GREY else 3, "arguments": ARGUMENTS.get(name), **more}
    network = create_network(name, pretrained=False, **options)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.1
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            nn.init.constant_(module.weight, 0.8)
    return network


def images(name: str, count: int = 4) -> torch.Tensor:
    side = SIDES.get(name, 32)
    return torch.randn(count, 1 if name in GREY else 3, side, side, generator=torch.Generator().manual_seed(2))


def test_the_contract_covers_every_network_of_ours() -> None:
    assert set(PARAMETERS) == set(own_networks())


@every_network
def test_parameters_by_arithmetic(name: str) -> None:
    network = timm.create_model(name, **ARGUMENTS.get(name, {}))
    assert count_parameters(network) == PARAMETERS[name]
    assert network.num_classes == (100 if name.startswith("cifar100") else 10)


@every_network
def test_logits_come_from_the_head_and_that_from_the_features(name: str) -> None:
    network, batch = make(name).eval(), images(name)
    with torch.inference_mode():
        maps = network.forward_features(batch)
        vectors = network.forward_head(maps, pre_logits=True)
        logits = network(batch)
        assert maps.shape[:2] == (4, network.num_features)
        assert vectors.shape == (4, network.head_hidden_size)
        assert logits.shape == (4, 5)
        assert torch.equal(network.forward_head(maps), logits)
        classifier = network.get_classifier()
        assert torch.equal(F.linear(vectors, classifier.weight, classifier.bias), logits)


@every_network
def test_an_image_alone_gives_what_it_gives_in_a_batch(name: str) -> None:
    network, batch = make(name).double().train(), images(name).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of this batch, so that small first weights let something through
    with torch.no_grad():
        network(batch)
    network.eval()
    with torch.inference_mode():
        together = network(batch)
        alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3  # the images do matter


@every_network
def test_the_classifier_is_replaced_and_nothing_else(name: str) -> None:
    network = make(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.reset_classifier(7)
    after = network.eval().state_dict()
    assert {key for key in before if before[key].shape != after[key].shape} == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("classifier."))
    with torch.inference_mode():
        assert network(images(name)).shape == (4, 7)
        network.reset_classifier(0)
        assert network(images(name)).shape == (4, network.head_hidden_size)
    assert network.num_classes == 0
    with pytest.raises(UsageError, match="global_pool='max'"):
        network.reset_classifier(7, "max")


@every_network
def test_the_first_convolution_and_the_classifier_are_where_timm_is_told(name: str) -> None:
    network = make(name)
    facts = network.pretrained_cfg
    assert network.get_submodule(facts["classifier"]) is network.get_classifier()
    convolutions = [layer for layer, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    assert facts["first_conv"] == (convolutions[0] if convolutions else None)
    if convolutions:
        assert network.get_submodule(facts["first_conv"]).in_channels == images(name).shape[1]


@every_network
@pytest.mark.parametrize("coarse", [True, False])
def test_layers_are_grouped_in_order_and_the_head_is_last(name: str, coarse: bool) -> None:
    network = make(name)
    layer_of = group_parameters(network, network.group_matcher(coarse=coarse), reverse=True)
    names = [key for key, _ in network.named_parameters()]
    assert set(layer_of) == set(names)
    last = max(layer_of.values())
    assert last >= 2
    assert {layer_of[key] for key in names if key.startswith(("neck", "hidden", "classifier"))} == {last}
    body = [layer_of[key] for key in names if not key.startswith(("neck", "hidden", "classifier"))]
    assert body == sorted(body)
    assert set(body) == set(range(last))


@every_network
def test_gradients_reach_every_parameter(name: str) -> None:
    network = make(name, dropout=0.0).train()
    F.cross_entropy(network(images(name, 8)), torch.arange(8) % 5).backward()
    unreached = [key for key, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert unreached == []


@every_network
def test_checkpointed_gradients_are_the_same_and_blocks_are_computed_twice(name: str) -> None:
    plain = make(name).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    first = (saving.backbone.layer1 if name == "headed" else saving.blocks)[0]
    calls: list[bool] = []
    first.register_forward_pre_hook(lambda *given: calls.append(True))
    for network in (plain, saving):
        torch.manual_seed(3)  # the same dropout
        network(images(name, 8)).square().mean().backward()
    assert len(calls) == 2
    for (key, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7, msg=key)
    if name != "headed":  # timm counts a batch twice there
        for (key, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
            torch.testing.assert_close(one, other, msg=key)
    saving.set_grad_checkpointing(False)
    saving(images(name, 8)).sum().backward()
    assert len(calls) == 3


EXPORTED_QUICKLY = ("cifar100_ann", "cifar10net_v2", "fashion_deep_cnn")
"""One of each kind; an export takes seconds."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in EXPORTED_QUICKLY else pytest.mark.slow) for name in sorted(PARAMETERS)],
)
def test_the_exported_graph_gives_what_the_network_gives(name: str) -> None:
    network, side = make(name).eval(), SIDES.get(name, 32)
    channels = 1 if name in GREY else 3
    preprocess = Preprocess(size=side, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    graph = export_onnx(network, preprocess).SerializeToString()
    pixels = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], {"pixels": pixels})[0]
    with torch.inference_mode():
        expected = network((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


@every_network
def test_timm_restores_weights_from_a_folder(name: str, tmp_path: Path) -> None:
    """The layout of `timm.create_model("local-dir:...")`, which is that of our bundles."""
    network = make(name).eval()
    facts = {**network.pretrained_cfg, "num_classes": 5, "input_size": images(name).shape[1:]}
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "model.safetensors")
    config = {
        "architecture": name,
        "num_classes": 5,
        "pretrained_cfg": facts,
        "model_args": {**ARGUMENTS.get(name, {}), "in_chans": images(name).shape[1]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    restored = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(restored(images(name)), network(images(name)), rtol=1e-4, atol=1e-5)


@every_network
def test_dropout_is_what_was_asked_for(name: str) -> None:
    rates = {module.p for module in make(name, dropout=0.33).modules() if isinstance(module, nn.Dropout)}
    published = {"animals_cnn": {0.1}, "fashion_deep_cnn": {0.25}, "headed": {0.5}}.get(name, set())
    assert rates - published == ({0.33} if name != "headed" else set())
    assert make(name, dropout=0.33).drop_rate == 0.33


PUBLISHED_DROPOUT = {
    "deep_v1": [0.5], "cnn224": [0.5], "cnn224_baseline": [], "cnn224_bn": [], "cnn224_dropout": [0.5],
    "animals_cnn": [0.1, 0.5], "cifar10net_v2": [0.1] * 19, "fashion_ann": [0.2, 0.2], "fashion_cnn": [0.5],
    "fashion_deep_cnn": [0.25, 0.25, 0.5],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLISHED_DROPOUT))
def test_dropout_as_published(name: str) -> None:
    network = timm.create_model(name)
    rates = [module.p for module in network.modules() if isinstance(module, nn.Dropout) and module.p > 0]
    assert rates == PUBLISHED_DROPOUT[name]


PUBLISHED_LAYERS = {
    "deep_v1": "conv32 bn relu pool conv64 bn relu pool conv128 bn relu pool conv256 bn relu pool conv512 bn relu pool "
    "gap drop dense10",
    "cnn224_baseline": "conv32 relu pool conv64 relu pool conv128 relu gap dense10",
    "cnn224": "conv32 relu bn pool conv64 relu bn pool conv128 relu bn gap dense256 relu drop dense10",
    "animals_cnn": "conv32 relu bn conv32 relu bn pool conv64 relu bn conv64 relu bn pool conv128 relu bn conv128 relu "
    "bn pool gap drop dense128 relu drop dense10",
    "cifar10net_v2": "conv16 bn relu drop " * 3 + "1x1conv32 bn relu drop conv32/2 bn relu drop "
    + "conv32 bn relu drop " * 3 + "1x1conv52 bn relu drop conv52/2 bn relu drop "
    "conv52 bn relu drop conv52d2 bn drop conv52g52 bn 1x1conv52 bn drop "
    "1x1conv52 bn relu drop conv52/2 bn relu drop "
    "conv52 bn relu drop 1x1conv52 bn relu drop 1x1conv52 bn relu drop 1x1conv52 bn relu drop gap dense10",
    "fashion_ann": "dense128 relu drop dense64 relu drop dense10",
    "fashion_cnn": "conv32 relu pool conv64 relu pool dense128 relu drop dense10",
    "fashion_deep_cnn": "conv32 relu bn conv32 relu pool drop conv64 relu bn conv64 relu pool drop dense256 relu bn "
    "drop dense10",
}  # fmt: skip


def layers_in_order(network: nn.Module, image: torch.Tensor) -> Iterator[str]:
    """What the network does to an image, layer by layer as it happens."""
    ran: list[nn.Module] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, given, result: ran.append(module))
    network(image)
    words = {nn.BatchNorm2d: "bn", nn.BatchNorm1d: "bn", nn.ReLU: "relu", nn.MaxPool2d: "pool", nn.Dropout: "drop",
             nn.AdaptiveAvgPool2d: "gap"}  # fmt: skip
    for module in ran:
        if isinstance(module, nn.Conv2d):
            side = "1x1" if module.kernel_size == (1, 1) else ""
            marks = ("/2", module.stride == (2, 2)), ("d2", module.dilation == (2, 2))
            groups = f"g{module.groups}" if module.groups > 1 else ""
            yield f"{side}conv{module.out_channels}{groups}" + "".join(mark for mark, there in marks if there)
        elif isinstance(module, nn.Linear):
            yield f"dense{module.out_features}"
        elif type(module) in words and not (isinstance(module, nn.Dropout) and module.p == 0):
            yield words[type(module)]


@pytest.mark.parametrize("name", sorted(PUBLISHED_LAYERS))
def test_layers_as_published(name: str) -> None:
    network = timm.create_model(name).eval()
    assert " ".join(layers_in_order(network, images(name, 1))) == PUBLISHED_LAYERS[name]


def test_valid_convolutions_shrink_and_others_keep_the_side() -> None:
    assert make("fashion_cnn").forward_features(images("fashion_cnn")).shape[2:] == (5, 5)
    assert make("fashion_deep_cnn").forward_features(images("fashion_deep_cnn")).shape[2:] == (7, 7)
    assert make("cifar10net_v2").forward_features(images("cifar10net_v2")).shape[2:] == (4, 4)
    assert make("cnn224").forward_features(images("cnn224")).shape[2:] == (8, 8)


def test_deep_v1_begins_as_kaiming_normal() -> None:
    torch.manual_seed(0)
    network = timm.create_model("deep_v1")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)


def receptive_field(network: nn.Module, side: int = 160) -> int:
    """Width of the window of pixels that one position in the middle of the feature maps depends on.

    With positive weights and pixels every path counts, so that the gradient is zero outside the window alone.
    """
    network = network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.abs() + 1e-3
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.weight)
    image = torch.ones(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    maps = network.forward_features(image)  # type: ignore[operator]
    middle = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].sum(), image)
    columns = gradient[0].abs().sum((0, 1)).nonzero().flatten()
    assert columns[0] > 0
    assert columns[-1] < side - 1
    return int(columns[-1] - columns[0] + 1)


@pytest.mark.parametrize(("name", "width"), [("cifar10net_v2", 81), ("cifar10net_v3", 117)])
def test_cifar10net_keeps_its_limits(name: str, width: int) -> None:
    network = timm.create_model(name)
    assert count_parameters(network) < 200_000
    assert receptive_field(network) == width > 44
    modules = list(network.modules())
    assert not any(isinstance(module, nn.MaxPool2d) for module in modules)
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    assert any(module.dilation == (2, 2) for module in convolutions)
    pairs = pairwise(convolutions)
    assert any(one.groups == one.in_channels > 1 and other.kernel_size == (1, 1) for one, other in pairs)
    assert any(isinstance(module, nn.AdaptiveAvgPool2d) for module in modules)


def multiply_adds(network: nn.Module, image: torch.Tensor) -> int:
    counts: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda module, given, result: counts.append(module.weight[0].numel() * result[0].numel())
            )
    network.eval()(image)
    return sum(counts)


def test_v3_costs_at_most_half_as_much_again_as_v2() -> None:
    one, other = (multiply_adds(timm.create_model(f"cifar10net_{version}"), images("", 1)) for version in ("v2", "v3"))
    assert one < other <= 1.5 * one


def test_v3_in_other_shapes() -> None:
    arguments = {"widths": [8, 16], "depths": [1, 2], "activation": "relu", "squeeze_excitation": True}
    network = make("cifar10net_v3", drop_path=0.3, arguments=arguments)
    rates = [module.drop_prob for module in network.modules() if type(module).__name__ == "DropPath"]
    assert rates == pytest.approx([0.15, 0.3])
    with torch.inference_mode():
        assert network.eval().forward_features(images("")).shape == (4, 16, 16, 16)
    with pytest.raises(UsageError, match="did you mean 'relu'"):
        activation_layer("relu6")


def test_a_new_residual_network_begins_as_its_shortcuts() -> None:
    """With the last norm of every block at zero, its convolutions do not matter yet."""
    network = timm.create_model("smallnet").eval()
    batch = images("smallnet")
    with torch.inference_mode():
        before = network(batch)
        for block in network.blocks:
            nn.init.normal_(block.conv1.weight)
        assert torch.equal(network(batch), before)


@pytest.mark.parametrize("name", ["fashion_ann", "fashion_cnn", "fashion_deep_cnn", "cifar100_ann", "cifar100_cnn"])
def test_dense_layers_are_made_for_a_size(name: str) -> None:
    network = make(name, channels=3, arguments={"img_size": 20}).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 20, 20)).shape == (2, 5)
        with pytest.raises(UsageError, match="made for 20x20 pixels"):
            network(torch.randn(2, 3, 32, 32))
    tall = make(name, channels=3, arguments={"img_size": [24, 16]}).eval()
    with torch.inference_mode():
        assert tall(torch.randn(2, 3, 24, 16)).shape == (2, 5)
    if name.endswith("cnn"):
        with pytest.raises(UsageError, match="img_size=3"):
            make(name, arguments={"img_size": 3})


@pytest.mark.parametrize("name", ["deep_v1", "cnn224", "animals_cnn", "cifar10net_v2", "smallnet"])
def test_networks_that_need_no_size_take_none(name: str) -> None:
    with pytest.raises(UsageError, match="img_size"):
        make(name, arguments={"img_size": 32})


HEAD = HeadConfig(hidden=(16, 8), dropout=0.4, batch_norm=True)


def test_a_head_leaves_the_pretrained_features_alone() -> None:
    bare = create_network("tf_efficientnet_lite0", classes=3, pretrained=True).eval()
    network: Any = create_network("tf_efficientnet_lite0", classes=3, pretrained=True, head=HEAD).eval()
    batch = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        maps = bare.forward_features(batch)  # type: ignore[operator]
        assert torch.equal(network.forward_features(batch), maps)
        vectors = bare.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        hidden = vectors
        for block in network.hidden:
            hidden = torch.relu(F.linear(hidden, block.linear.weight, block.linear.bias))
            hidden = hidden / (1 + block.bn.eps) ** 0.5  # a fresh batch norm
        torch.testing.assert_close(network.forward_head(maps, pre_logits=True), hidden)
    assert [type(part).__name__ for part in network.hidden[0]] == ["Linear", "ReLU", "BatchNorm1d", "Dropout"]
    assert network.hidden[1].dropout.p == 0.4


def test_a_head_on_grey_images_has_the_pretrained_features_too() -> None:
    bare = create_network("tf_efficientnet_lite0", classes=3, channels=1, pretrained=True)
    network: Any = create_network("tf_efficientnet_lite0", classes=3, channels=1, pretrained=True, head=HEAD)
    expected = {key: value for key, value in bare.state_dict().items() if not key.startswith("classifier.")}
    assert all(torch.equal(value, network.backbone.state_dict()[key]) for key, value in expected.items())


BACKBONES = {
    "resnet10t": ({}, 32),
    "convnext_atto": ({}, 32),
    "vit_tiny_patch16_224": ({"img_size": 32}, 32),
    "inception_v3": ({}, 80),  # timm groups its layers by a function
    "fashion_cnn": ({}, 28),
}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_head_goes_on_any_network(backbone: str) -> None:
    arguments, side = BACKBONES[backbone]
    network: Any = create_network(backbone, classes=3, pretrained=False, head=HEAD, arguments=arguments)
    with torch.inference_mode():
        assert network.eval()(torch.randn(2, 3, side, side)).shape == (2, 3)
    assert network.head_hidden_size == 8
    bare = timm.create_model(backbone, in_chans=3, **arguments)
    for coarse in (True, False):
        expected = group_parameters(bare, bare.group_matcher(coarse=coarse), reverse=True)
        received = group_parameters(network, network.group_matcher(coarse=coarse), reverse=True)
        assert set(received) == {key for key, _ in network.named_parameters()}
        for key, layer in received.items():
            head = not key.startswith("backbone.")
            assert layer == (max(expected.values()) if head else expected[key.removeprefix("backbone.")])


def test_what_a_bundle_records_restores_the_network_with_its_head() -> None:
    options = {"arguments": {"img_size": 32}, "head": HEAD}
    network = create_network("vit_tiny_patch16_224", classes=3, pretrained=False, drop_path=0.1, **options).eval()  # type: ignore[arg-type]
    name, arguments = json.loads(json.dumps(architecture_of("vit_tiny_patch16_224", **options)))  # type: ignore[arg-type]
    restored = create_network(name, classes=3, pretrained=False, arguments=arguments).eval()
    restored.load_state_dict(network.state_dict())
    batch = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(restored(batch), network(batch))


def test_a_backbone_is_a_network_that_timm_knows() -> None:
    for backbone in ("resnet_18", "headed", "local-dir:/tmp", "hf-hub:timm/resnet18"):
        with pytest.raises(UsageError, match=f"unknown (backbone|network) '{backbone}'"):
            create_network("headed", classes=3, pretrained=False, arguments={"backbone": backbone})
        with pytest.raises(UsageError, match=f"unknown backbone '{backbone}'"):
            timm.create_model("headed", backbone=backbone)
    with pytest.raises(UsageError, match="hidden"):
        timm.create_model("headed", backbone="resnet10t", hidden=())
