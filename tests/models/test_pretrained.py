"""Packaged weights: every tensor in its place, and the normalisation that they were trained with."""

from __future__ import annotations

import pytest
import timm
import torch

from eyebright.models.pretrained import EFFICIENTNET_LITE0, PACKAGED, names_table, packaged_state, weights_file


@pytest.mark.parametrize("weights", PACKAGED.values(), ids=lambda weights: weights.architecture)
def test_table_covers_every_tensor_of_both_sides_with_equal_shapes(weights) -> None:  # type: ignore[no-untyped-def]
    theirs = torch.load(weights_file(weights), weights_only=True)
    ours = timm.create_model(weights.architecture).state_dict()
    table = names_table(weights)
    assert set(table) == {name for name in theirs if "num_batches_tracked" not in name}
    assert set(table.values()) == {name for name in ours if "num_batches_tracked" not in name}
    assert all(theirs[one].shape == ours[other].shape for one, other in table.items())


def test_names_mean_the_same_layer() -> None:
    """The two sides name their layers in the same order of depth; a shuffled table of equal shapes would not."""
    table = names_table(EFFICIENTNET_LITE0)
    kinds = {"weight", "bias", "running_mean", "running_var"}
    assert all(one.rsplit(".", 1)[1] == other.rsplit(".", 1)[1] for one, other in table.items())
    assert {one.rsplit(".", 1)[1] for one in table} == kinds
    blocks = [
        (int(one.split(".")[1]), tuple(map(int, other.split(".")[1:3])))
        for one, other in table.items()
        if one.startswith("_blocks")
    ]
    assert [other for _, other in blocks] == sorted(other for _, other in blocks)
    assert [one for one, _ in blocks] == sorted(one for one, _ in blocks)


def test_statistics_of_the_weights_fit_their_inputs() -> None:
    """With the right tensors in place, each batch norm's recorded mean is what its convolution gives.

    On real photos the activations after the first batch norm then have a mean near zero and a spread near one, for the
    right normalisation of the input.
    """
    from sklearn.datasets import load_sample_images

    state = packaged_state(EFFICIENTNET_LITE0)
    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(state, strict=False)
    network.eval()
    images = torch.stack([torch.from_numpy(image[:416, :416].copy()) for image in load_sample_images().images])
    pixels = images.permute(0, 3, 1, 2).float() / 255
    caught = {}
    network.conv_head.register_forward_hook(lambda module, given, result: caught.update(head=result))
    with torch.inference_mode():
        network((pixels - 0.5) / 0.5)
    normed = (caught["head"].mean((0, 2, 3)) - network.bn2.running_mean) / network.bn2.running_var.sqrt()
    assert normed.abs().median() < 0.5
