"""`eyebright datasets`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.shell import HELP_OPTIONS, json_before_action, print_json, verb_with_actions

if TYPE_CHECKING:
    from eyebright.data.sources.catalogue import CatalogueEntry

command = verb_with_actions("datasets")

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Replace = Annotated[bool, typer.Option("--replace", help="Write over an entry of that name.")]


@command.callback(invoke_without_command=True)
def datasets(context: typer.Context, json_: Json = False) -> None:
    """Data sets that have a name.

    Some are built in. The others stand in your catalogue, one small YAML file each, in $EYEBRIGHT_CATALOGUE or
    ~/.local/share/eyebright/datasets. Every command takes a name where it takes a path; a path that exists comes
    first. Without an action this lists them.

    \b
    Examples:
      eyebright datasets
      eyebright datasets add birds ~/photos/birds
      eyebright train birds --budget 5m
    """
    if context.invoked_subcommand is None:
        list_(json_)
    elif json_:
        raise json_before_action("datasets", context.invoked_subcommand)


@command.command(name="list", context_settings=HELP_OPTIONS)
def list_(json_: Json = False) -> None:
    """List all names, built in and of the catalogue.

    \b
    Example:
      eyebright datasets list --json
    """
    from eyebright.jobs.datasets import list_datasets

    found = list_datasets()
    if json_:
        print_json({name: _entry_facts(entry) for name, entry in found.items()})
        return
    for name, entry in found.items():
        facts = _entry_facts(entry)
        where = facts.get("path") or facts.get("problem") or ", ".join(facts.get("parts", ()))
        print(f"{name:<24} {facts['kind']:<9} {where}".rstrip())


@command.command(context_settings=HELP_OPTIONS)
def show(
    name: Annotated[str, typer.Argument(help="Name of a data set.", show_default=False)], json_: Json = False
) -> None:
    """Show what a name stands for: kind, place, classes, and images of each split.

    No image is decoded. A set on a server is not opened.

    \b
    Example:
      eyebright datasets show digits
    """
    from eyebright.jobs.datasets import describe_dataset

    facts = describe_dataset(name)
    if json_:
        print_json({
            "name": facts.name, **_entry_facts(facts.entry), "kind": facts.kind, "classes": facts.classes,
            "counts": facts.counts, "unlabelled": facts.unlabelled, "problem": facts.problem,
        })  # fmt: skip
        return
    print(f"{facts.name}: {facts.kind or 'cannot be opened'}")
    if facts.entry is not None:
        _print_entry(facts.entry)
    if facts.problem is not None:
        print(f"problem: {facts.problem}")
    if facts.unlabelled:
        print(f"images without a class: {facts.unlabelled}")
    if facts.counts:
        print()
        _print_table("class", list(facts.counts), {
            label: [counts[label] for counts in facts.counts.values()] for label in facts.classes
        })  # fmt: skip


@command.command(context_settings=HELP_OPTIONS)
def add(
    name: Annotated[str, typer.Argument(help="The new name.", show_default=False)],
    path: Annotated[str, typer.Argument(help="A path in any form that `train` takes, or a URL.", show_default=False)],
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Give a path or URL a name. The images stay where they are.

    \b
    Example:
      eyebright datasets add birds ~/photos/birds
    """
    from eyebright.jobs.datasets import add_dataset

    entry, file = add_dataset(name, path, replace=replace)
    _note_if_hidden(name)
    if json_:
        print_json({"name": name, **_entry_facts(entry), "file": str(file)})
    else:
        print(f"{name} stands for {entry.reference}")


@command.command(context_settings=HELP_OPTIONS)
def remove(
    name: Annotated[str, typer.Argument(help="A name of the catalogue.", show_default=False)], json_: Json = False
) -> None:
    """Remove a name from the catalogue. Images are never touched.

    \b
    Example:
      eyebright datasets remove birds
    """
    from eyebright.data.sources.catalogue import remove_entry

    remove_entry(name)
    if json_:
        print_json({"removed": name})
    else:
        print(f"{name} was removed from the catalogue; its images are where they were")


@command.command(context_settings=HELP_OPTIONS)
def combine(
    parts: Annotated[
        list[str],
        typer.Argument(
            help="Two or more data sets, by path or name; NAME=DATA chooses the name of the part.", show_default=False
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Name of the combined set.", metavar="NAME")
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map", help="YAML file: old: new, old: null (left out), new: [old, old] (merged).", show_default=False
        ),
    ] = None,
    same_names: Annotated[
        bool, typer.Option("--same-names", help="A class name that several parts have means the same class.")
    ] = False,
    replace: Replace = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the classes that would result; write nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Put several data sets into one, by reference: no image is copied.

    Classes keep their names unless --map says otherwise; two become one only where you say so. The column `dataset`
    says which part an image came from, and a run on the combined set gives its accuracy for each part.

    \b
    Examples:
      eyebright datasets combine photos/ web=downloads/pets -o pets --same-names
      eyebright datasets combine animali/ pets -o animals --map map.yaml --dry-run
    """
    from eyebright.data.sources.class_mapping import ClassMapping
    from eyebright.jobs import datasets as jobs

    mapping = None if map_ is None else ClassMapping.read(map_)
    made = jobs.combine(parts, output, mapping=mapping, same_names=same_names, replace=replace, dry_run=dry_run)
    if made.file is not None:
        _note_if_hidden(made.entry.name)
    if json_:
        print_json({
            "name": made.entry.name, **_entry_facts(made.entry), "classes": made.classes, "left_out": made.left_out,
            "notes": list(made.notes), "file": None if made.file is None else str(made.file),
        })  # fmt: skip
        return
    _print_table("class", list(made.entry.parts), {name: list(row.values()) for name, row in made.classes.items()})
    for part, classes in made.left_out.items():
        print(f"left out of {part}: " + ", ".join(f"{name} ({count})" for name, count in classes.items()))
    for note in made.notes:
        print(f"note: {note}")
    print("nothing was written" if made.file is None else f"{made.entry.name} was written to {made.file}")


def _entry_facts(entry: Any) -> dict[str, Any]:
    """Kind and place of an entry, of a built-in set (None), or of an entry that cannot be read (its error)."""
    from eyebright.errors import EyebrightError

    if entry is None:
        return {"kind": "built-in"}
    if isinstance(entry, EyebrightError):
        return {"kind": "broken", "problem": entry.problem}
    if entry.reference is not None:
        return {"kind": entry.kind, "path": str(entry.reference)}
    parts = {part: str(reference) for part, reference in entry.parts.items()}
    return {"kind": entry.kind, "parts": parts, "mapping": entry.mapping.as_dict()}


def _print_entry(entry: CatalogueEntry) -> None:
    if entry.reference is not None:
        print(f"at {entry.reference}")
        return
    for part, reference in entry.parts.items():
        print(f"part {part}: {reference}")
    mapping = entry.mapping.as_dict()
    if mapping:
        import yaml

        text = str(yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True, default_flow_style=None))
        print("mapping:", *text.splitlines(), sep="\n  ")


def _print_table(title: str, columns: list[str], rows: dict[str, list[int]]) -> None:
    """Counts with their sums, the columns as wide as they need to be."""
    first = max(len(title), len("all"), *(len(name) for name in rows)) if rows else len(title)
    widths = [max(len(name), 9) for name in columns]
    print(f"{title:<{first}}", *(f"{name:>{width}}" for name, width in zip(columns, widths, strict=True)), sep="  ")
    sums = [sum(column) for column in zip(*rows.values(), strict=True)] if rows else [0] * len(columns)
    for name, counts in [*rows.items(), ("all", sums)]:
        print(f"{name:<{first}}", *(f"{c:>{width},}" for c, width in zip(counts, widths, strict=True)), sep="  ")


def _note_if_hidden(name: str) -> None:
    if Path(name).exists():
        print(f"note: here, the path {name} comes before the name; in other folders the name is found", file=sys.stderr)
