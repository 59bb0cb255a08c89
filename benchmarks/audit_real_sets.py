"""The audit on real sets as they are: its findings, its seconds beside the peers', and sheets of pictures to look at.

    python benchmarks/audit_real_sets.py --peer-python build/peers/bin/python --results runs/real.jsonl --pictures runs

`planted_faults` says how the peers' environment is made, `audit_tools` with which settings each tool runs. Every tool
runs in a process of its own, one after the other, on all cores, ours with an empty cache, `--rounds` times. Answers are
kept in the file of results: what is there is not run again. The sheets show, for each set:

    labels          the 50 labels that are most suspect: given label, suggested label, how sure
    duplicates      the 50 pairs of near-duplicates that correlate most
    duplicates-low  the 50 that correlate least, where the mistakes are

Beside each lies a `.json` with the numbers of the sheet and the files, from which a person's judgement can be taken
over into `natural_duplicates.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audit_tools import TOOLS
from contact_sheets import draw_sheets
from machine import describe
from planted_faults import SHARED, append, read_lines, run_tool, spread, table

SHOWN = 50
# What would have to be run for the same answers: duplicates by hashes and by a network, quality, labels.
SUMMED = ("imagededup-phash", "imagededup-cnn", "cleanvision", "cleanlab-logistic")

Part = dict[str, Any]


def run_all(given: argparse.Namespace) -> bool:
    """Run what is not in the results yet; whether every tool gave an answer."""
    have = {(line["data"], line["round"], line["tool"]) for line in read_lines(given.results)}
    complete, machine = True, describe()
    for data in given.data:
        for turn in range(given.rounds):
            for tool in given.tools:
                if (data.name, turn, tool) in have:
                    continue
                parts = run_tool(tool, data, given.peer_python)
                complete &= parts is not None
                if parts is not None:
                    line = {"data": data.name, "round": turn, "tool": tool, "machine": machine}
                    append(given.results, line | {"parts": [shortened(part) for part in parts]})
                    for part in parts:
                        print(f"{data.name} {part['what']}: {part['seconds']:.0f} s", file=sys.stderr, flush=True)
    return complete


def shortened(part: Part) -> Part:
    """Without long lists; of the pairs of a peer, the number stays."""
    dropped = {"scores", "pairs"} if part["what"] == "ours" else {"scores", "pairs", "flagged"}
    kept = {name: value for name, value in part.items() if name not in dropped}
    counts = {name: len(part[name]) for name in ("pairs", "flagged") if name in part}
    return kept | {"numbers": counts}


def report(name: str, parts: Mapping[str, Sequence[Part]]) -> str:
    """The tables of one set."""
    pieces = [f"## {name}"]
    ours = parts.get("ours", ())
    if ours:
        stages = {stage: [part["stages"].get(stage) for part in ours] for stage in ours[0]["stages"]}
        rest = [part["seconds"] - sum(part["stages"].values()) for part in ours]
        stages["start, page and files"] = rest
        stages["whole"] = [part["seconds"] for part in ours]
        pieces += [
            table(["finding", "severity", "count", "what it says"], [[*map(str, row)] for row in ours[0]["findings"]]),
            table(["stage", "seconds"], [[stage, spread(values, ".1f")] for stage, values in stages.items()]),
        ]
        pieces += [f"Not checked: {line}" for line in ours[0]["not_checked"]]
    pieces.append(table(["tool", "seconds", "peak GiB", "says", "settings"], cost_rows(parts)))
    return "\n\n".join(pieces)


def cost_rows(parts: Mapping[str, Sequence[Part]]) -> Iterable[list[str]]:
    for what, several in parts.items():
        said = {**several[0]["numbers"], **several[0].get("counts", {})}
        grave = [one["code"] for one in several[0].get("shortcuts", ()) if one["severity"] in ("warning", "critical")]
        words = [f"{number} {kind}" for kind, number in said.items() if number]
        words += [f"shortcuts: {', '.join(grave)}"] if grave else []
        seconds, peak = (
            spread([part[name] for part in several], form) for name, form in (("seconds", ".1f"), ("peak_gib", ".2f"))
        )
        yield [what, seconds, peak, ", ".join(words), several[0]["settings"]]
    if all(what in parts for what in SUMMED):
        rounds = zip(*([part["seconds"] for part in parts[what]] for what in SUMMED), strict=False)
        yield ["sum of the peers", spread(map(sum, rounds), ".1f"), "", " + ".join(SUMMED), ""]


def draw(data: Path, part: Part, folder: Path) -> Iterable[Path]:
    """The sheets of one set."""
    links = [(one, other, value) for one, other, value in part["links"]]
    lowest = sorted(links, key=lambda link: link[2])[:SHOWN]
    sheets = {
        "labels": [
            ([data / place], f"{confidence:.3f}\n{given}\n-> {better}", [place])
            for place, given, better, confidence in part["relabels"][:SHOWN]
        ],
        "duplicates": [_pair_case(data, link) for link in links[:SHOWN]],
        "duplicates-low": [_pair_case(data, link) for link in lowest],
    }
    for name, cases in sheets.items():
        title = f"{data.name}-{name}"
        yield from draw_sheets([(images, words) for images, words, _ in cases], folder, title)
        listed = [[number + 1, *places] for number, (_, _, places) in enumerate(cases)]
        (folder / f"{title}.json").write_text(json.dumps(listed, indent=0))


def _pair_case(data: Path, link: tuple[str, str, float]) -> tuple[list[Path], str, list[str]]:
    one, other, value = link
    return [data / one, data / other], f"{value:.3f}\n{one}\n{other}", [one, other]


def main() -> None:
    """Run, report and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", default=[SHARED / "flowers", SHARED / "trashnet"])
    parser.add_argument("--tools", nargs="+", default=["ours", "cleanvision", "imagededup", "cleanlab"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer-python", help="interpreter of the environment that has the peers")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where the sheets go")
    given = parser.parse_args()
    given.tools = [tool for wanted in given.tools for tool in TOOLS if tool == wanted or tool.startswith(f"{wanted}-")]
    if set(given.tools) - {"ours"} and not given.peer_python:
        parser.error("the peers need --peer-python; or give --tools ours")
    complete = run_all(given)
    lines = read_lines(given.results)
    print("\n".join(dict.fromkeys(line["machine"] for line in lines)))
    for data in given.data:
        parts: dict[str, list[Part]] = defaultdict(list)
        for line in lines:
            for part in line["parts"] if line["data"] == data.name else ():
                parts[part["what"]].append(part)
        print(f"\n{report(data.name, parts)}")
        if given.pictures and parts["ours"]:
            for path in draw(data, parts["ours"][0], given.pictures):
                print(path, file=sys.stderr)
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
