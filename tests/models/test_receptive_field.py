"""The receptive field against an independent judge: which pixels the gradient of one position reaches.

All weights are positive and maximum pooling is replaced by average pooling over the same windows, so that no path from
a pixel to the position cancels or is cut. One axis at a time is long, the other short: what a field of 2,000 pixels
reaches is then found in a strip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

from eyebright.models.catalog import create_network, network_facts, own_networks
from eyebright.models.receptive_field import ReceptiveField, receptive_field

Features = Callable[[torch.Tensor], torch.Tensor]


class AveragePools(TorchFunctionMode):
    """Every maximum pooling becomes the average over the same windows."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.max_pool2d or getattr(function, "__name__", "") in ("max_pool2d", "boolean_dispatch", "fn"):
            names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            return F.avg_pool2d(
                given["input"], given["kernel_size"], given.get("stride"), given.get("padding", 0),
                given.get("ceil_mode", False),
            )  # fmt: skip
        return function(*args, **kwargs)


def positive(network: nn.Module) -> nn.Module:
    """The network in double precision with positive random weights of about its inputs' mean, and no biases."""
    network.double().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
        if parameter.dim() > 1:
            drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5
            parameter.copy_(drawn / parameter[0].numel())
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.LayerNorm | nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def reached(features: Features, axis: int, long: int, short: int, channels: int = 3) -> tuple[int, int, int]:
    """First and last row (axis 0) or column (1) that the centre of the last map depends on; and its index."""
    shape = (long, short) if axis == 0 else (short, long)
    image = torch.rand(1, channels, *shape, dtype=torch.float64, requires_grad=True)
    with AveragePools():
        maps = features(image)
    centre = maps.shape[2 + axis] // 2
    maps.mean(1).select(1 + axis, centre).sum().backward()
    assert image.grad is not None
    touched = image.grad.abs().sum(dim=(0, 1, 3 - axis)).nonzero().flatten()
    return int(touched.min()), int(touched.max()), centre


def check(field: ReceptiveField, features: Features, *, short: int = 32, channels: int = 3) -> None:
    """The computed field is exactly what the gradient reaches, in size and in place."""
    for axis, size in enumerate((field.height, field.width)):
        jump = int(field.jump[axis])
        long = size + 4 * jump
        long += -long % jump
        first, last, centre = reached(features, axis, long, short, channels)
        assert first > 0, "the image is too small for the whole field"
        assert last < long - 1
        assert (last - first + 1, first - jump * centre) == (size, field.start[axis])


def without_gates(network: nn.Module) -> nn.Module:
    """The network without its squeeze-excitations."""
    for name, module in list(network.named_modules()):
        if type(module).__name__ in ("SqueezeExcite", "SEModule", "EcaModule", "EffectiveSEModule"):
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, nn.Identity())
    return network


PLAIN = [
    "resnet18", "resnet50", "tf_efficientnet_lite0", "densenet121", "regnetx_002", "convnext_atto", "repvgg_a0",
    "darknet17", "hrnet_w18_small", "mobilenetv4_conv_small", "gernet_s",
]  # fmt: skip
GATED = ["mobilenetv3_small_050", "regnety_002", "ghostnet_050", "rexnet_100", "eca_resnet33ts", "mnasnet_small"]


@pytest.mark.parametrize("name", PLAIN)
def test_convolutional_families(name: str) -> None:
    network = timm.create_model(name)
    field = receptive_field(network, (3, 64, 64))
    assert field is not None
    assert not field.whole_image
    check(field, positive(network).forward_features)  # type: ignore[arg-type]


def test_a_network_without_padding() -> None:
    network = timm.create_model("inception_v3")
    field = receptive_field(network, (3, 299, 299))
    assert field is not None
    check(field, positive(network).forward_features, short=107)  # type: ignore[arg-type]


def test_a_network_with_a_dense_layer_over_its_last_map() -> None:
    network = timm.create_model("vgg11")
    field = receptive_field(network, (3, 224, 224))
    assert field is not None
    assert (field.map_size, field.ended_by) == ((7, 7), "linear")
    check(field, positive(network.features))


@pytest.mark.parametrize("name", GATED)
def test_gates_are_named_and_left_out_of_the_size(name: str) -> None:
    network = timm.create_model(name)
    field = receptive_field(network, (3, 64, 64))
    assert field is not None
    assert field.whole_image
    assert field.through == ("squeeze-excitation",)
    first, last, _ = reached(positive(network).forward_features, 0, 96, 32)  # type: ignore[arg-type]
    assert (first, last) == (0, 95)  # with its gates, a position does depend on the whole image
    check(field, without_gates(network).forward_features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "patch"),
    [("vit_tiny_patch16_224", 16), ("deit3_small_patch16_224", 16), ("swin_tiny_patch4_window7_224", 32)],
)
def test_attention_sees_the_whole_image(name: str, patch: int) -> None:
    field = receptive_field(timm.create_model(name), (3, 224, 224))
    assert field is not None
    assert (field.through, field.height, field.width) == (("attention",), patch, patch)
    assert field.map_size == (224 // patch, 224 // patch)


@pytest.mark.parametrize(
    ("name", "through"),
    [
        ("mobilevit_xxs", "attention"), ("xcit_nano_12_p16_224", "attention"), ("maxvit_rmlp_pico_rw_256", "attention"),
        ("mixer_s32_224", "linear over positions"), ("convnextv2_atto", "response norm"),
        ("poolformer_s12", "group norm"), ("resnet50_gn", "group norm"), ("gcresnet33ts", "attention"),
    ],
)  # fmt: skip
def test_other_ways_to_see_the_whole_image(name: str, through: str) -> None:
    network = timm.create_model(name)
    field = receptive_field(network, network.default_cfg["input_size"])
    assert field is not None
    assert through in field.through


OWN = [name for name in own_networks() if not name.endswith("_ann")]


@pytest.mark.parametrize("name", OWN)
def test_our_own_networks(name: str) -> None:
    facts = network_facts(name)
    size = (facts.channels, facts.input_size, facts.input_size)
    network = create_network(name, classes=10, channels=facts.channels, pretrained=False)
    field = receptive_field(network, size)
    assert field is not None
    assert not field.whole_image
    network.image_size = None  # type: ignore[assignment]  # the maps can be made of any size
    features = positive(network).to(memory_format=torch.contiguous_format).forward_features
    check(field, features, channels=facts.channels)  # type: ignore[arg-type]


def test_the_published_network_for_cifar_sees_what_its_source_asks_for() -> None:
    """By hand: three 3x3 (7); 1x1, 3x3 (9); at step 2 four 3x3 (25); at step 4 one plain and one dilated by 2 and one
    3x3 more, with that of the transition before (25 + 8 + 8 + 16 + 8); at step 8 one more 3x3 (81).
    """
    field = receptive_field(create_network("cifar10net_v2", classes=10, pretrained=False), (3, 32, 32))
    assert field is not None
    assert (field.height, field.jump, field.map_size) == (81, (8, 8), (4, 4))
    assert field.ended_by == "average pooling"


@pytest.mark.parametrize("name", ["fashion_ann", "cifar100_ann"])
def test_dense_networks_see_the_whole_image_at_once(name: str) -> None:
    facts = network_facts(name)
    network = create_network(name, classes=10, channels=facts.channels, pretrained=False)
    field = receptive_field(network, (facts.channels, facts.input_size, facts.input_size))
    assert field is not None
    assert (field.height, field.width, field.whole_image) == (facts.input_size, facts.input_size, True)


class Branches(nn.Module):
    """Several ways side by side, added or concatenated."""

    def __init__(self, ways: list[nn.Module], concatenated: bool, channels: int) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)
        self.concatenated = concatenated
        self.mix = nn.Conv2d(channels * len(ways), channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        results = [way(x) for way in self.ways]
        return self.mix(torch.cat(results, 1)) if self.concatenated else torch.stack(results).sum(0)


class Functional(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Features) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def conv(kernel: tuple[int, int], stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Module:
    padding = tuple(dilation * (side - 1) // 2 for side in kernel)
    return nn.Conv2d(4, 4, kernel, stride, padding, dilation, groups, bias=False)


KERNELS = st.tuples(st.integers(1, 5), st.integers(1, 5))
CONVOLUTIONS = st.builds(
    conv, KERNELS, stride=st.integers(1, 3), dilation=st.integers(1, 3), groups=st.sampled_from([1, 4])
)
SAME = st.builds(
    conv, st.sampled_from([(1, 1), (3, 3), (1, 5), (7, 3)]), dilation=st.integers(1, 3), groups=st.sampled_from([1, 4])
)
POOLS = st.builds(
    lambda kernel, stride, padded: nn.MaxPool2d(kernel, stride, kernel // 2 if padded else 0),
    st.integers(2, 4), st.integers(1, 3), st.booleans(),
)  # fmt: skip
BRANCHES = st.builds(
    lambda ways, concatenated: Branches([nn.Sequential(*way) for way in ways], concatenated, 4),
    st.lists(st.lists(SAME, max_size=3), min_size=2, max_size=3), st.booleans(),
)  # fmt: skip
MOVES = st.one_of(
    st.builds(nn.BatchNorm2d, st.just(4)),
    st.builds(nn.ZeroPad2d, st.tuples(*[st.integers(0, 3)] * 4)),
    st.builds(nn.ReflectionPad2d, st.tuples(*[st.integers(0, 3)] * 4)),
    st.sampled_from([
        nn.ReLU(),
        Functional(lambda x: x[:, :, 1:, 2:]),
        Functional(lambda x: x[:, :, ::2, 1::2]),
        Functional(lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
        Functional(lambda x: F.avg_pool2d(x, (2, 3), stride=1)),
        Functional(lambda x: x.unflatten(2, (-1, x.shape[2])).flatten(1, 2)),
    ]),
)  # fmt: skip
STACKS = st.lists(st.one_of(CONVOLUTIONS, POOLS, BRANCHES, MOVES), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(STACKS)
def test_random_stacks(layers: list[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), *layers)
    field = receptive_field(network, (3, 256, 256))
    assert field is not None
    assert field.through == ()
    assert field.ended_by is None
    features = positive(network)
    for axis, size in enumerate((field.height, field.width)):
        jump, start = int(field.jump[axis]), field.start[axis]
        # An image whose centre position has its whole field inside; kernels that skip pixels leave holes, not edges.
        long = 2 * (size + jump + abs(start)) + 64
        first, last, centre = reached(features, axis, long, 256)
        assert (first, last) == (start + jump * centre, start + jump * centre + size - 1)


UP: dict[str, Callable[[], nn.Module]] = {
    "nearest": lambda: nn.Upsample(scale_factor=2, mode="nearest"),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear by three": lambda: nn.Upsample(scale_factor=3, mode="bilinear"),
    "bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "transposed": lambda: nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, bias=False),
    "transposed, overlapping": lambda: nn.ConvTranspose2d(8, 8, 5, stride=3, padding=1, bias=False),
    "pixel shuffle": lambda: nn.Sequential(nn.Conv2d(8, 32, 1, bias=False), nn.PixelShuffle(2)),
    "to a finer grid and back": lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2)),
    "adaptive": lambda: nn.AdaptiveAvgPool2d((48, 40)),
}


@pytest.mark.parametrize("way", UP)
@pytest.mark.parametrize("after", [1, 3], ids=["plain", "followed by 3x3"])
def test_up_sampling_and_adaptive_pooling_index_by_index(way: str, after: int) -> None:
    """The widest of all positions of a period is what the field says, and every position lies within it."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        UP[way](),
        nn.Conv2d(8, 8, after, padding=after // 2, bias=False),
    )
    field = receptive_field(network, (3, 128, 128))
    assert field is not None
    image = torch.rand(1, 3, 128, 128, dtype=torch.float64, requires_grad=True)
    maps = positive(network)(image)
    assert field.map_size == tuple(maps.shape[2:])
    for axis, size in enumerate((field.height, field.width)):
        sizes = []
        for centre in range(maps.shape[2 + axis] // 2 - 6, maps.shape[2 + axis] // 2 + 6):
            (gradient,) = torch.autograd.grad(maps.mean(1).select(1 + axis, centre).sum(), image, retain_graph=True)
            touched = (gradient.abs().sum(dim=(0, 1, 3 - axis)) > 1e-12).nonzero().flatten()
            sizes.append(int(touched.max() - touched.min()) + 1)
        assert max(sizes) == size


def test_flattening_and_pooling_over_the_whole_map_end_the_field() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, stride=2))
    heads = {
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(4 * 14 * 14, 5)),
        "average pooling": nn.Sequential(nn.AvgPool2d(14), nn.Flatten(), nn.Linear(4, 5)),
        "maximum pooling": nn.Sequential(Functional(lambda x: x.amax((2, 3))), nn.Linear(4, 5)),
    }
    for ended_by, head in heads.items():
        field = receptive_field(nn.Sequential(body, head), (3, 31, 31))
        assert field is not None
        assert (field.height, field.map_size, field.ended_by) == (5, (14, 14), ended_by)
    as_convolution = nn.Sequential(body, nn.Conv2d(4, 5, 14), nn.Flatten())
    field = receptive_field(as_convolution, (3, 31, 31))
    assert field is not None
    assert (field.height, field.ended_by) == (5, "linear")


def test_what_no_rule_knows_is_taken_to_see_the_whole_image_and_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Functional(lambda x: x.cumsum(3)), nn.Conv2d(4, 4, 3))
    field = receptive_field(network, (3, 32, 32))
    assert field is not None
    assert field.through == ("cumsum",)


def test_writing_into_part_of_a_tensor_is_not_overlooked() -> None:
    def into_zeros(x: torch.Tensor) -> torch.Tensor:
        canvas = torch.zeros_like(x)
        canvas[:, :, ::2] = x[:, :, ::2]
        return canvas

    field = receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3), Functional(into_zeros)), (3, 32, 32))
    assert field is not None
    assert field.through == ("writing into a view",)


def test_the_network_is_left_as_it_was() -> None:
    network = timm.create_model("resnet18").train()
    network.layer1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    receptive_field(network, (3, 64, 64))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert network.training
    assert not network.layer1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_result_that_ignores_the_image_has_no_field() -> None:
    assert receptive_field(Functional(lambda x: torch.ones(1, 5)), (3, 8, 8)) is None
