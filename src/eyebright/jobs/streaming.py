"""Whether images are decoded once, into a pack, or anew in every epoch, from where they lie.

The order of an epoch depends on it. The choice is therefore made with the plan, and kept in it for a resume.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.compute as pc

from eyebright.config import TrainConfig
from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.pack import pack_key
from eyebright.data.sources import Source
from eyebright.data.store import Rows
from eyebright.data.stream import MOST_BYTES, StreamStore
from eyebright.preprocess import Preprocess
from eyebright.progress import Progress
from eyebright.recipes.base import Plan

MOST_OF_DISK = 0.9
"""A pack that would take more than this share of the free disk is not made."""
MOST_OF_MEMORY = 0.5
"""A pack of more than this share of the available memory does not stay in it between two epochs."""
STREAM_SHARE = 0.25
"""Of the available memory, for images that were read and not decoded yet."""
FEW_PASSES = 2
"""Reading a piece of a file more often than so in an epoch is worth a word."""
_ROOT = Path("/")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streamed:
    """Images that are decoded when they are needed; in the place of a `Pack`.

    Attributes:
        store: the images.
        failures: none: what could not be decoded was found before.
    """

    store: StreamStore
    failures: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def rows(self, ids: Sequence[str]) -> Rows:
        """Row numbers of these ids, int64 (len(ids),).

        Raises:
            DataError: an id is not among the images.
        """
        return self.store.rows(ids)


def with_stream_decided(plan: Plan, manifest: Manifest) -> Plan:
    """The plan with `data.stream` true or false, and a sentence where that was not what one would expect."""
    wanted = plan.config.data.stream
    need = pack_bytes(manifest, plan.preprocess)
    reasons = list(plan.reasons)
    stream = wanted is True
    in_order = f"in the order of the files, shuffled in windows of {plan.config.data.shuffle_window:,} images"
    if wanted == "auto":
        free = free_for_pack(manifest, plan.preprocess)
        stream = free is not None and need > MOST_OF_DISK * free
        if stream and free is not None:
            reasons.append(
                f"images are decoded anew in every epoch, {in_order}: packed they would take {_gib(need)}, and the "
                f"cache has {_gib(free)} free (data.stream)"
            )
    elif stream:
        reasons.append(f"images are decoded anew in every epoch, {in_order}, as data.stream asks for")
    memory = available_memory_bytes()
    if not stream and memory is not None and need > MOST_OF_MEMORY * memory:
        reasons.append(
            f"the packed images take {_gib(need)}, and {_gib(memory)} of memory are available: batches are read from "
            "the disk at random places; on a disk that is slow at that, data.stream=true reads the files in order"
        )
    data = plan.config.data.model_copy(update={"stream": stream})
    return dataclasses.replace(plan, config=plan.config.model_copy(update={"data": data}), reasons=tuple(reasons))


def open_store(
    manifest: Manifest, source: Source, preprocess: Preprocess, config: TrainConfig, progress: Progress
) -> Streamed:
    """The used images of a manifest as a stream.

    Args:
        manifest: scanned and looked at, so that every image in it decodes.
        source: what it was scanned from.
        preprocess: how images become input.
        config: `data.shuffle_window` and `compute.workers` count.
        progress: told what the stream costs.

    Raises:
        DataError: there is no image.
    """
    memory = available_memory_bytes()
    most_bytes = MOST_BYTES if memory is None else min(MOST_BYTES, int(STREAM_SHARE * memory))
    store = StreamStore(
        manifest, source, preprocess,
        window=config.data.shuffle_window, workers=config.compute.workers, most_bytes=most_bytes,
    )  # fmt: skip
    progress.note(
        f"streaming {store.shape[0]:,} images: at most {most_bytes / 2**30:.2g} GiB of them, as they were read, are in "
        "memory"
    )
    if store.passes > FEW_PASSES:
        progress.warn(
            f"the largest row group of these files is read {store.passes} times in each epoch, because a window of "
            f"{config.data.shuffle_window:,} images takes only a part of it at a time: write smaller row groups "
            "(100 to 500 images), or raise data.shuffle_window"
        )
    if config.data.audit == "off":
        progress.note("no image was looked at (data.audit=off): one that does not decode will end the training")
    return Streamed(store=store)


def pack_bytes(manifest: Manifest, preprocess: Preprocess) -> int:
    """What the pack of these images takes on the disk."""
    images = int(pc.count_distinct(manifest.ok["id"]).as_py())
    return images * preprocess.resize_to**2 * preprocess.channels


def free_for_pack(manifest: Manifest, preprocess: Preprocess) -> int | None:
    """Bytes that the pack of these images may grow to on the disk of the cache; None when it is there already."""
    packs = default_cache() / "packs"
    key = pack_key(manifest.ok["id"].to_pylist(), preprocess)
    if (packs / key / "pack.json").is_file():
        return None
    there = next(folder for folder in (packs, *packs.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    with contextlib.suppress(OSError):  # a pack that was begun has a part of its place already
        free += (packs / f"{key}.partial" / "pixels.bin").stat().st_blocks * 512
    return free


def available_memory_bytes(system: Path = _ROOT) -> int | None:
    """Memory that this process could still take: what is free or cached, less where its control group allows less.

    None where that cannot be told (it is Linux that says so).
    """
    try:
        text = (system / "proc/meminfo").read_text(encoding="ascii")
        groups = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        return None
    limits = [int(found[1]) * 1024]
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = system / "sys/fs/cgroup" / ("memory" if controllers else "")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        folder = top / group.lstrip("/")
        # Inside a container the path may be the host's: then only the root of the tree is there.
        for place in (folder, *(above for above in folder.parents if above.is_relative_to(top))):
            limit, used = (_number(place / name) for name in names)
            if limit is not None:
                limits.append(max(0, limit - (used or 0)))
    return min(limits)


def _number(path: Path) -> int | None:
    """The number in a file; None when there is no file, or it says `max`."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _gib(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
