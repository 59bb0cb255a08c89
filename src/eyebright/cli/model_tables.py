"""Tables and figures of networks for people: coloured on a terminal, plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from eyebright.models.catalog import NetworkFacts
    from eyebright.models.inspect import NetworkDescription
    from eyebright.models.published import PublishedNetwork

PLAIN_WIDTH = 1000  # a table is as wide as its content where nobody looks at a terminal


def print_layers(description: NetworkDescription) -> None:
    """The table of layers, each indented below its parent."""
    rows = [
        (
            "  " * layer.depth + layer.name,
            layer.kind,
            "x".join(str(length) for length in layer.output_shape),
            f"{layer.parameters:,}" if layer.parameters else "",
            _short(layer.multiply_adds) if layer.multiply_adds else "",
        )
        for layer in description.layers
    ]
    _print_table(("layer", "kind", "output"), ("parameters", "multiply-adds"), rows)


def print_summary(description: NetworkDescription, facts: NetworkFacts) -> None:
    """What the network costs and sees, a line each."""
    size = "x".join(str(length) for length in description.input_size)
    frozen = description.parameters - description.trainable_parameters
    field = description.receptive_field
    lines = [
        ("network", f"{description.name}, images of {size}, {description.classes:,} classes"),
        (
            "parameters",
            f"{description.parameters:,} ({f'{frozen:,} of them frozen' if frozen else 'all trainable'}), "
            f"{description.weight_bytes / 1e6:,.1f} MB with buffers",
        ),
        (
            "arithmetic",
            f"{_short(description.flops)} FLOPs an image: {_short(description.multiply_adds)} multiply-adds, "
            "each counted as 2",
        ),
        ("activations", f"{description.activation_bytes / 1e6:,.1f} MB an image are kept while training"),
        (
            "field",
            "the result does not depend on the image" if field is None else f"{field.describe()} at each position",
        ),
    ]
    if field is not None:
        rows, columns = field.map_size
        step = " x ".join(f"{float(jump):g}" for jump in dict.fromkeys(field.jump))
        ended = f", then {field.ended_by}" if field.ended_by else ""
        lines.append(("last map", f"{rows} x {columns} positions, {step} px apart{ended}"))
    counts = ", ".join(f"{count} {kind}" for kind, count in description.kinds.items())
    lines.append(("has", counts or "no layer of a known kind"))
    lines.append(("weights", _weights(facts)))
    print()
    for label, text in lines:
        print(f"{label:<12} {text}")


def print_published(rows: Sequence[PublishedNetwork], *, threads: int | None) -> None:
    """The table of pretrained networks; with milliseconds where `threads` says that they were measured."""
    table = []
    for row in rows:
        cells = [
            row.model,
            "installed" if row.installed_as else "hub",
            f"{row.parameters_millions:,.2f} M",
            str(row.input_size),
            f"{row.top1:.3f}",
            f"{row.top5:.3f}",
        ]
        if threads is not None and row.timing is not None:
            cells += [f"{row.timing.median:.1f}", f"{row.timing.low:.1f} to {row.timing.high:.1f}"]
        table.append(tuple(cells))
    measured = () if threads is None else ("CPU ms", "half within")
    _print_table(("model", "weights"), ("parameters", "input px", "top-1 %", "top-5 %", *measured), table)


def _weights(facts: NetworkFacts) -> str:
    if facts.licence == "none":
        return "none are published: it is trained from random ones"
    where = "installed" if facts.offline else "from the hub"
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (facts.mean, facts.std))
    return (
        f"{where}, licence {facts.licence}; trained at {facts.input_size} px, {facts.interpolation}, "
        f"mean ({mean}), std ({std})"
    )


def _short(number: int) -> str:
    """`1.81 G` for 1,814,073,344."""
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            figure = number / size
            return f"{figure:,.{2 if figure < 10 else 1 if figure < 100 else 0}f} {unit}"
    return str(number)


def _print_table(words: Iterable[str], numbers: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under the headings of words, then those of numbers, which stand to the right."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, header_style="bold")
    for heading in words:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(file=sys.stdout, width=None if terminal else PLAIN_WIDTH, highlight=False)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines()))
