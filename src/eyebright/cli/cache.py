"""`eyebright cache`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eyebright.cli.shell import HELP_OPTIONS, json_before_action, print_json, verb_with_actions
from eyebright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from eyebright.data.cache_contents import Part
    from eyebright.jobs.run_space import RunSpace

command = verb_with_actions("cache")

NAME_LETTERS = 30
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_AGES = ((86400, "day"), (3600, "hour"), (60, "minute"))

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
Runs = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="A run, or a folder of runs, instead of the cache.", show_default=False),
]


@command.callback(invoke_without_command=True)
def cache(context: typer.Context, runs: Runs = None, json_: Json = False) -> None:
    """What Eyebright keeps on the disk, and cleaning it.

    The cache ($EYEBRIGHT_CACHE, or eyebright in your cache folder) holds what can be made again: decoded images,
    features, unpacked archives, fetched files. Without an action this lists it. With --runs it shows what runs take.

    \b
    Examples:
      eyebright cache
      eyebright cache clean --older-than 30d
      eyebright cache clean --keep-bytes 10GiB --yes
      eyebright cache --runs runs/
    """
    if context.invoked_subcommand is None:
        _list_runs(runs, json_) if runs is not None else _list_cache(json_)
    elif json_:
        raise json_before_action("cache", context.invoked_subcommand)
    elif runs is not None:
        raise UsageError(
            "--runs stands before the action", expected=f"eyebright cache {context.invoked_subcommand} --runs DIR ..."
        )


@command.command(context_settings=HELP_OPTIONS)
def clean(
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Not of use for longer, as 30d or 12h.", show_default=False)
    ] = None,
    larger_than: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Parts larger than this, as 1GiB.", show_default=False)
    ] = None,
    keep_bytes: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Only until no more than this is left, as 10GiB.", show_default=False),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Of this kind: packs, embeddings, properties, ...; repeatable.", show_default=False),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --checkpoints: where the runs are.", show_default=False)
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Checkpoints of complete runs below --runs, and nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Remove parts of the cache, those that were not of use for longest first. Conditions hold together.

    What a process works with, what people put there and what Eyebright does not know stay. A half-done pack that
    nobody has touched for a day, and files of processes that died, go each time.

    \b
    Examples:
      eyebright cache clean --older-than 30d --dry-run
      eyebright cache clean --kind packs --keep-bytes 10GiB
      eyebright cache clean --checkpoints --runs runs/
    """
    if checkpoints != (runs is not None):
        raise UsageError("--checkpoints and --runs belong together", expected="--checkpoints --runs DIR, or neither")
    conditions = (older_than, larger_than, keep_bytes, kind or None)
    if runs is not None:
        if any(condition is not None for condition in conditions):
            raise UsageError(
                "conditions choose parts of the cache, not checkpoints", expected="--checkpoints --runs DIR"
            )
        _clean_checkpoints(runs, dry_run=dry_run, yes=yes, as_json=json_)
    else:
        _clean_cache(*conditions, dry_run=dry_run, yes=yes, as_json=json_)


def _clean_cache(
    older_than: str | None, larger_than: str | None, keep_bytes: str | None, kinds: list[str] | None,
    *, dry_run: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    from eyebright.data.cache import default_cache
    from eyebright.jobs.cache import Wanted, choose, parse_age, parse_bytes, remove_parts

    root = default_cache()
    wanted = Wanted(
        kinds=kinds or (),
        older_than_seconds=None if older_than is None else parse_age(older_than),
        larger_than_bytes=None if larger_than is None else parse_bytes(larger_than),
        keep_bytes=None if keep_bytes is None else parse_bytes(keep_bytes),
    )
    choice = choose(root, wanted)
    if not as_json:
        for part in choice.remove:
            print(_part_line(part))
        for part in choice.spared:
            print(f"stays, in use: {part.kind}/{part.path.name}")
        print(f"{_number(choice.remove, 'part')} of {root}, {_bytes_text(choice.bytes)}")
    agreed = not dry_run and bool(choice.remove) and _agreed(yes)
    removed, kept = remove_parts(choice.remove) if agreed else ([], [])
    if as_json:
        print_json({
            "cache": str(root), "dry_run": dry_run, "chosen": [_part_facts(part) for part in choice.remove],
            "removed": [str(part.path) for part in removed], "bytes_removed": sum(part.bytes for part in removed),
            "in_use": [str(part.path) for part in (*choice.spared, *kept)],
        })  # fmt: skip
    elif agreed:
        for part in kept:
            print(f"stays, in use meanwhile: {part.kind}/{part.path.name}")
        print(f"removed {_number(removed, 'part')}, {_bytes_text(sum(part.bytes for part in removed))}")
        _print_consequences(removed)
    elif dry_run:
        print("nothing was removed (--dry-run)")


def _print_consequences(removed: Sequence[Part]) -> None:
    from eyebright.data.cache_contents import KINDS

    for kind in dict.fromkeys(part.kind for part in removed):
        print(f"a run that needs the removed {kind}: {KINDS[kind].again}")


def _clean_checkpoints(folder: Path, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    from eyebright.jobs.run_space import remove_checkpoints, run_spaces

    chosen = [space for space in run_spaces(folder) if space.spare]
    size = sum(space.bytes["checkpoint"] for space in chosen)
    if not as_json:
        for space in chosen:
            print(f"{_bytes_text(space.bytes['checkpoint']):>10}  {space.path / 'checkpoint'}")
        print(f"{_number(chosen, 'checkpoint')} of complete runs, {_bytes_text(size)}")
        if chosen:
            print("`eyebright resume` cannot go on with these runs then; their classifiers and reports stay")
    agreed = not dry_run and bool(chosen) and _agreed(yes)
    removed = remove_checkpoints(chosen) if agreed else []
    gained = sum(space.bytes["checkpoint"] for space in removed)
    if as_json:
        print_json({
            "runs": str(folder), "dry_run": dry_run, "chosen": [str(space.path / "checkpoint") for space in chosen],
            "removed": [str(space.path / "checkpoint") for space in removed], "bytes_removed": gained,
        })  # fmt: skip
    elif agreed:
        print(f"removed {_number(removed, 'checkpoint')}, {_bytes_text(gained)}")
    elif dry_run:
        print("nothing was removed (--dry-run)")


def _agreed(yes: bool) -> bool:
    """Ask on a terminal; elsewhere the user must have said so beforehand."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody can be asked whether to remove these parts", expected="--yes, or a terminal", remedy="add --yes"
        )
    return typer.confirm("Remove them?", err=True)


def _list_cache(as_json: bool) -> None:
    from eyebright.data.cache import default_cache
    from eyebright.data.cache_contents import KINDS, OWN, list_parts

    root = default_cache()
    parts = list_parts(root)
    total = sum(part.bytes for part in parts)
    if as_json:
        print_json({"cache": str(root), "bytes": total, "parts": [_part_facts(part) for part in parts]})
        return
    print(f"{root}: {_bytes_text(total)}")
    for name in (*KINDS, OWN, "unknown"):
        several = [part for part in parts if part.kind == name]
        if several:
            what = KINDS[name].line if name in KINDS else "left alone"
            print(f"\n{name}: {what}, {_bytes_text(sum(part.bytes for part in several))}")
            for part in several:
                print(_part_line(part))
    if parts:
        print("\n`eyebright cache clean` removes what can be made again; nothing else is ever touched")


def _list_runs(folder: Path, as_json: bool) -> None:
    from eyebright.jobs.run_space import SHARES, run_spaces

    spaces = run_spaces(folder)
    total = sum(space.total for space in spaces)
    if as_json:
        print_json({"runs": str(folder), "bytes": total, "parts": [_run_facts(space) for space in spaces]})
        return
    width = min(NAME_LETTERS, max(len(space.path.name) for space in spaces))
    print(f"{folder}: {_bytes_text(total)}\n")
    print(f"{'run':<{width}}  {'state':<11}", *(f"{name:>10}" for name in ("total", *SHARES)), sep="  ")
    for space in spaces:
        sizes = (space.total, *(space.bytes[share] for share in SHARES))
        name = _shortened(space.path.name, width)
        print(f"{name:<{width}}  {space.state:<11}", *(f"{_bytes_text(size):>10}" for size in sizes), sep="  ")
    if any(space.spare for space in spaces):
        print("\n`eyebright cache clean --checkpoints --runs DIR` removes the checkpoints of complete runs")


def _part_line(part: Part) -> str:
    now = time.time()
    name = _shortened(part.path.name, NAME_LETTERS)
    times = f"made {_age(now - part.made)}, used {_age(now - part.used)}"
    notes = ", ".join(filter(None, ("" if part.state == "ready" else part.state, part.details)))
    return f"{_bytes_text(part.bytes):>10}  {name:<{NAME_LETTERS}}  {times:<42}  {notes}".rstrip()


def _part_facts(part: Part) -> dict[str, Any]:
    return {
        "kind": part.kind, "path": str(part.path), "bytes": part.bytes, "made": _moment(part.made),
        "used": _moment(part.used), "state": part.state, "details": part.details,
    }  # fmt: skip


def _run_facts(space: RunSpace) -> dict[str, Any]:
    return {
        "path": str(space.path), "state": space.state, "bytes": space.total, "shares": space.bytes,
        "checkpoint_of_complete_run": space.spare,
    }  # fmt: skip


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _age(seconds: float) -> str:
    for unit_seconds, unit in _AGES:
        count = int(seconds // unit_seconds)
        if count:
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 3]}..."


def _number(several: Sized, name: str) -> str:
    return f"{len(several):,} {name}{'s' * (len(several) != 1)}"


def _bytes_text(count: int) -> str:
    value, unit = float(count), 0
    while value >= 1023.95 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
