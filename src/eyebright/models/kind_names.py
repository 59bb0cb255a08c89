"""The words for kinds of layers that requirements know: `max-pool`, `depthwise-separable`, `gap`, ..."""

from __future__ import annotations

KINDS = {
    "attention": "positions look at each other by products of what they hold",
    "avg-pool": "average pooling over windows",
    "batch-norm": "batch normalisation",
    "bias-conv": "a convolution with a bias",
    "conv": "any convolution",
    "depthwise": "a convolution of each channel for itself",
    "depthwise-separable": "a depthwise convolution whose result goes to a pointwise one",
    "dilated": "a convolution with gaps in its window",
    "dropout": "dropout, of values or whole channels",
    "flatten": "a dense layer over all positions of a feature map",
    "gap": "global average pooling in front of the head",
    "global-max-pool": "the maximum over all positions in front of the head",
    "group-norm": "group normalisation",
    "grouped": "a convolution in groups of several channels",
    "instance-norm": "normalisation of each channel of each image",
    "layer-norm": "layer normalisation",
    "linear": "a dense layer, the classifier included",
    "max-pool": "maximum pooling over windows",
    "pointwise": "a 1x1 convolution of all channels",
    "residual": "a sum of two branches of which one has more layers",
    "rms-norm": "normalisation by the root of the mean square",
    "squeeze-excitation": "channels are weighed by what all positions hold",
    "stochastic-depth": "branches are left out at random in training",
    "strided-conv": "a convolution that skips positions",
    "transposed-conv": "a transposed convolution",
    "upsample": "interpolation to more positions",
}
"""Word and what it stands for."""
