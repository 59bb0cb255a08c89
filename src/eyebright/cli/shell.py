"""What all verbs share: turning a function into a command, errors into messages and exit codes, and the two outputs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import typer

from eyebright.errors import EyebrightError, Interrupted, StorageError, UsageError, did_you_mean
from eyebright.progress import Progress

EXIT_BUG = 70
HELP_OPTIONS = {"help_option_names": ["--help", "-h"]}


def verb_with_actions(verb: str) -> typer.Typer:
    """A verb that takes actions, as `eyebright datasets add`: each is a command of the app that comes back."""
    return typer.Typer(
        name=verb,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=HELP_OPTIONS,
        subcommand_metavar="[ACTION] [OPTIONS]",
    )


def json_before_action(verb: str, action: str) -> UsageError:
    """The error for `eyebright VERB --json ACTION`: the option belongs to the action."""
    return UsageError("--json stands before the action", expected=f"eyebright {verb} {action} ... --json")


def run_verb(verb: str, command: Callable[..., None] | typer.Typer, arguments: list[str]) -> int:
    """Parse the arguments of a verb, run it, and return its exit code."""
    if isinstance(command, typer.Typer):
        app = command
    else:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(name=verb, no_args_is_help=False, context_settings=HELP_OPTIONS)(command)
    as_json = "--json" in arguments
    parser = typer.main.get_command(app)
    actions = list(getattr(parser, "commands", ()))
    shown = f"{verb} {arguments[0]}" if arguments and arguments[0] in actions else verb
    try:
        if actions and arguments and not arguments[0].startswith("-") and arguments[0] not in actions:
            unknown = arguments[0]
            raise UsageError(
                f"there is no action {unknown!r}{did_you_mean(unknown, actions)}",
                expected=f"one of {', '.join(actions)}",
            )
        # Not `parser.main`: it turns an interrupt and a closed pipe into exit codes of its own.
        with parser.make_context(f"eyebright {verb}", list(arguments)) as context:
            parser.invoke(context)
        sys.stdout.flush()  # a closed pipe may show only here
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        return _fail(_usage_error(error), shown, as_json)
    except EyebrightError as error:
        return _fail(error, shown, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(Interrupted("stopped by the user"), verb, as_json)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): what it wanted was written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        full = EyebrightError(
            "the memory is full",
            remedy="train at a smaller size (--size) or with a smaller batch (--set optim.batch_size=16)",
        )
        return _fail(full, verb, as_json)
    except OSError as error:
        failed = StorageError(
            f"{error.filename or 'a file'}: {error.strerror or error}", remedy="check the path, its rights and the disk"
        )
        return _fail(failed, verb, as_json)
    except Exception as error:  # whatever is left is a mistake of ours, and its place is worth knowing
        traceback.print_exc()
        bug = EyebrightError(
            f"a mistake in Eyebright itself: {type(error).__name__}: {error}",
            remedy="report it with the command and the lines above; nothing half-written was kept",
        )
        bug.exit_code = EXIT_BUG
        return _fail(bug, verb, as_json)
    return 0


def _usage_error(error: typer.TyperException) -> UsageError:
    """What the parser of the command line complains of, with the value that it leaves out."""
    problem = error.format_message()
    details = getattr(error.__cause__, "errors", None)  # pydantic checks the values of options
    if callable(details):
        problem = f"{problem.rstrip('.')} (received {details()[0]['input']!r})"
    return UsageError(problem)


def _fail(error: EyebrightError, verb: str, as_json: bool) -> int:
    if isinstance(error, UsageError) and error.remedy is None:
        error = type(error)(error.problem, expected=error.expected, remedy=f"see `eyebright {verb} --help`")
    if as_json:
        print(json.dumps(error.as_dict(), ensure_ascii=False))
    first, *rest = str(error).splitlines()
    print(f"eyebright: {first}", *(f"  {line.strip()}" for line in rest), sep="\n", file=sys.stderr)
    return error.exit_code


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def leads() -> bool:
    """Whether this process speaks: it is not one of the others that torchrun has started."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def progress_on_screen(quiet: bool = False) -> Iterator[Progress]:
    """Progress on standard error: bars with time left on a terminal, plain lines elsewhere, nothing when quiet."""
    from eyebright.cli.screen import Lines, Screen
    from eyebright.progress import Silent

    if quiet or not leads():
        yield Silent()
    elif sys.stderr.isatty():
        with Screen() as screen:
            yield screen
    else:
        yield Lines()
