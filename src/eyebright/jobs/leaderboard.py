"""A page of many runs: those with the same test images are ranked and tested, the others stand in their own group."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eyebright.atomic import write_text
from eyebright.errors import BundleError, EyebrightError, UsageError, did_you_mean_beside
from eyebright.jobs.compare import TABLE_FILE, as_csv, beside, beside_each_other, data_set_names, linked, make_group
from eyebright.jobs.entrants import is_run, read_entrant, with_own_names
from eyebright.jobs.same_images import by_images
from eyebright.progress import Progress, Silent
from eyebright.report.compare_content import CompareContent, Group
from eyebright.report.compare_page import compare_page

PAGE_FILE = "leaderboard.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """What came of ranking runs.

    Attributes:
        groups: the finished runs, one group for each set of test images, the largest group first.
        unfinished: the others, as (name, why they cannot be ranked, what to do).
        page, table: paths of the page and of the table, one row a run.
    """

    groups: tuple[Group, ...]
    unfinished: tuple[tuple[str, str, str], ...]
    page: Path
    table: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "page": str(self.page),
            "csv": str(self.table),
            "groups": [
                {"data_set": group.data_set, "notes": list(group.notes), "table": group.rows()} for group in self.groups
            ],
            "unfinished": [{"name": name, "state": state, "remedy": remedy} for name, state, remedy in self.unfinished],
        }


def runs_in(folder: Path) -> list[Path]:
    """The runs that lie directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))


def leaderboard(
    paths: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Leaderboard:
    """Rank runs by the accuracy on their test images, and write the page and the table.

    Args:
        paths: runs, tables of predictions, and folders of runs.
        output: folder for page and table; the folder that all runs lie in when left out.
        seed: of the bootstraps.
        progress: whom to tell.

    Raises:
        BundleError: a path does not exist.
        UsageError: no run can be ranked.
    """
    progress = progress or Silent()
    chosen: list[Path] = []
    for path in map(Path, paths):
        chosen += _chosen(path)
    entrants, unfinished = [], []
    for path in dict.fromkeys(path.resolve() for path in chosen):
        try:
            entrants.append(read_entrant(path, progress=progress))
        except EyebrightError as error:
            unfinished.append((path.name, error.problem, error.remedy or ""))
    if not entrants:
        raise UsageError(
            f"none of {len(chosen)} runs can be ranked: {unfinished[0][1]}",
            expected="runs that finished",
            remedy=unfinished[0][2] or None,
        )
    entrants = with_own_names(entrants)
    parts = sorted(by_images(entrants), key=len, reverse=True)
    groups = tuple(
        make_group(part, name, seed=seed, progress=progress)
        for part, name in zip(parts, data_set_names(parts), strict=True)
    )
    folder = Path(output) if output is not None else beside(entrants)
    whole = len(groups) == 1
    content = CompareContent(
        title=f"Runs on {groups[0].data_set}" if whole else f"Runs in {beside(entrants).resolve().name}",
        groups=linked(groups, folder),
        across=None if whole or _overlap(groups) else beside_each_other(groups),
        unfinished=unfinished,
        created=time.strftime("%Y-%m-%d %H:%M"),
    )
    page, table = folder / PAGE_FILE, folder / TABLE_FILE
    write_text(page, compare_page(content))
    write_text(table, as_csv(groups))
    return Leaderboard(groups=groups, unfinished=tuple(unfinished), page=page, table=table)


def _chosen(path: Path) -> list[Path]:
    """What a path stands for: itself, or the runs in it."""
    if not path.exists():
        raise BundleError(
            f"{path} does not exist{did_you_mean_beside(path)}",
            expected="a run, or a folder of runs",
            remedy="check the path; `ls runs` shows the runs of this folder",
        )
    if path.is_dir() and not is_run(path):
        return runs_in(path) or [path]
    return [path]


def _overlap(groups: Sequence[Group]) -> bool:
    """Whether two groups hold the same image: then they are one data set that was split in several ways."""
    seen: set[str] = set()
    for group in groups:
        if seen & set(group.contest.ids):
            return True
        seen |= set(group.contest.ids)
    return False
