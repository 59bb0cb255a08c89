"""Batch norms whose statistics are those of the whole batch, when several processes hold a part of it each.

torch has them for CUDA (`nn.SyncBatchNorm`); the CPU gets the same here, exact also where the parts differ in size.
Modules are changed in place by giving them another class: parameters, buffers, their names and the activation of
timm's `BatchNormAct2d` stay what they are, so that checkpoints, moving averages and exports see plain batch norms.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyebright.errors import UsageError
from eyebright.training.team import Team


def synchronise_norms(network: nn.Module, team: Team) -> nn.Module:
    """Make every batch norm of `network` take its training statistics over the images of all processes.

    The network is changed in place and returned. Evaluation mode, and so frozen statistics, stay as they were. As
    with `nn.SyncBatchNorm`, gradients of weights and biases are those of the process's own part of the loss: DDP adds
    them up. Running statistics are the same bits in every process, so that DDP need not send them.

    Raises:
        UsageError: a batch norm computes in a way that is not known here.
    """
    if team.size == 1:
        return network
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, (nn.SyncBatchNorm, _Synchronised))
    }
    for name, module in norms.items():
        kind = type(module)
        if kind.forward not in (_BatchNorm.forward, BatchNormAct2d.forward):
            raise UsageError(
                f"the batch norm {name} is of the kind {kind.__name__}, which cannot be taken over several processes",
                expected="batch norms of torch, or BatchNormAct2d of timm",
                remedy="train this network in one process",
            )
    base = _OverCuda if team.device.type == "cuda" else _OverProcesses
    classes: dict[type, Any] = {}
    for module in norms.values():
        plain = type(module)
        if plain not in classes:
            # The team is an attribute of the class: a copy of the network must not copy its connections.
            classes[plain] = type(f"Synchronised{plain.__name__}", (base, plain), {"team": team, "plain": plain})
        module.__class__ = classes[plain]
    return network


def unsynchronise_norms(network: nn.Module) -> nn.Module:
    """Give every batch norm its plain class back, in place; nothing else changes."""
    for module in network.modules():
        if isinstance(module, _Synchronised):
            module.__class__ = module.plain  # type: ignore[assignment]
    return network


class _Synchronised(_BatchNorm):
    """What both kinds share: the activation that follows in `BatchNormAct2d`.

    Attributes:
        team: the processes.
        plain: the class of the module before and after.
    """

    team: Team
    plain: type[_BatchNorm]

    def forward(self, input: Tensor) -> Tensor:
        """As the plain class; in training mode over all processes."""
        if not self.training:
            return self.plain.forward(self, input)
        output = self.normalised(input)
        if issubclass(self.plain, BatchNormAct2d):
            output = self.act(self.drop(output))  # type: ignore[operator]
        return output

    def normalised(self, input: Tensor) -> Tensor:
        raise NotImplementedError


class _OverCuda(_Synchronised, nn.SyncBatchNorm):
    """By torch's own kernels, over the default group."""

    process_group = None

    def normalised(self, input: Tensor) -> Tensor:
        return nn.SyncBatchNorm.forward(self, input)


class _OverProcesses(_Synchronised):
    """By sums over the team."""

    def normalised(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        output: Tensor
        output, mean, variance, count = _NormOverProcesses.apply(input, self.weight, self.bias, self.eps, self.team)
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                unbiased = variance * (count / (count - 1))
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        return output


class _NormOverProcesses(torch.autograd.Function):
    """Batch normalisation (Ioffe and Szegedy, 2015, arXiv 1502.03167) of a batch that lies in several processes.

    With N values a channel over all processes, x^ = (x - mean) / sqrt(variance + eps) and dy the gradient of the
    output, the gradient of the input is weight / sqrt(variance + eps) * (dy - (sum dy + x^ sum dy x^) / N): the two
    sums are the ones that must go over all processes.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, team: Team
    ) -> tuple[Tensor, Tensor, Tensor, float]:
        channels = input.shape[1]
        # float64: the sum of squares loses its leading digits below, where the mean is large.
        sums = torch.zeros(2 * channels + 1, dtype=torch.float64)
        precision = torch.promote_types(input.dtype, torch.float32)
        if input.numel():
            dimensions = [dimension for dimension in range(input.ndim) if dimension != 1]
            variance, mean = torch.var_mean(input.to(precision), dim=dimensions, correction=0)  # (C,) each
            mean, variance, here = mean.double(), variance.double(), input.numel() // channels
            sums = torch.cat([mean * here, (variance + mean.square()) * here, sums.new_tensor([here])])
        sums = team.sum(sums)
        count = float(sums[-1])
        if count <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.shape}")
        mean = sums[:channels] / count
        variance = (sums[channels:-1] / count - mean.square()).clamp(min=0)
        mean, variance = mean.to(precision), variance.to(precision)
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.eps, ctx.team, ctx.count = eps, team, count
        ctx.mark_non_differentiable(mean, variance)
        output = F.batch_norm(input, mean, variance, weight, bias, training=False, eps=eps)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        input, weight, mean, variance = ctx.saved_tensors
        channels = input.shape[1]
        scale = (variance + ctx.eps).rsqrt()  # (C,)
        if input.numel():
            # torch's kernel for fixed statistics: gradient * weight * scale, sum of gradient * x^, sum of gradient.
            grad_input, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
                gradients[0], input, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
            )
        else:  # that kernel divides by the number of images and ends the process; the others still need an answer
            grad_input, grad_weight, grad_bias = (
                torch.zeros_like(input),
                mean.new_zeros(channels),
                mean.new_zeros(channels),
            )
        if ctx.needs_input_grad[0]:
            sums = ctx.team.sum(torch.cat([grad_bias, grad_weight]).double()) / ctx.count
            of_gradient, of_product = sums[:channels].to(mean.dtype), sums[channels:].to(mean.dtype)
            factor = scale if weight is None else scale * weight
            slope = factor * scale * of_product
            offset = factor * of_gradient - slope * mean
            shape = (1, channels, *[1] * (input.ndim - 2))
            grad_input = grad_input - (input * slope.view(shape) + offset.view(shape)).to(grad_input.dtype)
        return (
            grad_input if ctx.needs_input_grad[0] else None,
            grad_weight if ctx.needs_input_grad[1] else None,
            grad_bias if ctx.needs_input_grad[2] else None,
            None,
            None,
        )
