"""What a network must satisfy before it is trained: size, receptive field, layers that must or must not occur."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import nn

from eyebright.config.learning import RequirementsConfig
from eyebright.errors import RequirementsError, UsageError, did_you_mean
from eyebright.models.catalog import count_parameters
from eyebright.models.kind_names import KINDS
from eyebright.models.layer_kinds import Survey, survey
from eyebright.models.receptive_field import ReceptiveField
from eyebright.models.running import running

# Through these every position of a map reads the whole image, rather than being scaled by a figure of it.
_GATHERING = frozenset({"attention", "linear", "linear over positions", "Fourier transform"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One requirement, looked at.

    Attributes:
        requirement: such as `at most 200,000 parameters`.
        met: the network satisfies it.
        found: what the network has, such as `181,942`.
        remedy: what to do where it does not.
    """

    requirement: str
    met: bool
    found: str
    remedy: str


def check_requirements(
    network: nn.Module, name: str, requirements: RequirementsConfig, input_size: Sequence[int]
) -> list[Finding]:
    """Look at each requirement.

    Args:
        network: with the classifier that it will be trained with; left as it was.
        name: for messages.
        requirements: those of the configuration; none gives an empty list.
        input_size: (C, H, W) that the network will be trained with.

    Raises:
        UsageError: a kind of layer is unknown, or the network cannot take such images.
    """
    _check_kinds(requirements)
    findings = []
    if requirements.max_parameters is not None:
        parameters = count_parameters(network)
        findings.append(
            Finding(
                requirement=f"at most {requirements.max_parameters:,} parameters",
                met=parameters <= requirements.max_parameters,
                found=f"{parameters:,}",
                remedy="take fewer channels or layers, or raise max_parameters",
            )
        )
    if requirements.min_receptive_field is None and not requirements.forbid and not requirements.require:
        return findings
    with running(name, input_size):
        seen = survey(network, input_size)
    if requirements.min_receptive_field is not None:
        findings.append(_field_finding(seen.field, requirements.min_receptive_field))
    findings += [_forbidden(kind, seen) for kind in requirements.forbid]
    findings += [_required(kind, seen) for kind in requirements.require]
    return findings


def require(network: nn.Module, name: str, requirements: RequirementsConfig, input_size: Sequence[int]) -> None:
    """Nothing, when the network satisfies all requirements; arguments as for `check_requirements`.

    Raises:
        RequirementsError: it does not; every failing requirement is named, with what was found.
        UsageError: as there.
    """
    raise_failing(name, check_requirements(network, name, requirements, input_size))


def raise_failing(name: str, findings: Sequence[Finding]) -> None:
    """Raise a RequirementsError that names the requirements which are not met; nothing where all are."""
    failing = [finding for finding in findings if not finding.met]
    if not failing:
        return
    count = f"{len(failing)} of {len(findings)} requirements" if len(findings) > 1 else "its requirement"
    raise RequirementsError(
        f"{name} does not satisfy {count}: " + "; ".join(f"{f.requirement} (found {f.found})" for f in failing),
        expected="; ".join(finding.requirement for finding in findings),
        remedy="; ".join(dict.fromkeys(finding.remedy for finding in failing)),
    )


def _check_kinds(requirements: RequirementsConfig) -> None:
    for kind in (*requirements.forbid, *requirements.require):
        if kind not in KINDS:
            raise UsageError(
                f"unknown kind of layer {kind!r}{did_you_mean(kind, KINDS)}", expected=f"one of {', '.join(KINDS)}"
            )
    for kind in requirements.forbid:
        if kind in requirements.require:
            raise UsageError(f"{kind} is both forbidden and required", expected="one of them, or neither")


def _field_finding(field: ReceptiveField | None, asked: int) -> Finding:
    gathers = field is not None and any(name in _GATHERING for name in field.through)
    return Finding(
        requirement=f"a receptive field of at least {asked} pixels",
        met=field is not None and (field.size >= asked or gathers),
        found="none: the result does not depend on the image" if field is None else field.describe(),
        remedy="add layers, strides or dilation, or lower min_receptive_field",
    )


def _forbidden(kind: str, seen: Survey) -> Finding:
    count = seen.kinds.get(kind, 0)
    return Finding(
        requirement=f"no {kind}",
        met=count == 0,
        found=str(count or "none"),
        remedy=f"use no {kind} ({KINDS[kind]}), or take it out of forbid",
    )


def _required(kind: str, seen: Survey) -> Finding:
    count = seen.kinds.get(kind, 0)
    return Finding(
        requirement=f"at least one {kind}",
        met=count > 0,
        found=str(count or "none"),
        remedy=f"add a {kind} ({KINDS[kind]}), or take it out of require",
    )
