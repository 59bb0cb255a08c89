"""Near-duplicates: the same picture again, cut, scaled, recompressed, brightened, mirrored, or the next of a burst.

Candidates come from perceptual hashes and, where there are embeddings, from nearest neighbours among them
(`similar`); a candidate counts when its details lie at the same places (`alignment`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eyebright.data.audit.alignment import COARSE_SIDE, FINE_SIDE, Placement, align, detail
from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.hashing import as_array
from eyebright.data.audit.similar import hash_candidates, neighbour_candidates, whiten
from eyebright.data.probing import available_cores
from eyebright.data.sources.base import Source
from eyebright.decode import UndecodableImage, decode_image
from eyebright.progress import Progress, Silent

# On flowers, crops that leave 64 % of the area reach 0.92 and all other planted changes 0.95; by eye, pairs above 0.8
# are the same picture or the next of a burst, and below it two photos of one kind of thing begin.
LEAST_CORRELATION = 0.8
# Of the area; below, a patch of one image is found in another by chance.
LEAST_SHARE = 0.4
MOST_HASH_BITS = 64
# Of whitened embeddings: planted copies on flowers reach 0.48 at least.
LEAST_COSINE = 0.45
LEAST_COSINE_OF_HASH = 0.25
NEIGHBOURS = 5
# Pixels of the shorter side; two pictures of fewer pixels are alike by chance, as two handwritten ones of 8x8 are.
LEAST_SIDE = 32
# Whitening needs enough images to tell what is common; below, every image is compared with its nearest ones.
FEW_IMAGES = 1000

_CHUNK_PAIRS = 20_000
_PICTURES = 2048


class Link(NamedTuple):
    """Two near-duplicates.

    Attributes:
        one, other: their indices, `one` the smaller.
        placement: how they lie over each other.
    """

    one: int
    other: int
    placement: Placement


def find_near_duplicates(evidence: Evidence, source: Source, *, progress: Progress | None = None) -> list[Link]:
    """All confirmed pairs, by index.

    Args:
        evidence: the images; of those with the same bytes only the first is compared with others, and those with a
            side below `LEAST_SIDE` with none. Without embeddings, copies that are cut are mostly missed.
        source: what reads the images.
        progress: told about the comparison.
    """
    progress = progress or Silent()
    first: dict[str, int] = {}
    sides = np.minimum(evidence.column("width"), evidence.column("height"))
    for index in np.flatnonzero(sides >= LEAST_SIDE).tolist():
        first.setdefault(evidence.ids[index], index)
    unique = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    hashes, mirrored = (as_array(evidence.properties[name].to_pylist()) for name in ("hash", "hash_mirrored"))
    vectors = None if evidence.embeddings is None else evidence.embeddings[unique]
    pairs = unique[_candidates(hashes[unique], mirrored[unique], vectors)]
    links: list[Link] = []
    if not len(pairs):
        return links
    with progress.task("comparing pairs of images", len(pairs), "pairs") as task:
        for start in range(0, len(pairs), _CHUNK_PAIRS):
            chunk = pairs[start : start + _CHUNK_PAIRS]
            involved, local = np.unique(chunk, return_inverse=True)
            places = [evidence.sources[index] for index in involved]
            details = _details(places, source)
            picture = functools.lru_cache(maxsize=_PICTURES)(functools.partial(_picture, places, source))
            for (one, other), placement in zip(
                chunk.tolist(), align(details, local.reshape(-1, 2), picture, advance=task.advance), strict=True
            ):
                if placement.correlation >= LEAST_CORRELATION and placement.share >= LEAST_SHARE:
                    links.append(Link(one, other, placement))
    return links


def components(count: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Number of the connected component of each of `count` nodes, int64 (count,)."""
    edges = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _candidates(
    hashes: npt.NDArray[np.uint8], mirrored: npt.NDArray[np.uint8], embeddings: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.int64]:
    """Pairs (P, 2) that are worth a comparison, first index smaller."""
    count = len(hashes)
    if count < 2:
        return np.zeros((0, 2), dtype=np.int64)
    twice = hash_candidates(np.concatenate([hashes, mirrored]), most_bits=MOST_HASH_BITS) % count
    by_hash = np.unique(np.sort(twice[twice[:, 0] != twice[:, 1]], axis=1), axis=0)
    if embeddings is None:
        return by_hash
    white = whiten(embeddings)
    if len(by_hash):
        cosines = np.einsum("pf,pf->p", white[by_hash[:, 0]], white[by_hash[:, 1]])
        by_hash = by_hash[cosines >= LEAST_COSINE_OF_HASH]
    if count < FEW_IMAGES:
        centred = embeddings - embeddings.mean(axis=0)
        centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        near = neighbour_candidates(centred, neighbours=NEIGHBOURS, least_cosine=0.0)
    else:
        near = neighbour_candidates(white, neighbours=NEIGHBOURS, least_cosine=LEAST_COSINE)
    return np.unique(np.concatenate([by_hash, near]), axis=0)


def _details(places: Sequence[str], source: Source) -> npt.NDArray[np.float32]:
    """Details of the images (N, COARSE_SIDE, COARSE_SIDE); zeros, which match nothing, for what is gone meanwhile."""

    def look(place: str) -> npt.NDArray[np.float32]:
        try:
            return detail(decode_image(source.read(place), channels=1, at_least=2 * COARSE_SIDE))
        except UndecodableImage:
            return np.zeros((COARSE_SIDE, COARSE_SIDE), dtype=np.float32)

    with ThreadPoolExecutor(max_workers=available_cores()) as pool:
        return np.stack(list(pool.map(look, places)))


def _picture(places: Sequence[str], source: Source, index: int) -> Image.Image:
    return decode_image(source.read(places[index]), channels=1, at_least=2 * FINE_SIDE)
