"""Which pairs of images are worth a closer look, without comparing all pairs of a large set.

By perceptual hash: all pairs up to `_EXACT_IMAGES`; above, pairs that agree in one of the 16 bands of 16 bits (locality
sensitive hashing, Indyk and Motwani, 1998), except in buckets of more than `_MOST_IN_BUCKET`. Up to `_EXACT_IMAGES` an
image brings at most `_MOST_TWINS` pairs, the nearest, so that images that all look alike cost no more than others.

By embedding: vectors are whitened by principal components (Jégou and Chum, "Negative evidences and co-occurrences in
image retrieval", 2012), which takes away what all images of a set have in common, and the nearest neighbours are taken:
exactly up to `_EXACT_IMAGES`; above, with an inverted file (Sivic and Zisserman, "Video Google", 2003): k-means divides
the set into about sqrt(N) cells, and an image is compared with those of the cells nearest to it. That costs O(N^1.5).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

HASH_BITS = 256

_EXACT_IMAGES = 20_000
_BLOCK = 2048
_BANDS = 16
# A band value that more images share says nothing (a white page, a black frame): such buckets are skipped.
_MOST_IN_BUCKET = 200
_MOST_TWINS = 10
_PAIRS_AT_ONCE = 2**20
_COMPONENTS = 256
_SAMPLE_IMAGES = 20_000
_PROBED_CELLS = 3


def hash_candidates(hashes: npt.NDArray[np.uint8], *, most_bits: int) -> npt.NDArray[np.int64]:
    """Pairs (P, 2), first index smaller, of hashes that differ in at most `most_bits` bits: the nearest of each.

    Args:
        hashes: uint8 (N, HASH_BITS / 8).
        most_bits: largest Hamming distance.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)  # (N, 4)
    return _all_hash_pairs(words, most_bits) if len(words) <= _EXACT_IMAGES else _banded_pairs(words, most_bits)


def _all_hash_pairs(words: npt.NDArray[np.uint64], most_bits: int) -> npt.NDArray[np.int64]:
    found = [np.zeros((0, 2), dtype=np.int64)]
    block = max(1, 2**24 // max(1, len(words)))
    for start in range(0, len(words), block):
        rows = words[start : start + block]
        distance = np.zeros((len(rows), len(words) - start), dtype=np.uint16)
        for word in range(words.shape[1]):
            distance += np.bitwise_count(rows[:, None, word] ^ words[None, start:, word])
        # Each pair once: an image looks at those after it.
        distance[np.arange(len(rows))[:, None] >= np.arange(distance.shape[1])[None, :]] = HASH_BITS + 1
        one, other = np.nonzero(distance <= most_bits)
        nearest = np.lexsort((distance[one, other], one))
        one, other = one[nearest], other[nearest]
        few = _rank_in_run(one) < _MOST_TWINS
        found.append(np.stack([one[few], other[few]], axis=1) + start)
    return np.concatenate(found)


def _rank_in_run(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Position of every entry within its run of equal values; the values are in order."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    first = np.r_[0, np.flatnonzero(values[1:] != values[:-1]) + 1]
    starts: npt.NDArray[np.int64] = np.repeat(first, np.diff(np.r_[first, len(values)]))
    return np.asarray(np.arange(len(values)) - starts, dtype=np.int64)


def _banded_pairs(words: npt.NDArray[np.uint64], most_bits: int) -> npt.NDArray[np.int64]:
    bands = words.view(np.uint16)  # (N, 16)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable")
        values = bands[order, band]
        # With the values in order, members of one bucket are neighbours: compare each with the 1st, 2nd, ... after it.
        sizes = np.diff(np.flatnonzero(np.r_[True, values[1:] != values[:-1], True]))
        small = np.repeat(sizes <= _MOST_IN_BUCKET, sizes)
        longest = int(sizes[sizes <= _MOST_IN_BUCKET].max(initial=1))
        for gap in range(1, longest):
            same = np.flatnonzero((values[gap:] == values[:-gap]) & small[gap:])
            if not len(same):
                break
            # Most of those that share a band by chance differ elsewhere, and are dropped at once.
            for start in range(0, len(same), _PAIRS_AT_ONCE):
                part = same[start : start + _PAIRS_AT_ONCE]
                one, other = order[part], order[part + gap]
                near = np.bitwise_count(words[one] ^ words[other]).sum(axis=1) <= most_bits
                found.append(np.stack([one[near], other[near]], axis=1))
    return _distinct(np.concatenate(found), len(words))


def _distinct(pairs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Each pair once, the smaller index first, in order."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    codes = np.unique(low * count + high)
    return np.stack([codes // count, codes % count], axis=1)


def whiten(vectors: npt.NDArray[np.float32], *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Principal components of equal variance, rows of length one: float32 (N, min(_COMPONENTS, F, N / 4)).

    The components are fitted on at most `_SAMPLE_IMAGES` rows. Rows of zeros (images without a vector) stay zero.
    """
    known = np.flatnonzero(vectors.any(axis=1))
    sample = known
    if len(known) > _SAMPLE_IMAGES:
        sample = np.sort(np.random.default_rng(seed).choice(known, _SAMPLE_IMAGES, replace=False))
    count = max(1, min(_COMPONENTS, vectors.shape[1], len(sample) // 4))
    if len(sample) < 2:
        return np.zeros((len(vectors), count), dtype=np.float32)
    mean = vectors[sample].mean(axis=0)
    centred = (vectors[sample] - mean).astype(np.float64)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(sample))
    largest = np.argsort(-variances)[:count]
    # A direction without variance would blow up rounding noise.
    scale = np.sqrt(np.maximum(variances[largest], 1e-6 * variances.max(initial=1e-12)))
    projection = (axes[:, largest] / scale).astype(np.float32)
    white = np.zeros((len(vectors), count), dtype=np.float32)
    for start in range(0, len(known), _BLOCK):
        rows = known[start : start + _BLOCK]
        part = (vectors[rows] - mean) @ projection
        white[rows] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
    return white


def neighbour_candidates(
    vectors: npt.NDArray[np.float32], *, neighbours: int, least_cosine: float, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Pairs (P, 2), first index smaller: every image with its nearest ones.

    Args:
        vectors: float32 (N, F), rows of length one (or zero: those have no neighbours).
        neighbours: how many for each image, at most.
        least_cosine: pairs that are less alike are left out.
        seed: of the k-means of a large set.
    """
    if len(vectors) <= _EXACT_IMAGES:
        rows, others, cosines = _exact_neighbours(vectors, neighbours, least_cosine)
    else:
        rows, others, cosines = _probed_neighbours(vectors, least_cosine, seed)
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    order = np.lexsort((others, -cosines, rows))
    rows, others = rows[order], others[order]
    near = _rank_in_run(rows) < neighbours
    return _distinct(np.stack([rows[near], others[near]], axis=1), len(vectors))


_Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]


def _exact_neighbours(vectors: npt.NDArray[np.float32], neighbours: int, least_cosine: float) -> _Found:
    found: list[_Found] = [_nothing()]
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors.T
        own = np.arange(len(cosines))
        cosines[own, own + start] = -1.0
        if cosines.shape[1] > neighbours:
            # Only what is among the nearest of its row can pass.
            bar = -np.partition(-cosines, neighbours - 1, axis=1)[:, neighbours - 1]
            rows, others = np.nonzero(cosines >= np.maximum(bar, least_cosine)[:, None])
        else:
            rows, others = np.nonzero(cosines >= least_cosine)
        found.append((rows + start, others, cosines[rows, others]))
    return _joined(found)


def _probed_neighbours(vectors: npt.NDArray[np.float32], least_cosine: float, seed: int) -> _Found:
    # Only large sets are searched by cells, and every training looks for duplicates: most never need scikit-learn here.
    from sklearn.cluster import MiniBatchKMeans

    cells = round(len(vectors) ** 0.5)
    sample = np.random.default_rng(seed).choice(len(vectors), min(len(vectors), 50 * cells), replace=False)
    means = MiniBatchKMeans(cells, batch_size=4096, n_init=1, max_iter=20, random_state=seed, init="random")
    centres = means.fit(vectors[np.sort(sample)]).cluster_centers_.astype(np.float32)
    nearest = np.empty((len(vectors), _PROBED_CELLS), dtype=np.int32)
    half_norms = (centres**2).sum(axis=1) / 2
    for start in range(0, len(vectors), _BLOCK):
        closeness = vectors[start : start + _BLOCK] @ centres.T - half_norms
        best = np.argpartition(-closeness, _PROBED_CELLS - 1, axis=1)[:, :_PROBED_CELLS]
        order = np.argsort(-np.take_along_axis(closeness, best, axis=1), axis=1)
        nearest[start : start + len(best)] = np.take_along_axis(best, order, axis=1)
    homes = _members(nearest[:, 0], cells)
    visitors = _members(nearest.ravel(), cells)
    found: list[_Found] = [_nothing()]
    for cell in range(cells):
        members = homes[cell]
        queries = visitors[cell] // _PROBED_CELLS
        for start in range(0, len(queries), _BLOCK):
            part = queries[start : start + _BLOCK]
            cosines = vectors[part] @ vectors[members].T
            rows, others = np.nonzero(cosines >= least_cosine)
            different = part[rows] != members[others]
            rows, others = rows[different], others[different]
            found.append((part[rows], members[others], cosines[rows, others]))
    return _joined(found)


def _members(cells: npt.NDArray[np.int32], count: int) -> list[npt.NDArray[np.int64]]:
    """The positions that hold each cell's number."""
    order = np.argsort(cells, kind="stable")
    edges = np.searchsorted(cells[order], np.arange(count + 1))
    return [order[edges[cell] : edges[cell + 1]] for cell in range(count)]


def _nothing() -> _Found:
    return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)


def _joined(found: list[_Found]) -> _Found:
    rows, others, cosines = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(others), np.concatenate(cosines)
