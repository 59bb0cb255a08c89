"""Whether to compile, decided once for a plan, so that a resumed run does the same."""

from __future__ import annotations

import dataclasses

import torch

from eyebright.recipes.base import Context, Plan, make_network
from eyebright.training.compiling import compile_pays
from eyebright.training.threads import arithmetic_threads


def with_compiling_decided(plan: Plan, context: Context) -> Plan:
    """The plan with `compute.compile` true or false where it was `auto`, and a sentence about what was measured.

    Nothing is measured with `compute.deterministic`: the choice would depend on the clock.
    """
    asked = plan.config.compute
    if asked.compile != "auto":
        return plan
    choice, reason = False, ""
    if not asked.deterministic:
        # Making a network draws random numbers, and the ones that come later are to be what they would have been.
        with torch.random.fork_rng(devices=[]), arithmetic_threads(asked.threads):
            choice, reason = compile_pays(
                lambda: make_network(plan, context),
                plan.stages,
                config=plan.config,
                channels=plan.preprocess.channels,
                device=context.device,
                seconds_left=context.seconds_left(),
            )
    config = plan.config.model_copy(update={"compute": asked.model_copy(update={"compile": choice})})
    return dataclasses.replace(plan, config=config, reasons=(*plan.reasons, *([reason] if reason else [])))
