"""Compare classifiers on the same images, and write what was found as a table and as a page. No torch."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from eyebright.atomic import write_json, write_text
from eyebright.errors import UsageError, did_you_mean
from eyebright.evaluation.across import Across, across_data_sets
from eyebright.evaluation.compare import compare_predictions
from eyebright.jobs.entrants import Entrant, read_entrants
from eyebright.jobs.latency import measured
from eyebright.jobs.pictures import pictures, source_on_disk
from eyebright.jobs.same_images import by_images, on_same_images, refuse_overlaps, without_learnt
from eyebright.progress import Progress, Silent
from eyebright.report.compare_content import CompareContent, Group
from eyebright.report.compare_page import compare_page

TABLE_FILE, PAGE_FILE, JSON_FILE = "performance_comparison.csv", "comparison.html", "comparison.json"
FOLDER = "comparison"
SPLITS = ("test", "val")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        groups: one for each set of test images; one in all unless data sets were compared.
        across: models by data set; None where there is one set of images.
        notes: what the reader should know before any number.
        folder: where table, page and JSON lie.
    """

    groups: tuple[Group, ...]
    across: Across | None
    notes: tuple[str, ...]
    folder: Path

    @property
    def page(self) -> Path:
        """Path of the page."""
        return self.folder / PAGE_FILE

    @property
    def table(self) -> Path:
        """Path of the table, one row a classifier."""
        return self.folder / TABLE_FILE

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "notes": list(self.notes),
            "groups": [
                {
                    "data_set": group.data_set,
                    "notes": list(group.notes),
                    "table": group.rows(),
                    **group.contest.as_dict(),
                }
                for group in self.groups
            ],
            "across": None if self.across is None else self.across.as_dict(),
        }


def compare(
    paths: Sequence[str | Path],
    *,
    split: str = "test",
    across: bool = False,
    common: bool = False,
    measure: bool = False,
    output: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two or more classifiers image by image.

    Images that any of the classifiers was trained on (or, of the test split, chosen or calibrated on) never count.

    Args:
        paths: runs, their evaluations, or tables of predictions.
        split: which predictions of a run: `test` or `val`.
        across: the classifiers belong to several data sets; those of one are compared with each other, and the models
            are ranked over all.
        common: where the test images differ, compare on those that all have.
        measure: time all classifiers in turns on this machine.
        output: folder for table, page and JSON; `comparison/` beside the runs when left out.
        seed: of the bootstraps.
        progress: whom to tell.

    Raises:
        UsageError: fewer than two classifiers, one twice, or data sets where one was expected.
        BundleError: a path is no finished run.
        DataError: the classifiers were not scored on the same images, or have different classes.
    """
    progress = progress or Silent()
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}{did_you_mean(split, SPLITS)}", expected="test or val")
    if len(paths) < 2:
        raise UsageError(
            f"{len(paths)} classifier to compare",
            expected="two or more",
            remedy="name several runs: `eyebright compare RUN RUN`",
        )
    entrants = read_entrants(paths, split=split, progress=progress)
    notes = []
    if split == "val":
        notes.append(
            "These are validation images: they served to choose each classifier, so all numbers lean to the good side."
        )
    if measure:
        entrants = measured(entrants, progress)
    if across:
        parts = by_images(entrants)
        refuse_overlaps(parts)
    else:
        entrants, left_out = on_same_images(entrants, common=common)
        parts, notes = [entrants], notes + left_out
    names = data_set_names(parts)
    groups = tuple(
        make_group(part, name, seed=seed, progress=progress) for part, name in zip(parts, names, strict=True)
    )
    folder = Path(output) if output is not None else beside(entrants) / FOLDER
    found = Comparison(
        groups=groups, across=beside_each_other(groups) if across else None, notes=tuple(notes), folder=folder
    )
    title = "Models on several data sets" if across else f"Comparison on {names[0]}"
    content = CompareContent(
        title=title,
        groups=linked(groups, folder),
        across=found.across,
        notes=notes,
        created=time.strftime("%Y-%m-%d %H:%M"),
    )
    write_text(found.page, compare_page(content))
    write_text(found.table, as_csv(groups))
    write_json(folder / JSON_FILE, found.as_dict())
    return found


def make_group(entrants: Sequence[Entrant], data_set: str, *, seed: int, progress: Progress) -> Group:
    """Compare classifiers that were scored on the same images.

    Raises:
        DataError: their classes or labels differ, or each image was trained on by one of them.
    """
    entrants, notes = without_learnt(entrants)
    progress.note(f"comparing {len(entrants)} classifiers on {len(entrants[0].predictions)} images of {data_set}")
    notes += [
        f"What {entrant.name} was trained on is not known: it may have seen these images."
        for entrant in entrants
        if entrant.run is None
    ]
    facts = {entrant.name: entrant.facts for entrant in entrants}
    machines = {(fact.machine, fact.latency_threads) for fact in facts.values() if fact.latency_ms is not None}
    if len(machines) > 1 and not any(fact.latency_measured_now for fact in facts.values()):
        notes.append("The latencies were taken on different machines: `--measure` takes all of them here, in turns.")
    return Group(
        data_set=data_set,
        contest=compare_predictions({entrant.name: entrant.predictions for entrant in entrants}, seed=seed),
        facts=facts,
        notes=notes,
        thumbnails=_pictures(entrants),
    )


def data_set_names(groups: Sequence[Sequence[Entrant]]) -> list[str]:
    """A name for the images of each group: the last part of where they came from, numbered where two are equal."""
    data = [next((entrant for entrant in group if entrant.run is not None), group[0]).data for group in groups]
    names = [Path(text.rstrip("/")).name or text or "data" for text in data]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def beside_each_other(groups: Sequence[Group]) -> Across:
    """Models by data set: a model is a recipe, and where a recipe made several architectures, the two together."""
    facts = [fact for group in groups for fact in group.facts.values()]
    kinds: dict[str, set[str | None]] = {}
    for fact in facts:
        kinds.setdefault(fact.model, set()).add(fact.architecture)

    def model_of(group: Group) -> dict[str, str]:
        return {
            name: fact.model if len(kinds[fact.model]) == 1 else f"{fact.model} ({fact.architecture})"
            for name, fact in group.facts.items()
        }

    return across_data_sets([(group.data_set, group.contest, model_of(group)) for group in groups])


def as_csv(groups: Sequence[Group]) -> str:
    """One line a classifier; empty where a value is not known."""
    rows = [row for group in groups for row in group.rows()]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def _pictures(entrants: Sequence[Entrant]) -> Callable[[str], Image.Image] | None:
    """Pictures of the images, from the first source of them that is still at its place."""
    for entrant in entrants:
        source = None if entrant.spec is None else source_on_disk(entrant.spec)
        if source is not None:
            columns = (entrant.predictions.column(name) for name in ("id", "source"))
            return pictures(source, {str(image): str(name) for image, name in zip(*columns, strict=True)})
    return None


def beside(entrants: Sequence[Entrant]) -> Path:
    """The folder that all runs and tables lie in; the working folder where they share only the root."""
    places = [entrant.run.path if entrant.run is not None else Path(entrant.facts.path) for entrant in entrants]
    shared = Path(os.path.commonpath([place.resolve().parent for place in places]))
    return Path() if shared == Path(shared.anchor) else shared


def linked(groups: Sequence[Group], folder: Path) -> list[Group]:
    """The same with links from the page in `folder` to the report of each run."""

    def with_links(group: Group) -> Group:
        facts: Mapping[str, Any] = {
            name: dataclasses.replace(fact, report=_link(Path(fact.path), folder)) for name, fact in group.facts.items()
        }
        return dataclasses.replace(group, facts=facts)

    return [with_links(group) for group in groups]


def _link(path: Path, folder: Path) -> str | None:
    page = path / "report.html"
    return Path(os.path.relpath(page.resolve(), folder.resolve())).as_posix() if page.is_file() else None
