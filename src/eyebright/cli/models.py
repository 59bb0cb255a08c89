"""`eyebright models`."""

from __future__ import annotations

from typing import Annotated

import typer

from eyebright.cli.shell import print_json


def command(
    action: Annotated[str, typer.Argument(help="list or show.")] = "list",
    name: Annotated[
        str | None, typer.Argument(help="show: a network; list: a pattern, as resnet*.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Networks that can be trained.

    \b
    Examples:
      eyebright models list "convnext*"
      eyebright models show tf_efficientnet_lite0
    """
    from eyebright.errors import UsageError, did_you_mean

    if action not in ("list", "show"):
        raise UsageError(f"unknown action {action!r}{did_you_mean(action, ('list', 'show'))}", expected="list or show")
    if action == "list":
        from eyebright.models.catalog import network_names

        names = network_names(name)
        if not names:
            known = did_you_mean(str(name), network_names())
            raise UsageError(f"no network is named {name!r}{known}", expected='a name or a pattern, such as "resnet*"')
        print_json(names) if json_ else print("\n".join(names))
        return
    if name is None:
        raise UsageError("no network was named", expected="eyebright models show NAME")
    import dataclasses

    from eyebright.models.catalog import count_parameters, create_network, network_facts

    facts = network_facts(name)
    parameters = count_parameters(create_network(name, classes=1000, pretrained=False))
    if json_:
        print_json({**dataclasses.asdict(facts), "parameters_with_1000_classes": parameters})
        return
    print(f"{facts.name}: {parameters:,} parameters with 1,000 classes")
    print(f"trained at {facts.input_size} px, {facts.interpolation}, mean {facts.mean}, std {facts.std}")
    print(f"pretrained weights: {'installed' if facts.offline else 'from the hub'}, licence {facts.licence}")
