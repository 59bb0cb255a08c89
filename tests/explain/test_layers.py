"""The explanation layer of many families of networks, with random weights at small sizes."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from eyebright.errors import UsageError
from eyebright.explain.layers import explanation_layer, named_layer
from eyebright.explain.methods import heat_maps, methods_for
from eyebright.models.catalog import create_network, network_facts, own_networks
from eyebright.preprocess import Preprocess

FAMILIES = {
    # name: arguments, side, layer, kind, grid
    "resnet18": ({}, 64, "layer4", "maps", 2),
    "resnext26ts": ({}, 64, "final_conv", "maps", 2),
    "regnetx_002": ({}, 64, "final_conv", "maps", 2),
    "mobilenetv3_small_050": ({}, 64, "blocks", "maps", 2),
    "efficientnet_b0": ({}, 64, "bn2", "maps", 2),
    "tf_efficientnet_lite0": ({}, 96, "bn2", "maps", 3),
    "convnext_atto": ({}, 64, "norm_pre", "maps", 2),
    "densenet121": ({}, 64, "features", "maps", 2),
    "vgg11_bn": ({}, 64, "features", "maps", 2),
    "inception_v3": ({}, 128, "Mixed_7c", "maps", 2),
    "ghostnet_050": ({}, 64, "blocks", "maps", 2),
    "repvgg_a0": ({}, 64, "final_conv", "maps", 2),
    "mobilevit_xxs": ({}, 64, "final_conv", "maps", 2),
    "swin_tiny_patch4_window7_224": ({"img_size": 64, "window_size": 2}, 64, "norm", "maps", 2),
    "levit_128s": ({"img_size": 128}, 128, "stages", "tokens", 2),
    "mixer_s32_224": ({"img_size": 96}, 96, "norm", "tokens", 3),
    "vit_tiny_patch16_224": ({"img_size": 64}, 64, "blocks.11.norm1", "tokens", 4),
    "deit_tiny_distilled_patch16_224": ({"img_size": 64}, 64, "blocks.11.norm1", "tokens", 4),
    "vit_small_patch14_reg4_dinov2": ({"img_size": 56}, 56, "blocks.11.norm1", "tokens", 4),
    "cait_xxs24_224": ({"img_size": 64}, 64, "blocks_token_only.1.norm1", "tokens", 4),
    "eva02_tiny_patch14_224": ({"img_size": 56}, 56, "norm", "tokens", 4),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_a_layer_whose_map_the_answer_depends_on(name: str) -> None:
    arguments, side, layer, kind, grid = FAMILIES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3, **arguments).eval()
    found = explanation_layer(network, (3, side, side))
    assert found is not None
    assert (found.name, found.kind, found.grid) == (layer, kind, (grid, grid))

    seen: list[torch.Tensor] = []
    handle = found.module.register_forward_hook(lambda _, __, output: seen.append(output))
    image = torch.randn(1, 3, side, side, requires_grad=True)
    answer = network.forward_head(network.forward_features(image), pre_logits=True)
    handle.remove()
    assert found.reshape(seen[0]).shape[2:] == (grid, grid)
    # The reason for the choice: every place of the map counts.
    gradient = found.reshape(torch.autograd.grad((answer * torch.randn(answer.shape)).sum(), seen[0])[0])
    assert (gradient.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", own_networks())
def test_each_network_of_ours_is_explained_by_every_method_that_it_is_able_of(name: str) -> None:
    facts = network_facts(name)
    side = 64 if name == "headed" else min(facts.input_size, 128)
    arguments = {"img_size": side} if facts.fixed_size else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_network(name, classes=4, channels=facts.channels, pretrained=False, arguments=arguments).eval()
    size = (facts.channels, side, side)
    layer = explanation_layer(network, size)
    dense = name in ("fashion_ann", "cifar100_ann")
    assert (layer is None) == dense
    able = methods_for(network, size, layer)
    assert set(able) == {"occlusion", "integrated-gradients"} | (
        set() if dense else {"grad-cam", "grad-cam++", "hires-cam", "layer-cam", "eigen-cam"}
    )
    grey = {"mean": (0.5,), "std": (0.5,)} if facts.channels == 1 else {}
    preprocess = Preprocess(size=side, channels=facts.channels, **grey)
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, facts.channels), dtype=np.uint8)
    for method in able if side < 100 else able[:2]:
        maps = heat_maps(network, preprocess, pixels, np.array([0, 3]), method, layer)
        assert maps.shape == (2, side, side)
        assert maps.dtype == np.float32
        assert 0 <= maps.min() <= maps.max() <= 1


def test_a_dense_network_says_that_it_has_no_map() -> None:
    network = create_network("fashion_ann", classes=3, channels=1, pretrained=False)
    preprocess = Preprocess(size=28, channels=1, mean=(0.5,), std=(0.5,))
    with pytest.raises(UsageError, match="no layer of it keeps rows and columns") as error:
        heat_maps(network, preprocess, np.zeros((1, 28, 28, 1), np.uint8), np.array([0]), "grad-cam")
    assert "occlusion" in str(error.value)


def test_images_that_are_not_square_have_a_grid_in_their_proportion() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=(32, 96))
    found = explanation_layer(vit, (3, 32, 96))
    assert found is not None
    assert found.grid == (2, 6)
    # Token number 1 + row * 6 + column belongs to that row and column.
    tokens = torch.arange(13.0).view(1, 13, 1)
    assert found.reshape(tokens)[0, 0, 1, 4] == 1 + 1 * 6 + 4

    resnet = timm.create_model("resnet18", num_classes=3)
    assert explanation_layer(resnet, (3, 64, 128)).grid == (2, 4)  # type: ignore[union-attr]


def test_channels_last_maps_are_recognised_and_turned() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, img_size=64, window_size=2)
    found = explanation_layer(swin, (3, 64, 64))
    assert found is not None
    output = torch.randn(1, 2, 2, 768)
    assert torch.equal(found.reshape(output)[0, :, 1, 0], output[0, 1, 0])


def test_an_image_too_small_for_the_last_map_gets_an_earlier_one() -> None:
    network = timm.create_model("resnet18", num_classes=3)
    found = explanation_layer(network, (3, 32, 32))
    assert found is not None
    assert (found.name, found.grid) == ("layer3", (2, 2))


def test_a_network_that_no_gradient_goes_through_is_left_with_occlusion() -> None:
    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 2, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.convolution(images.round()).mean(dim=(2, 3))

    class Counted(Rounded):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).detach()

    assert methods_for(Counted(), (3, 16, 16)) == ["occlusion"]


def test_a_named_layer_is_taken_and_a_wrong_name_is_explained() -> None:
    network = timm.create_model("resnet18", num_classes=3)
    assert named_layer(network, (3, 64, 64), "layer2").grid == (8, 8)
    with pytest.raises(UsageError, match=r"no layer 'layer9'.*did you mean 'layer"):
        named_layer(network, (3, 64, 64), "layer9")
    with pytest.raises(UsageError, match="gives no map") as error:
        named_layer(network, (3, 64, 64), "fc")
    assert "layer" in str(error.value.expected)


def test_an_image_that_does_not_fit_is_refused() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    with pytest.raises(UsageError, match="cannot take images of 3x64x64"):
        explanation_layer(network, (3, 64, 64))
