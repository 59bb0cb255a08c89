"""Faults planted into flowers: what the audit finds of them, and what cleanvision, imagededup and cleanlab find.

The peers' environment, which borrows torch, timm, scikit-learn and cleanlab from this one, and the benchmark:

    python -m venv build/peers && python -c "import sysconfig as s; print(s.get_path('purelib'))" > build/peers/lib/python3.11/site-packages/base.pth && build/peers/bin/pip install --no-deps imagededup==0.3.3 cleanvision==0.3.7 imagehash==4.3.2 PyWavelets==1.9.0 tabulate==0.10.0 datasets==5.2.0 dill==0.4.1 xxhash==4.1.0 multiprocess==0.70.19 httpx==0.28.1 httpcore==1.0.9 sniffio==1.3.1
    python benchmarks/planted_faults.py --peer-python build/peers/bin/python --results runs/planted.jsonl

Each tool runs in a process of its own on the same folder, one after the other, on all cores, ours with an empty cache;
`audit_tools` says with which settings. Each answer is a line of the file of results: a run that was killed goes on
where it stopped, and `--report FILE` prints the tables again.

What is scored, and how (`planting` says what is planted):

    near-duplicates   Pairs of files. Recall: share of the planted pairs (original, copy) that are reported. Precision:
                      share of the right ones among the reported pairs with at least one planted copy. Such a pair is
                      right when both files come from the same image of the untouched data, or from two that are
                      duplicates by nature: the same bytes, or judged so by a person, who looked at the two in the
                      untouched data (`natural_duplicates.json`, list `same`; `different` holds what was looked at and
                      is not). Pairs of two untouched images are only counted. Pairs with a stray or broken file do not
                      count: some of them are copies of an image.
    leaks             The same for pairs that lie in two splits.
    wrong labels      Average precision of the ranking of all readable images (one less the probability of the given
                      label, as each tool has it) against the planted ones, and recall and precision of the flagged
                      ones. Labels that were wrong in flowers before count as false alarms for every tool.
    files             Recall of the broken files among those said to be unreadable, and of the strays; a stray that is
                      said to be unreadable is not held against a tool, nor the other way round.
    shortcut          Found when a finding of severity warning or critical names the class with the other JPEG quality
                      first. On the untouched data there must be no such finding.

Seconds are those of the whole process, imports included; memory is that of its largest process.
"""  # noqa: E501

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit_tools import TOOLS
from contact_sheets import draw_sheets
from fault_scoring import (
    Judged,
    Truth,
    grave_shortcuts,
    score_duplicates,
    score_files,
    score_labels,
    score_shortcut,
    wrong_pairs,
)
from machine import describe
from planting import CHANGES, plant

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
MOST_DOUBTFUL = 200

Line = dict[str, Any]


def run_tool(tool: str, folder: Path, peer_python: str | None) -> list[dict[str, Any]] | None:
    """What a tool says of a folder; None, with its last words on the screen, when it fails."""
    python = sys.executable if tool == "ours" else peer_python
    assert python is not None, "peers need --peer-python"
    script = Path(__file__).with_name("audit_tools.py")
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / "answer.json"
        done = subprocess.run(
            [python, str(script), tool, str(folder), str(answer)],
            capture_output=True,
            text=True,
            env=os.environ | {"EYEBRIGHT_CACHE": f"{scratch}/cache"},
        )
        if done.returncode:
            print(f"{tool} failed:\n" + "\n".join(done.stderr.splitlines()[-8:]), file=sys.stderr, flush=True)
            return None
        parts: list[dict[str, Any]] = json.loads(answer.read_text())
        return parts


def truth_line(data: Path, root: Path, seed: int) -> Line:
    """Plant, and say what was planted."""
    planted = plant(data, root, seed=seed)
    same: dict[bytes, list[str]] = defaultdict(list)
    for path in sorted(data.glob("*/*")):
        same[hashlib.blake2b(path.read_bytes()).digest()].append(f"{path.parent.name}/{path.name}")
    return {
        "seed": seed,
        "tool": "planted",
        "data": data.name,
        "wrong": planted.wrong,
        "copies": [[*pair, change] for pair, change in planted.copies.items()],
        "leaks": sorted(map(list, planted.leaks)),
        "shortcut": planted.shortcut,
        "broken": sorted(planted.broken),
        "strays": sorted(planted.strays),
        "origins": planted.origins,
        "twins": [[one, other] for places in same.values() for one in places for other in places if one < other],
    }


def shortened(part: dict[str, Any], truth: Truth) -> dict[str, Any]:
    """Without the pairs of two untouched images, of which a tool may report a hundred thousand: their number stays."""
    part = {name: value for name, value in part.items() if name != "links"}
    if "pairs" in part:
        counted = [tuple(pair) for pair in part["pairs"] if truth.counts(tuple(pair))]
        part["pairs"] = [pair for pair in counted if truth.of_copy(pair)]
        part["untouched"] = len(counted) - len(part["pairs"])
    return part


def read_lines(path: Path) -> list[Line]:
    """The results so far; the last line of a run that was killed may be cut, and is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            print(f"{path}: left out a line that is cut", file=sys.stderr)
    return lines


def append(path: Path, line: Line) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cut = path.exists() and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(line) + "\n")


def run_all(given: argparse.Namespace) -> bool:
    """Run what is not in the results yet; whether every tool gave an answer."""
    lines = read_lines(given.results)
    have = {(line["seed"], line["tool"]): line for line in lines}
    complete = True
    machine = describe()
    for seed in given.seeds:
        missing = [tool for tool in given.tools if (seed, tool) not in have]
        if not missing:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "planted"
            planted = truth_line(given.data, root, seed)
            if (seed, "planted") not in have:
                append(given.results, planted)
            elif json.loads(json.dumps(planted)) != have[seed, "planted"]:
                raise SystemExit(f"{given.results} holds other faults for seed {seed}: begin a new file")
            truth = Truth(planted, Judged.read())
            for tool in missing:
                parts = run_tool(tool, root, given.peer_python)
                complete &= parts is not None
                if parts is not None:
                    parts = [shortened(part, truth) for part in parts]
                    append(given.results, {"seed": seed, "tool": tool, "machine": machine, "parts": parts})
                    for part in parts:
                        print(f"seed {seed} {part['what']}: {part['seconds']:.0f} s", file=sys.stderr, flush=True)
    for data in given.untouched if "ours" in given.tools else ():
        if (data.name, "ours") not in have:
            parts = run_tool("ours", data, None)
            complete &= parts is not None
            for part in parts or ():  # only its shortcuts are asked for
                kept = {name: part[name] for name in ("what", "seconds", "shortcuts", "packages", "settings")}
                append(given.results, {"seed": data.name, "tool": "ours", "machine": machine, "parts": [kept]})
    return complete


def spread(values: Iterable[float | None], form: str = ".3f") -> str:
    """Median (least to most)."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    middle, low, high = (f"{value:{form}}" for value in (statistics.median(known), min(known), max(known)))
    return middle if len(known) == 1 else f"{middle} ({low} to {high})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def report(lines: Sequence[Line], judged: Judged) -> str:
    """The tables."""
    truths = {line["seed"]: Truth(line, judged) for line in lines if line["tool"] == "planted"}
    answers: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    untouched: dict[str, dict[str, Any]] = {}
    for line in lines:
        for part in line.get("parts", ()):
            if line["seed"] in truths:
                answers[part["what"]][line["seed"]] = part
            else:
                untouched[line["seed"]] = part

    def rows(
        score: Callable[[Truth, Mapping[str, Any]], Mapping[str, float | None]],
        needs: str,
        columns: Sequence[str],
        forms: Mapping[str, str] | None = None,
    ) -> Iterable[list[str]]:
        for what, by_seed in answers.items():
            scored = [score(truths[seed], part) for seed, part in by_seed.items() if needs in part]
            if scored:
                shown = [spread([one[name] for one in scored], (forms or {}).get(name, ".3f")) for name in columns]
                yield [what, *shown]

    near = ["recall", "precision", "leak recall", "leak precision", "not judged", "untouched"]
    of_labels = ["average precision", "recall", "precision", "flagged"]
    of_files = ["unreadable recall", "unreadable precision", "strays recall", "strays precision"]
    example = next(iter(truths.values()))
    pieces = [
        *dict.fromkeys(line["machine"] for line in lines if "machine" in line),
        f"{len(truths)} seeds; median (least to most). Planted for each: {len(example.wrong)} wrong labels, "
        f"{len(example.change)} near-duplicates of which {len(example.leaks)} in another split, "
        f"{len(example.broken)} broken files, {len(example.strays)} strays, one class at another JPEG quality, among "
        f"{len(example.origins)} images.",
        "Near-duplicates and leaks (pairs)",
        table(["tool", *near], rows(score_duplicates, "pairs", near, {"not judged": ".0f", "untouched": ".0f"})),
        "Recall of near-duplicates by change",
        table(["tool", *CHANGES], rows(score_duplicates, "pairs", CHANGES)),
        "Wrong labels",
        table(["tool", *of_labels], rows(score_labels, "scores", of_labels, {"flagged": ".0f"})),
        "Files",
        table(["tool", *of_files], rows(score_files, "unreadable", of_files)),
        "The shortcut",
        table(["tool", "found", "by", "other grave findings"], _shortcut_rows(truths, answers)),
        table(["untouched data", "grave findings of shortcuts (ours)"], _untouched_rows(untouched)),
        "Cost",
        table(["tool", "seconds", "peak GiB", "version", "settings"], _cost_rows(answers)),
    ]
    notes = {part["note"] for by_seed in answers.values() for part in by_seed.values() if part.get("note")}
    return "\n\n".join([*pieces, *sorted(notes)[:1]])


def _shortcut_rows(truths: Mapping[int, Truth], answers: Mapping[str, Mapping[int, Any]]) -> Iterable[list[str]]:
    for what, by_seed in answers.items():
        scored = [score_shortcut(truths[seed], part) for seed, part in by_seed.items() if "shortcuts" in part]
        if scored:
            told = [
                ", ".join(f"{code} x{times}" for code, times in Counter(c for s in scored for c in s[name]).items())
                for name in ("codes", "others")
            ]
            yield [what, f"{sum(one['found'] for one in scored)} of {len(scored)}", *told]


def _untouched_rows(untouched: Mapping[str, Mapping[str, Any]]) -> Iterable[list[str]]:
    for name, part in untouched.items():
        grave = [f"{one['code']} ({one['severity']}: {', '.join(one['classes'])})" for one in grave_shortcuts(part)]
        yield [name, "; ".join(grave) or "none"]


def _cost_rows(answers: Mapping[str, Mapping[int, Any]]) -> Iterable[list[str]]:
    for what, by_seed in answers.items():
        parts = list(by_seed.values())
        shown = [
            spread([part[name] for part in parts], form) for name, form in (("seconds", ".0f"), ("peak_gib", ".2f"))
        ]
        yield [what, *shown, parts[0]["packages"], parts[0]["settings"]]


def show_doubtful(lines: Sequence[Line], judged: Judged, data: Path, folder: Path) -> None:
    """Sheets of the pairs that count as wrong and that nobody looked at, those of most tools and seeds first."""
    truths = {line["seed"]: Truth(line, judged) for line in lines if line["tool"] == "planted"}
    reported: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in lines:
        for part in line.get("parts", ()) if line["seed"] in truths else ():
            for pair in set(wrong_pairs(truths[line["seed"]], part)):
                reported[pair][part["what"]] += 1
    # Ours first: the fewest are wrong by chance.
    order = sorted(reported, key=lambda pair: (-reported[pair]["ours"], -len(reported[pair]), pair))
    cases = [
        ([data / pair[0], data / pair[1]], f"{', '.join(f'{what} {n}' for what, n in reported[pair].items())}\n"
         f"{pair[0]}\n{pair[1]}")
        for pair in order[:MOST_DOUBTFUL]
    ]  # fmt: skip
    for path in draw_sheets(cases, folder, "doubtful"):
        print(path)
    (folder / "doubtful.json").write_text(
        json.dumps([[number + 1, *pair] for number, pair in enumerate(order)], indent=0)
    )
    print(f"{len(order)} pairs, of which {len(cases)} are drawn")


def main() -> None:
    """Run, report, or both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "flowers")
    parser.add_argument("--untouched", type=Path, nargs="*", default=[SHARED / "flowers", SHARED / "trashnet"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tools", nargs="+", default=["ours", "cleanvision", "imagededup", "cleanlab"])
    parser.add_argument("--peer-python", help="interpreter of the environment that has the peers")
    parser.add_argument("--results", type=Path, help="run what is not in this file yet, then report")
    parser.add_argument("--report", type=Path, metavar="FILE", help="only print the tables of this file")
    parser.add_argument("--doubtful", type=Path, metavar="FOLDER", help="draw the wrong pairs that nobody looked at")
    given = parser.parse_args()
    given.tools = [tool for wanted in given.tools for tool in TOOLS if tool == wanted or tool.startswith(f"{wanted}-")]
    if (given.results is None) == (given.report is None):
        parser.error("give --results FILE to run, or --report FILE to print")
    if given.results and set(given.tools) - {"ours"} and not given.peer_python:
        parser.error("the peers need --peer-python; or give --tools ours")
    complete = run_all(given) if given.results else True
    lines, judged = read_lines(given.results or given.report), Judged.read()
    print(report(lines, judged))
    if given.doubtful:
        show_doubtful(lines, judged, given.data, given.doubtful)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
