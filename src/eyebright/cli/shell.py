"""What all verbs share: turning a function into a command, errors into messages and exit codes, and the two outputs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import typer

from eyebright.errors import EyebrightError, Interrupted, StorageError
from eyebright.progress import Progress

EXIT_BUG = 70


def run_verb(verb: str, command: Callable[..., None], arguments: list[str]) -> int:
    """Parse the arguments of a verb, run it, and return its exit code."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name=verb, no_args_is_help=False, context_settings={"help_option_names": ["--help", "-h"]})(command)
    as_json = "--json" in arguments
    try:
        typer.main.get_command(app).main(arguments, prog_name=f"eyebright {verb}", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _fail(
            {"error": "UsageError", "problem": error.format_message(), "exit_code": 2},
            f"{error.format_message()}\nsee `eyebright {verb} --help`",
            as_json,
        )
    except EyebrightError as error:
        return _fail(error.as_dict(), str(error), as_json)
    except (KeyboardInterrupt, click.exceptions.Abort):
        stopped = Interrupted("stopped by the user")
        return _fail(stopped.as_dict(), str(stopped), as_json)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): what it wanted was written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        full = EyebrightError(
            "the memory is full",
            remedy="train at a smaller size (--size) or with a smaller batch (--set optim.batch_size=16)",
        )
        return _fail(full.as_dict(), str(full), as_json)
    except OSError as error:
        failed = StorageError(f"{error.filename or 'a file'}: {error.strerror or error}")
        return _fail(failed.as_dict(), str(failed), as_json)
    return 0


def _fail(facts: dict[str, Any], message: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    first, *rest = message.splitlines()
    print(f"eyebright: {first}", *(f"  {line.strip()}" for line in rest), sep="\n", file=sys.stderr)
    return int(facts["exit_code"])


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


@contextlib.contextmanager
def progress_on_screen(quiet: bool = False) -> Iterator[Progress]:
    """Progress on standard error: bars with time left on a terminal, plain lines elsewhere, nothing when quiet."""
    from eyebright.cli.screen import Lines, Screen
    from eyebright.progress import Silent

    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with Screen() as screen:
            yield screen
    else:
        yield Lines()
