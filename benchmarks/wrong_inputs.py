"""What a user sees who makes a mistake: runs every kind of wrong input and writes docs/wrong-inputs.md.

    .venv/bin/python benchmarks/wrong_inputs.py

The kinds and what each must answer are those of the test (tests/cli/wrong_input_cases.py). Takes about half a minute.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "cli"))

from wrong_input_cases import CASES, SCRATCH, Answer, Case, ask, place_in  # noqa: E402

TABLE = ROOT / "docs" / "wrong-inputs.md"
MOST_LINES = 8
HEAD = """\
# Wrong input, and what Eyebright says to it

Every line is run by a test (`tests/cli/test_wrong_input.py`), which also checks that there is no traceback and that
nothing half-written is left. This page is written by `benchmarks/wrong_inputs.py`. Exit codes: 2 wrong usage, 3 wrong
data, 4 no usable bundle or run, 5 a bundle that says something else than it did, 7 storage, 8 something is not
installed here.

| kind | command | exit code | what the user sees |
|---|---|---|---|
"""


def finished_run(folder: Path) -> tuple[Path, Path]:
    """A run and the images that it was trained on."""
    with place_in(folder, run=folder, seen=folder) as place:
        seen = place.images("stripes", classes=("angle-0", "angle-1", "angle-2"), each=30)
        answer = ask(["train", seen, *SCRATCH, "--output", folder / "runs", "--name", "stripes"])
    if answer.code:
        raise SystemExit(answer.messages)
    return folder / "runs" / "stripes", seen


def shown(text: str, *, folder: Path, run: Path) -> str:
    """The text without paths of this machine and without times."""
    for path in (folder, folder.resolve()):
        text = text.replace(f"{path}/", "").replace(str(path), ".")
    return re.sub(r"\d{8}-\d{6}", "TIME", text.replace(str(run), "runs/stripes"))


def row(case: Case, arguments: Sequence[str | Path], answer: Answer, *, folder: Path, run: Path) -> str:
    """One line of the table."""
    told = answer.messages
    if "eyebright:" in told:  # leave out what was told of the progress before
        told = told[told.index("eyebright:") :]
    lines = [line.strip() for line in f"{answer.output}{told}".splitlines() if line.strip()]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 3], "...", *lines[-2:]]
    command = " ".join(
        ["eyebright", *(f"'{word}'" if re.search(r"[\s\[]", word) else word for word in map(str, arguments))]
    )
    cells = [case.kind, f"`{command}`", str(answer.code), "<br>".join(line.replace("<", "&lt;") for line in lines)]
    return "| " + " | ".join(shown(cell, folder=folder, run=run).replace("|", "\\|") for cell in cells) + " |\n"


def main() -> int:
    """Run all cases; returns how many were answered with another exit code than they should."""
    wrong = 0
    table = HEAD
    with tempfile.TemporaryDirectory() as temporary:
        run, seen = finished_run(Path(temporary) / "made")
        for number, case in enumerate(CASES):
            folder = Path(temporary) / f"case-{number}"
            with place_in(folder, run=run, seen=seen) as place, contextlib.chdir(folder):
                arguments = case.command(place)
                answer = ask(arguments)
            wrong += answer.code != case.code
            print(f"{answer.code:>3}  {case.kind}", flush=True)
            table += row(case, arguments, answer, folder=folder, run=run)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table, encoding="utf-8")
    print(f"{len(CASES)} kinds, {wrong} with a wrong exit code; written to {os.path.relpath(TABLE)}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
