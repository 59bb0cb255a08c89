"""`eyebright models`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.shell import HELP_OPTIONS, json_before_action, print_json, progress_on_screen, verb_with_actions
from eyebright.models.kind_names import KINDS

if TYPE_CHECKING:
    from eyebright.models.published import PublishedNetwork
    from eyebright.models.requirements import Finding

command = verb_with_actions("models")

ROWS_SHOWN = 30

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Name = Annotated[str, typer.Argument(help="A network; `eyebright models list` shows names.", show_default=False)]
Input = Annotated[
    str | None,
    typer.Option(
        "--input", metavar="CxHxW", help="Size of the images, as 3x128x128. Default: the network's own.",
        show_default=False,
    ),
]  # fmt: skip
Classes = Annotated[
    int | None, typer.Option(help="Number of classes. Default: the network's own.", min=1, show_default=False)
]


@command.callback(invoke_without_command=True)
def models(context: typer.Context, json_: Json = False) -> None:
    """Networks that can be trained.

    Eyebright's own and all of timm's. Without an action this lists their names.

    \b
    Examples:
      eyebright models list "convnext*"
      eyebright models list --pretrained --max-parameters 10000000
      eyebright models show resnet18 --input 3x128x128
      eyebright models check cifar10net_v2 --max-parameters 200000 --forbid max-pool
    """
    if context.invoked_subcommand is None:
        _print_names(None, json_)
    elif json_:
        raise json_before_action("models", context.invoked_subcommand)


@command.command(name="list", context_settings=HELP_OPTIONS)
def list_(
    pattern: Annotated[str | None, typer.Argument(help="A name or a pattern, as resnet*.", show_default=False)] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="A table of pretrained networks with their published accuracy.")
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(help="top1 (default), top5, parameters, input, milliseconds or name.", show_default=False),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help=f"Rows to show. Default: {ROWS_SHOWN}; with --json, all.", min=1, show_default=False),
    ] = None,
    max_parameters: Annotated[
        int | None, typer.Option(help="Leave out what has more, with 1,000 classes.", min=1, show_default=False)
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Only what is installed here.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time each row shown on this CPU, one image at a time.")
    ] = False,
    json_: Json = False,
) -> None:
    """List names, Eyebright's own first; with --pretrained, a table to choose from.

    The accuracies are those that timm publishes for ImageNet, at the size that each network was trained at.
    Milliseconds are measured here, with random weights: they cost the same, and nothing is downloaded.

    \b
    Examples:
      eyebright models list "resnet*"
      eyebright models list --pretrained --max-parameters 6000000 --limit 10
      eyebright models list "mobilenet*" --pretrained --measure --sort milliseconds
    """
    if pretrained:
        _print_pretrained(
            pattern, sort or "top1", limit, max_parameters=max_parameters, offline=offline, timed=measure, json_=json_
        )
        return
    from eyebright.errors import UsageError

    for option, given in (
        ("--sort", sort is not None), ("--limit", limit is not None), ("--max-parameters", max_parameters is not None),
        ("--offline", offline), ("--measure", measure),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{option} was given without --pretrained", expected="both, or neither")
    _print_names(pattern, json_)


@command.command(context_settings=HELP_OPTIONS)
def show(
    name: Name,
    input_: Input = None,
    classes: Classes = None,
    depth: Annotated[int, typer.Option(help="Levels of layers to show.", min=1)] = 3,
    json_: Json = False,
) -> None:
    """Show the layers of a network, what it costs, and how much of the image it sees.

    The receptive field is what one position of the last feature map sees, before global pooling or flattening.

    \b
    Examples:
      eyebright models show deep_v1 --input 3x128x128
      eyebright models show resnet50 --classes 5 --depth 1
    """
    from eyebright.models.catalog import count_parameters, create_network, network_facts
    from eyebright.models.inspect import describe_network, network_to_inspect
    from eyebright.models.running import parse_input_size

    size = None if input_ is None else parse_input_size(input_)
    network, size = network_to_inspect(name, classes=classes, input_size=size)
    facts = network_facts(name)
    description = describe_network(network, name, size, depth=depth)
    if json_:
        import dataclasses

        thousand = create_network(name, classes=1000, channels=facts.channels, pretrained=False)
        print_json({
            **description.as_dict(), "facts": dataclasses.asdict(facts),
            "parameters_with_1000_classes": count_parameters(thousand),
        })  # fmt: skip
        return
    from eyebright.cli.model_tables import print_layers, print_summary

    print_layers(description)
    print_summary(description, facts)


@command.command(context_settings=HELP_OPTIONS, epilog="Kinds of layers: " + ", ".join(KINDS))
def check(
    name: Name,
    max_parameters: Annotated[int | None, typer.Option(help="Most parameters.", min=1, show_default=False)] = None,
    min_receptive_field: Annotated[
        int | None, typer.Option(help="Smallest receptive field in pixels.", min=1, show_default=False)
    ] = None,
    forbid: Annotated[
        str | None, typer.Option(help="Kinds of layers that must not occur, with commas.", show_default=False)
    ] = None,
    require: Annotated[
        str | None, typer.Option(help="Kinds of layers that must occur, with commas.", show_default=False)
    ] = None,
    input_: Input = None,
    classes: Classes = None,
    json_: Json = False,
) -> None:
    """Check a network against requirements; exit with 9 when one is not met.

    \b
    Example:
      eyebright models check cifar10net_v2 --max-parameters 200000 --min-receptive-field 45 \\
        --forbid max-pool --require depthwise-separable,dilated,gap
    """
    from eyebright.config.learning import RequirementsConfig
    from eyebright.errors import UsageError
    from eyebright.models.inspect import network_to_inspect
    from eyebright.models.requirements import check_requirements, raise_failing
    from eyebright.models.running import parse_input_size

    requirements = RequirementsConfig(
        max_parameters=max_parameters,
        min_receptive_field=min_receptive_field,
        forbid=_words(forbid),
        require=_words(require),
    )
    if requirements == RequirementsConfig():
        raise UsageError(
            f"nothing was asked of {name}",
            expected="at least one of --max-parameters, --min-receptive-field, --forbid and --require",
        )
    size = None if input_ is None else parse_input_size(input_)
    network, size = network_to_inspect(name, classes=classes, input_size=size)
    findings = check_requirements(network, name, requirements, size)
    if json_:
        _print_findings_as_json(name, size, findings)
        return
    for finding in findings:
        print(f"{'met' if finding.met else 'NOT MET':<8} {finding.requirement} (found {finding.found})")
    raise_failing(name, findings)


def _words(listed: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (listed or "").split(",") if word.strip())


def _print_findings_as_json(name: str, size: tuple[int, int, int], findings: list[Finding]) -> None:
    """One document, that of the error included where there is one."""
    import dataclasses

    from eyebright.errors import RequirementsError
    from eyebright.models.requirements import raise_failing

    document: dict[str, Any] = {
        "name": name, "input_size": size, "met": all(finding.met for finding in findings),
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip
    try:
        raise_failing(name, findings)
    except RequirementsError as error:
        print_json({**document, **error.as_dict()})
        print(f"eyebright: {error.problem}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    print_json(document)


def _print_names(pattern: str | None, json_: bool) -> None:
    from eyebright.errors import UsageError, did_you_mean
    from eyebright.models.catalog import network_names, own_networks

    names = network_names(pattern)
    if not names:
        known = did_you_mean(str(pattern), network_names())
        raise UsageError(f"no network is named {pattern!r}{known}", expected='a name or a pattern, such as "resnet*"')
    own = [name for name in own_networks() if name in names]
    listed = own + [name for name in names if name not in own]
    if json_:
        print_json(listed)
        return
    width = max(map(len, own), default=0)
    for name in listed:
        print(f"{name:<{width}}  Eyebright's own" if name in own else name)


def _print_pretrained(
    pattern: str | None, sort: str, limit: int | None, *,
    max_parameters: int | None, offline: bool, timed: bool, json_: bool,
) -> None:  # fmt: skip
    from eyebright.errors import UsageError, did_you_mean
    from eyebright.models.published import ORDERS, choose, in_order, measure

    order = next((known for known in ORDERS if known == sort), None)
    if order is None:
        raise UsageError(
            f"--sort {sort!r} was not understood{did_you_mean(sort, ORDERS)}", expected=f"one of {', '.join(ORDERS)}"
        )
    if order == "milliseconds" and not timed:
        raise UsageError("--sort milliseconds was given without --measure", expected="both: times are measured here")
    chosen = choose(pattern, offline=offline, max_parameters=max_parameters)
    # What is to be sorted by time must be chosen before it is timed: the most accurate rows.
    rows = in_order(chosen, "top1" if order == "milliseconds" else order)
    rows = rows[: limit or (len(rows) if json_ else ROWS_SHOWN)]
    if timed:
        with progress_on_screen(quiet=json_) as progress:
            rows = in_order(measure(rows, progress=progress), order)
    if json_:
        print_json([_row_facts(row) for row in rows])
        return
    import torch

    from eyebright.cli.model_tables import print_published

    print_published(rows, threads=torch.get_num_threads() if timed else None)
    print()
    print(f"{len(rows):,} of {len(chosen):,} networks; accuracy on ImageNet as timm publishes it")
    for row in rows:
        if row.installed_as is not None:
            print(f"the weights of {row.model} are installed: --model {row.installed_as}")
    if timed:
        print(f"one image at a time, random weights, {torch.get_num_threads()} threads: median and quartiles")


def _row_facts(row: PublishedNetwork) -> dict[str, Any]:
    import dataclasses

    facts = dataclasses.asdict(row)
    timing = facts.pop("timing")
    return {**facts, "milliseconds": timing}
