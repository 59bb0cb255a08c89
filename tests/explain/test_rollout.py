"""Attention rollout against a computation from queries and keys in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch

from eyebright.explain.rollout import attention_rollout, rolled_out


def small_transformer(**arguments: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = timm.create_model(
            "vit_tiny_patch16_224", num_classes=3, img_size=(32, 48), depth=3, embed_dim=24, num_heads=2, **arguments
        )
        for parameter in made.parameters():  # at their usual size, fresh weights attend to everything alike
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made.eval()


@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_rollout_is_the_product_of_attention_with_residuals(pooling: str) -> None:
    token = pooling == "token"
    network = small_transformer(global_pool=pooling, class_token=token)
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    inputs: list[torch.Tensor] = []
    handles = [
        block.attn.register_forward_hook(lambda _, given, __: inputs.append(given[0])) for block in network.blocks
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()

    tokens = inputs[0].shape[1]
    rolled = np.broadcast_to(np.eye(tokens), (2, tokens, tokens))
    for block, given in zip(network.blocks, inputs, strict=True):
        projected = block.attn.qkv(given).detach().numpy().reshape(2, tokens, 3, 2, 12)
        scores = np.einsum("nthd,nshd->nhts", projected[:, :, 0], projected[:, :, 1]) / np.sqrt(12)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attention = (shares / shares.sum(axis=-1, keepdims=True)).mean(axis=1)
        mixed = attention + np.eye(tokens)
        rolled = (mixed / mixed.sum(axis=-1, keepdims=True)) @ rolled
    wanted = rolled[:, 0, 1:] if token else rolled.mean(axis=1)
    made = attention_rollout(network, images, (2, 3))
    np.testing.assert_allclose(made, wanted.reshape(2, 2, 3), rtol=1e-4)


def test_rows_still_add_up_to_one() -> None:
    random = torch.Generator().manual_seed(0)
    layers = [torch.rand(2, 5, 5, generator=random).softmax(dim=2) for _ in range(4)]
    torch.testing.assert_close(rolled_out(layers).sum(dim=2), torch.ones(2, 5))
