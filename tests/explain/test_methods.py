"""Heat maps: against grad-cam run plainly, captum and arithmetic by hand; and that nothing is left behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pytorch_grad_cam
import timm
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy import ndimage
from torch import nn

from eyebright.errors import UsageError
from eyebright.explain import cam
from eyebright.explain.attribution import integrated_gradients, occlusion, smoothed
from eyebright.explain.layers import explanation_layer, named_layer
from eyebright.explain.methods import METHODS, heat_maps, methods_for, scaled
from eyebright.explain.undisturbed import undisturbed
from eyebright.preprocess import Preprocess

PREPROCESS = Preprocess(size=64)
QUICK = {
    "grad-cam": pytorch_grad_cam.GradCAM,
    "grad-cam++": pytorch_grad_cam.GradCAMPlusPlus,
    "hires-cam": pytorch_grad_cam.HiResCAM,
    "layer-cam": pytorch_grad_cam.LayerCAM,
}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("resnet18", num_classes=5).eval()  # type: ignore[no-any-return]


@pytest.fixture
def pixels() -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).random((3, 8, 8, 3))
    return np.asarray(ndimage.zoom(noise, (1, 8, 8, 1), order=1).clip(0, 1) * 255).astype(np.uint8)


class Redness(nn.Module):
    """Class 0 is red and class 1 is blue; what it looks at is known."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True))
        with torch.no_grad():
            self.features[1].weight.copy_(torch.tensor([[2.0, -1.0, -1.0], [-1.0, -1.0, 2.0]])[..., None, None])
            self.features[1].bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images).mean(dim=(2, 3))


def red_and_blue() -> npt.NDArray[np.uint8]:
    """A grey image with a red square on the left and a blue one on the right."""
    image = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    image[0, 16:32, 8:24] = (255, 0, 0)
    image[0, 40:56, 40:56] = (0, 0, 255)
    return image


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("rollout", "eigen-cam")])
def test_the_hottest_place_is_what_the_class_is_about(method: str) -> None:
    network = Redness()
    both = np.repeat(red_and_blue(), 2, axis=0)
    maps = heat_maps(network, PREPROCESS, both, np.array([0, 1]), method)
    for heat, (rows, columns) in zip(
        maps, ((slice(16, 32), slice(8, 24)), (slice(40, 56), slice(40, 56))), strict=True
    ):
        assert heat.max() == pytest.approx(1)
        inside = np.zeros((64, 64), dtype=bool)
        inside[rows, columns] = True
        assert inside[np.unravel_index(heat.argmax(), heat.shape)]
        assert heat[inside].mean() > 4 * heat[~inside].mean()


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("method", QUICK)
def test_beginning_at_the_layer_gives_what_grad_cam_gives_from_the_whole_graph(name: str, method: str) -> None:
    arguments = {"img_size": 64} if name != "resnet18" else {}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = timm.create_model(name, num_classes=5, **arguments).eval()
        images = torch.randn(2, 3, 64, 64)
    # Two layers before the end, so that in-place activations and more than a pooling follow.
    layer = named_layer(
        network, (3, 64, 64), {"resnet18": "layer3", "vit_tiny_patch16_224": "blocks.10.norm1"}.get(name, "layers.2")
    )
    with undisturbed(network):
        ours = cam.activation_maps(method, network, layer, images, np.array([1, 4]))
    plain = QUICK[method](network, [layer.module], reshape_transform=layer.reshape)
    theirs = torch.from_numpy(plain(images, [ClassifierOutputTarget(1), ClassifierOutputTarget(4)]))
    even = smoothed(theirs[:, None], 0.35 * 64 / layer.grid[0])[:, 0].numpy()
    np.testing.assert_allclose(ours, even, atol=2e-5)
    plain.activations_and_grads.release()


def test_eigen_cam_is_the_first_principal_component_with_its_largest_value_positive(resnet: nn.Module) -> None:
    layer = named_layer(resnet, (3, 64, 64), "layer2")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    kept: list[torch.Tensor] = []
    handle = layer.module.register_forward_hook(lambda _, __, output: kept.append(output))
    with undisturbed(resnet):
        resnet(images)
        handle.remove()
        maps = cam.activation_maps("eigen-cam", resnet, layer, images, np.array([0, 0]))
    for activation, heat in zip(kept[0].detach().numpy(), maps, strict=True):
        flat = activation.reshape(len(activation), -1).T.astype(np.float64)
        flat = flat - flat.mean(axis=0)
        projected = flat @ np.linalg.svd(flat, full_matrices=True)[2][0]
        projected *= 1 if projected.max() >= -projected.min() else -1
        coarse = np.maximum(projected, 0).reshape(activation.shape[1:])
        enlarged = ndimage.zoom(coarse / coarse.max(), 8, order=1, mode="nearest", grid_mode=True)
        assert np.corrcoef(enlarged.ravel(), heat.ravel())[0, 1] > 0.95


def test_integrated_gradients_of_a_linear_network_are_weight_times_pixel() -> None:
    weight = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    class Linear(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.einsum("nchw,kchw->nk", images, weight)

    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made = integrated_gradients(Linear(), images, torch.tensor([1, 0]))
    wanted = torch.stack([(images[0] * weight[1]).sum(dim=0), (images[1] * weight[0]).sum(dim=0)]).clamp(min=0)
    np.testing.assert_allclose(made, smoothed(wanted[:, None], 8 / 28)[:, 0].numpy(), atol=1e-5)


def test_occlusion_measures_the_fall_of_the_log_odds() -> None:
    network = Redness()
    images = torch.from_numpy(PREPROCESS.normalise(red_and_blue()))
    fall = occlusion(network, images, torch.tensor([0]))[0]
    assert fall[8:40, 0:32].max() == fall.max() > 0
    # Covering the blue square makes red more probable, which counts as nothing.
    assert fall[44:52, 44:52].max() < 1e-6

    class Sure(Redness):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) + torch.tensor([40.0, 0.0])

    np.testing.assert_allclose(occlusion(Sure(), images, torch.tensor([0]))[0], fall, atol=1e-5)


def test_smoothing_is_a_gaussian() -> None:
    maps = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wanted = ndimage.gaussian_filter(maps[:, 0].numpy(), (0, 1.5, 1.5), mode="mirror", radius=(0, 4, 4))
    np.testing.assert_allclose(smoothed(maps, 1.5)[:, 0].numpy(), wanted, atol=1e-12)


def test_many_images_give_what_each_gives_alone(resnet: nn.Module) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (18, 64, 64, 3), dtype=np.uint8)
    classes = np.arange(18) % 5
    together = heat_maps(resnet, PREPROCESS, pixels, classes, "layer-cam", "layer3")
    for place in (0, 16, 17):
        alone = heat_maps(
            resnet, PREPROCESS, pixels[place : place + 1], classes[place : place + 1], "layer-cam", "layer3"
        )
        np.testing.assert_allclose(together[place], alone[0], atol=1e-4)


def test_no_class_means_the_predicted_one(resnet: nn.Module, pixels: npt.NDArray[np.uint8]) -> None:
    with torch.no_grad():
        predicted = resnet(torch.from_numpy(PREPROCESS.normalise(pixels))).argmax(dim=1).numpy()
    ours = heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", "layer3")
    np.testing.assert_array_equal(ours, heat_maps(resnet, PREPROCESS, pixels, predicted, "grad-cam", "layer3"))


def test_a_map_in_which_nothing_is_hot_stays_zero() -> None:
    network = Redness()
    grey = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    for method in ("grad-cam", "occlusion", "integrated-gradients"):
        maps = heat_maps(network, Preprocess(size=64, mean=(128 / 255,) * 3), grey, np.array([0]), method)
        assert maps.max() < 1 or maps.min() == 0
        assert not np.isnan(maps).any()
    assert not scaled(np.full((1, 4, 4), 0.3, dtype=np.float32)).any()


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam", "rollout", "occlusion", "integrated-gradients"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_network_and_the_random_state_are_left_as_they_were(method: str, fails: bool) -> None:
    network: Any = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=32, depth=2, embed_dim=48, num_heads=2
    )
    network.train()
    network.norm.eval()
    network.head.weight.requires_grad_(False)
    network.head.bias.grad = torch.ones(3)
    modes = [module.training for module in network.modules()]
    asked = [parameter.requires_grad for parameter in network.parameters()]
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    fused = [block.attn.fused_attn for block in network.blocks]
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    pixels = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    wanted = np.array([0, 99 if fails else 1])
    if fails and method not in ("eigen-cam", "rollout"):
        with pytest.raises((IndexError, RuntimeError, AssertionError)):
            heat_maps(network, Preprocess(size=32), pixels, wanted, method)
    else:
        heat_maps(network, Preprocess(size=32), pixels, wanted, method)
    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == asked
    assert [block.attn.fused_attn for block in network.blocks] == fused
    assert torch.equal(network.head.bias.grad, torch.ones(3))
    assert all(parameter.grad is None for name, parameter in network.named_parameters() if name != "head.bias")
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)  # type: ignore[arg-type]


def test_it_works_where_gradients_are_off(pixels: npt.NDArray[np.uint8], resnet: nn.Module) -> None:
    wanted = heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", "layer3")
    with torch.no_grad():
        np.testing.assert_array_equal(heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", "layer3"), wanted)
    with torch.inference_mode():
        np.testing.assert_array_equal(heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", "layer3"), wanted)


def test_a_method_that_does_not_fit_is_refused(resnet: nn.Module, pixels: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match=r"unknown method 'gradcam' \(did you mean 'grad-cam'"):
        heat_maps(resnet, PREPROCESS, pixels, None, "gradcam")
    with pytest.raises(UsageError, match="no attention among all its patches"):
        heat_maps(resnet, PREPROCESS, pixels, None, "rollout")
    assert "rollout" not in methods_for(resnet, (3, 64, 64))
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, img_size=64)
    assert "rollout" not in methods_for(swin, (3, 64, 64))  # its attention stays within windows


def test_the_layer_found_for_one_call_serves_another(resnet: nn.Module, pixels: npt.NDArray[np.uint8]) -> None:
    layer = explanation_layer(resnet, (3, 64, 64))
    assert layer is not None
    by_layer = heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", layer)
    np.testing.assert_array_equal(by_layer, heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam", layer.name))
    np.testing.assert_array_equal(by_layer, heat_maps(resnet, PREPROCESS, pixels, None, "grad-cam"))
