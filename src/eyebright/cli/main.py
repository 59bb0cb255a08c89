"""`eyebright`: the command line. Each verb's module is imported when the verb is called, so that help costs nothing."""

from __future__ import annotations

import time

STARTED = time.monotonic()  # the budget of `train` counts from here

import sys  # noqa: E402
from importlib import import_module  # noqa: E402

from eyebright.errors import did_you_mean  # noqa: E402

VERBS = {
    "audit": "Look at your images before anything is learnt from them.",
    "train": "Train a classifier on your images, within a time budget.",
    "lr-find": "Find a learning rate for your images and a recipe.",
    "resume": "Continue a run that was interrupted or killed.",
    "predict": "Classify images, folders or tables.",
    "evaluate": "Score a classifier on labelled images that it has not seen.",
    "explain": "Show what a classifier looks at in an image.",
    "compare": "Compare classifiers on the same images.",
    "report": "Write the report of a run again, a leaderboard of many runs, or the report of a table of predictions.",
    "verify": "Check that a classifier still says what it said when it was made.",
    "models": "Networks that can be trained.",
    "datasets": "Data sets that have a name.",
    "recipes": "Ways to train.",
    "cache": "What Eyebright keeps on the disk, and cleaning it.",
}
"""Verb and its line in the help."""

HELP = """\
Usage: eyebright VERB [OPTIONS]

From a folder of images to a classifier that you can trust.

Verbs:
{verbs}

Options:
  --version   Show the version.
  --help      Show this help; `eyebright VERB --help` shows that of a verb, with examples.

Examples:
  eyebright audit photos/
  eyebright train photos/ --budget 5m
  eyebright predict runs/NAME photo.jpg folder/ --json
  eyebright explain runs/NAME photo.jpg
  eyebright compare runs/ONE runs/ANOTHER
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code. Never raises an `EyebrightError`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        width = max(map(len, VERBS))
        print(HELP.format(verbs="\n".join(f"  {verb:<{width}}   {line}" for verb, line in VERBS.items())), end="")
        return 0 if arguments else 2
    if arguments[0] in ("--version", "-V"):
        import eyebright

        print(f"eyebright {eyebright.__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(
            f"eyebright: there is no verb {verb!r}{did_you_mean(verb, VERBS)}\n  expected: one of {', '.join(VERBS)}\n"
            "  to fix it: see `eyebright --help`",
            file=sys.stderr,
        )
        return 2
    from eyebright.cli.shell import run_verb

    return run_verb(verb, import_module(f"eyebright.cli.{verb.replace('-', '_')}").command, rest)


def entry() -> None:
    """Entry point of the installed command."""
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold what the terminal's encoding lacks: show it escaped rather than fail.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
