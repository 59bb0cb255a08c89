"""The options of `eyebright explain` that look into the network: filters, maps, neighbours, the map of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyebright.errors import UsageError

if TYPE_CHECKING:
    from eyebright.jobs.inside import Shown
    from eyebright.progress import Progress


def look_inside(
    run: Path,
    images: Sequence[str],
    *,
    filters: bool,
    maps: bool,
    neighbours: int,
    map_: bool,
    layer: str | None,
    output: Path | None,
    progress: Progress,
    show: bool,
) -> tuple[dict[str, Any], int]:
    """Do what was asked for, a line for each picture; what came of it, and how many images could not be read.

    Raises:
        UsageError: maps or neighbours without an image.
    """
    from eyebright.jobs import inside

    if (maps or neighbours) and not images:
        raise UsageError("no image was given", expected="one or more images with --maps or --neighbours")
    folder = output or run / "explanations"
    content: dict[str, Any] = {}
    bad = 0
    if filters:
        content["filters"], _ = _told([inside.show_filters(run, folder)], show)
    if map_:
        found = inside.make_map(run, progress=progress)
        content["map"] = {key: value for key, value in found.as_dict().items() if key != "images"}
        if show:
            print(f"{found.neighbours_alike:.0%} of the ten images most like an image have its label")
            print(f"the map is in {run / inside.EMBEDDING_FILE}; `eyebright report {run}` shows it")
    if maps:
        content["maps"], bad = _told(inside.show_maps(run, images, layer, folder), show)
    if neighbours:
        shown = inside.show_neighbours(run, images, neighbours, folder, progress=progress)
        content["neighbours"], bad = _told(shown, show)
    return content, bad


def _told(pictures: Iterable[Shown], show: bool) -> tuple[list[dict[str, Any]], int]:
    told, bad = [], 0
    for picture in pictures:
        bad += picture.path is None
        if show and picture.path is None:
            print(f"{picture.source}: {picture.status}: {picture.says}")
        elif show:
            print(f"{picture.source}: {picture.says} -> {picture.path}")
        told.append(picture.as_dict())
    return told, bad
