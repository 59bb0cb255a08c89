"""Networks by name."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from eyebright.config import HeadConfig
from eyebright.errors import MissingDependencyError, UsageError
from eyebright.models.catalog import (
    architecture_of,
    classifier_layer,
    create_network,
    network_facts,
    network_names,
    own_networks,
)


@pytest.mark.parametrize("name", ["smallnet", "tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_gives_one_logit_a_class(name: str, channels: int) -> None:
    network = create_network(name, classes=7, channels=channels, pretrained=False).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, channels, 64, 64)).shape == (2, 7)
    assert classifier_layer(network) is not None


def test_grey_input_sees_what_colour_input_sees_of_a_grey_image() -> None:
    colour = create_network("tf_efficientnet_lite0", classes=3, channels=3, pretrained=True).eval()
    grey = create_network("tf_efficientnet_lite0", classes=3, channels=1, pretrained=True).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        one, other = colour.forward_features(image.expand(1, 3, 64, 64)), grey.forward_features(image)  # type: ignore[operator]
    assert torch.allclose(one, other, atol=1e-4)


def test_pretrained_weights_do_not_depend_on_the_seed() -> None:
    torch.manual_seed(1)
    one = create_network("tf_efficientnet_lite0", classes=3, pretrained=True)
    torch.manual_seed(2)
    other = create_network("tf_efficientnet_lite0", classes=3, pretrained=True)
    assert torch.equal(one.conv_stem.weight, other.conv_stem.weight)  # type: ignore[arg-type, union-attr]


def test_facts_say_what_the_weights_expect() -> None:
    assert network_facts("tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)
    assert network_facts("resnet18").mean == pytest.approx((0.485, 0.456, 0.406))
    assert network_facts("vit_tiny_patch16_224").fixed_size


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet18'"):
        network_facts("resnet_18")


def test_names_by_pattern() -> None:
    assert "resnet18" in network_names("resnet1*")
    assert network_names("smallnet") == ["smallnet"]


OWN_SIZES = {
    "animals_cnn": 128, "cifar100_ann": 32, "cifar100_cnn": 32, "cifar10net_v2": 32, "cifar10net_v3": 32, "cnn224": 224,
    "cnn224_baseline": 224, "cnn224_bn": 224, "cnn224_dropout": 224, "deep_v1": 128, "fashion_ann": 28,
    "fashion_cnn": 28, "fashion_deep_cnn": 28, "fastnet": 32, "headed": 224, "smallnet": 32,
}  # fmt: skip
FIXED = {"cifar100_ann", "cifar100_cnn", "fashion_ann", "fashion_cnn", "fashion_deep_cnn"}


def test_our_own_networks_say_what_they_were_designed_for() -> None:
    assert sorted(own_networks()) == sorted(OWN_SIZES)
    for name, size in OWN_SIZES.items():
        facts = network_facts(name)
        assert (facts.origin, facts.input_size, facts.fixed_size) == ("catalogue", size, name in FIXED)
        assert facts.channels == (1 if name.startswith("fashion") else 3)
        assert len(facts.mean) == len(facts.std) == 3
        if name != "headed":  # its facts are those of the weights of its backbone
            assert (facts.mean, facts.std, facts.licence) == ((0.5,) * 3, (0.5,) * 3, "none")
    assert network_facts("resnet18").origin == "timm"
    assert "resnet18" not in own_networks()


def test_a_network_of_fixed_size_is_made_for_the_size_that_its_arguments_name() -> None:
    for name in ("fashion_cnn", "vit_tiny_patch16_224"):
        facts = network_facts(name, {"img_size": 64})
        assert (facts.input_size, facts.fixed_size) == (64, True)
    inside = {"backbone": "vit_tiny_patch16_224", "backbone_arguments": {"img_size": 96}}
    assert network_facts("headed", inside).input_size == 96
    assert network_facts("headed", inside).mean == network_facts("vit_tiny_patch16_224").mean


def test_unknown_weights_of_a_known_network_are_named() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'resnet18\.a1_in1k'"):
        network_facts("resnet18.a1_in2k")


def test_a_network_registered_without_facts_has_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: None)
    facts = network_facts("resnet18")
    assert (facts.origin, facts.input_size, facts.mean, facts.licence) == ("timm", 224, (0.5, 0.5, 0.5), "none")


def test_stochastic_depth_reaches_the_networks_that_know_it_and_the_others_are_named() -> None:
    for name, head in (("cifar10net_v3", None), ("resnet10t", HeadConfig(hidden=(4,)))):
        network = create_network(name, classes=3, pretrained=False, drop_path=0.2, head=head)
        assert any(getattr(module, "drop_prob", None) == pytest.approx(0.2) for module in network.modules())
    for name, head in (("deep_v1", None), ("vgg11", None), ("fashion_ann", HeadConfig(hidden=(4,)))):
        with pytest.raises(UsageError, match=r"model\.drop_path=0\.2 for .* no stochastic depth"):
            create_network(name, classes=3, pretrained=False, drop_path=0.2, head=head)


def test_a_head_is_recorded_with_its_backbone() -> None:
    head = HeadConfig(hidden=(64, 32), dropout=0.25, batch_norm=True)
    assert architecture_of("resnet18", head=HeadConfig(dropout=0.3)) == ("resnet18", {})
    assert architecture_of("smallnet", arguments={"width": 8}) == ("smallnet", {"width": 8})
    own = {"backbone": "smallnet", "hidden": [64, 32], "dropout": 0.25, "batch_norm": True}
    assert architecture_of("smallnet", head=head) == ("headed", own)
    expected = ("headed", {**own, "backbone_arguments": {"width": 8}})
    assert architecture_of("smallnet", head=head, arguments={"width": 8}) == expected
    with pytest.raises(UsageError, match=r"set model\.name to the backbone, resnet18"):
        architecture_of("headed", head=head, arguments={"backbone": "resnet18"})


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("resnet18", {"pretrained": True}, r"decided by model\.pretrained"),
        ("resnet18", {"drop_rate": 0.1}, r"decided by model\.dropout"),
        ("resnet18", {"drop_path_rate": 0.1}, r"decided by model\.drop_path"),
        ("resnet18", {"num_classes": 2}, "decided by the number of classes"),
        ("resnet18", {"checkpoint_path": "/tmp/somebody.pth"}, "arguments that shape the network"),
        ("resnet18", {"pretrained_cfg": {"file": "/tmp/somebody.pth"}}, "arguments that shape the network"),
        (
            "headed",
            {"backbone": "resnet18", "backbone_arguments": {"pretrained": True}},
            r"decided by model\.pretrained",
        ),
        ("headed", {"backbone_arguments": {"checkpoint_path": "x"}}, "for tf_efficientnet_lite0"),
        ("smallnet", {"widht": 8}, "refused its arguments"),
        ("smallnet", {"width": -8}, "refused its arguments"),
    ],
)
def test_arguments_of_a_bundle_cannot_load_anything_and_those_that_fit_nothing_are_named(
    name: str, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        create_network(name, classes=3, pretrained=False, arguments=arguments)


def test_our_networks_have_no_published_weights() -> None:
    for name, head in (("deep_v1", None), ("smallnet", HeadConfig(hidden=(4,)))):
        with pytest.raises(MissingDependencyError, match=r"the pretrained weights of .* could not be had"):
            create_network(name, classes=3, pretrained=True, head=head)
