"""Requirements and the kinds of layers that they speak of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from eyebright.config.learning import RequirementsConfig
from eyebright.errors import RequirementsError, UsageError
from eyebright.models.catalog import create_network
from eyebright.models.kind_names import KINDS
from eyebright.models.layer_kinds import survey
from eyebright.models.requirements import check_requirements, require

CIFAR = RequirementsConfig(
    max_parameters=200_000,
    min_receptive_field=45,
    forbid=("max-pool",),
    require=("depthwise-separable", "dilated", "gap"),
)


@pytest.mark.parametrize("name", ["cifar10net_v2", "cifar10net_v3"])
def test_our_networks_for_cifar_satisfy_what_they_were_made_for(name: str) -> None:
    network = create_network(name, classes=10, pretrained=False)
    findings = check_requirements(network, name, CIFAR, (3, 32, 32))
    assert [finding.met for finding in findings] == [True] * 6
    require(network, name, CIFAR, (3, 32, 32))


def test_every_failing_requirement_is_named_with_its_figure_and_a_way_out() -> None:
    network = create_network("resnet18", classes=10, pretrained=False)
    with pytest.raises(RequirementsError) as caught:
        require(network, "resnet18", CIFAR, (3, 32, 32))
    assert caught.value.problem == (
        "resnet18 does not satisfy 4 of 6 requirements: at most 200,000 parameters (found 11,181,642); "
        "no max-pool (found 1); at least one depthwise-separable (found none); at least one dilated (found none)"
    )
    assert "raise max_parameters" in str(caught.value.remedy)
    assert "take it out of forbid" in str(caught.value.remedy)


def test_a_receptive_field_of_just_the_size_is_enough() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 9), nn.Conv2d(4, 4, 9), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for asked, met in ((17, True), (18, False)):
        (finding,) = check_requirements(network, "it", RequirementsConfig(min_receptive_field=asked), (3, 32, 32))
        assert (finding.met, finding.found) == (met, "17 px")


@pytest.mark.parametrize(
    ("name", "met"), [("vit_tiny_patch16_224", True), ("fashion_ann", True), ("mobilenetv3_small_050", False)]
)
def test_who_gathers_the_whole_image_sees_enough_and_who_is_scaled_by_it_does_not(name: str, met: bool) -> None:
    size = (1, 28, 28) if name == "fashion_ann" else (3, 224, 224)
    network = create_network(name, classes=10, channels=size[0], pretrained=False)
    (finding,) = check_requirements(network, name, RequirementsConfig(min_receptive_field=2000), size)
    assert finding.met is met
    assert "whole image" in finding.found


def test_no_requirements_are_satisfied_without_running_anything() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("it was run")

    assert check_requirements(Broken(), "broken", RequirementsConfig(), (3, 8, 8)) == []
    require(Broken(), "broken", RequirementsConfig(max_parameters=1), (3, 8, 8))


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown kind of layer 'maxpool' \(did you mean 'max-pool'\?\)"):
        check_requirements(nn.Flatten(), "it", RequirementsConfig(forbid=("maxpool",)), (3, 8, 8))


def test_a_contradiction_is_refused() -> None:
    with pytest.raises(UsageError, match="gap is both forbidden and required"):
        check_requirements(nn.Flatten(), "it", RequirementsConfig(forbid=("gap",), require=("gap",)), (3, 8, 8))


def test_images_that_the_network_cannot_take() -> None:
    network = create_network("deep_v1", classes=10, pretrained=False)
    with pytest.raises(UsageError, match="deep_v1 cannot take images of 3x16x16"):
        check_requirements(network, "deep_v1", RequirementsConfig(forbid=("gap",)), (3, 16, 16))


class Call(nn.Module):
    """A function, with layers that it may use, as a network."""

    def __init__(self, function: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.layers)


def conv(inputs: int = 3, outputs: int = 3, side: int = 3, **options: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, **{"bias": False, **options})  # type: ignore[arg-type]


def kinds(network: nn.Module) -> dict[str, int]:
    return survey(network, (3, 16, 16)).kinds


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (conv(), {"conv": 1}),
        (conv(bias=True), {"conv": 1, "bias-conv": 1}),
        (conv(stride=2), {"conv": 1, "strided-conv": 1}),
        (conv(dilation=(1, 2)), {"conv": 1, "dilated": 1}),
        (conv(side=1, dilation=2), {"conv": 1, "pointwise": 1}),
        (conv(groups=3), {"conv": 1, "depthwise": 1}),
        (nn.Sequential(conv(outputs=6), conv(6, 6, groups=2)), {"conv": 2, "grouped": 1}),
        (nn.ConvTranspose2d(3, 3, 2, stride=2, bias=False), {"conv": 1, "transposed-conv": 1}),
        (nn.MaxPool2d(2), {"max-pool": 1}),
        (Call(lambda x: F.max_pool2d(x, 3, 1)), {"max-pool": 1}),
        (Call(lambda x: F.avg_pool2d(x, 2)), {"avg-pool": 1}),
        (nn.AdaptiveAvgPool2d(4), {"avg-pool": 1}),
        (nn.Upsample(scale_factor=2), {"upsample": 1}),
        (nn.BatchNorm2d(3), {"batch-norm": 1}),
        (nn.GroupNorm(1, 3), {"group-norm": 1}),
        (nn.InstanceNorm2d(3), {"instance-norm": 1}),
        (Call(lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (3,))), {"layer-norm": 1}),
        (nn.Sequential(nn.Dropout2d(0.1), nn.Dropout(0.0)), {"dropout": 1}),
        (Call(lambda x: F.dropout(x, 0.2, False)), {"dropout": 1}),
        (Call(lambda x: F.dropout(x, 0.0, False)), {}),
        (Call(lambda x: x.mean((2, 3))), {"gap": 1}),
        (Call(lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)), {"gap": 1}),
        (Call(lambda x: x.amax((2, 3))), {"global-max-pool": 1}),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), {"flatten": 1, "linear": 1}),
        (Call(lambda x, one: x + one(x), conv(padding=1)), {"conv": 1, "residual": 1}),
        (Call(lambda x, one, two: one(x) + two(x), conv(), conv()), {"conv": 2}),
        (Call(lambda x: x + x * 0.5), {}),
        (nn.Sequential(conv(groups=3), nn.ReLU(), conv(side=1)),
         {"conv": 2, "depthwise": 1, "pointwise": 1, "depthwise-separable": 1}),
        (nn.Sequential(conv(groups=3), nn.MaxPool2d(2), conv(side=1)),
         {"conv": 2, "depthwise": 1, "pointwise": 1, "max-pool": 1}),
        (nn.Sequential(conv(side=1), conv(groups=3)), {"conv": 2, "depthwise": 1, "pointwise": 1}),
        (Call(lambda x, one: x * one(x.mean((2, 3), keepdim=True)).sigmoid(), conv(side=1)),
         {"conv": 1, "pointwise": 1, "squeeze-excitation": 1}),
        (Call(lambda x: F.scaled_dot_product_attention(*[x.flatten(2).transpose(1, 2)] * 3)), {"attention": 1}),
        (Call(lambda x: (x.flatten(2).transpose(1, 2) @ x.flatten(2)).softmax(2) @ x.flatten(2).transpose(1, 2)),
         {"attention": 1}),
    ],
)  # fmt: skip
def test_kinds_of_layers_as_modules_and_as_functions(network: nn.Module, expected: dict[str, int]) -> None:
    assert kinds(network) == dict(sorted(expected.items()))
    assert kinds(network.train()) == dict(sorted(expected.items()))
    assert network.training


def test_a_layer_that_is_never_called_does_not_count() -> None:
    assert kinds(Call(lambda x, one, two: two(x), nn.MaxPool2d(2), conv())) == {"conv": 1}


@pytest.mark.parametrize(
    ("name", "some", "none"),
    [
        ("mobilenetv3_small_050", {"depthwise-separable": 11, "squeeze-excitation": 9}, {"max-pool", "dilated"}),
        ("densenet121", {"max-pool": 1, "avg-pool": 3, "batch-norm": 121}, {"residual", "depthwise"}),
        ("convnext_atto", {"depthwise-separable": 12, "residual": 12, "gap": 1}, {"batch-norm", "squeeze-excitation"}),
        ("vit_tiny_patch16_224", {"attention": 12, "residual": 24, "layer-norm": 25}, {"gap", "batch-norm"}),
        ("resnet18", {"residual": 8, "max-pool": 1, "strided-conv": 7}, {"bias-conv", "dropout"}),
    ],
)  # fmt: skip
def test_kinds_of_layers_of_known_networks(name: str, some: dict[str, int], none: set[str]) -> None:
    found = survey(timm.create_model(name), (3, 224, 224)).kinds
    assert {kind: found.get(kind) for kind in some} == some
    assert not none & set(found)
    assert set(found) <= set(KINDS)


def test_stochastic_depth_is_seen_although_it_does_nothing_in_evaluation_mode() -> None:
    network = create_network("cifar10net_v3", classes=10, pretrained=False, drop_path=0.1)
    assert survey(network, (3, 32, 32)).kinds["stochastic-depth"] == 11


def test_the_documentation_explains_every_kind() -> None:
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for kind, meaning in KINDS.items():
        assert f"| `{kind}` | {meaning} |" in text
