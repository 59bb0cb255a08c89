"""Candidate search against comparing all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from eyebright.data.audit import similar
from eyebright.data.audit.near_duplicates import components
from eyebright.data.audit.similar import hash_candidates, neighbour_candidates, whiten


def _hashes(random: np.random.Generator, count: int, copies: int, most_flips: int) -> np.ndarray:
    """Random hashes; the last `copies` are copies of the first ones with up to `most_flips` bits turned."""
    bits = random.integers(0, 2, (count, similar.HASH_BITS), dtype=np.uint8)
    for copy in range(copies):
        turned = random.choice(similar.HASH_BITS, random.integers(0, most_flips + 1), replace=False)
        bits[count - 1 - copy] = bits[copy]
        bits[count - 1 - copy, turned] ^= 1
    return np.packbits(bits, axis=1)


def _all_pairs(hashes: np.ndarray, most_bits: int) -> set[tuple[int, int]]:
    bits = np.unpackbits(hashes, axis=1).astype(int)
    distance = (bits[:, None, :] != bits[None, :, :]).sum(axis=2)
    return {(i, j) for i, j in np.argwhere(distance <= most_bits) if i < j}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 120), st.integers(0, 130))
def test_hash_candidates_are_all_pairs_within_the_distance(seed: int, count: int, most_bits: int) -> None:
    """Of random hashes: no image has more twins than are looked at."""
    hashes = _hashes(np.random.default_rng(seed), count, count // 3, 40)
    most_bits = min(most_bits, 80)  # two random hashes differ in 128 bits, give or take 8
    assert {tuple(pair) for pair in hash_candidates(hashes, most_bits=most_bits)} == _all_pairs(hashes, most_bits)


def test_images_that_all_look_alike_bring_few_pairs_each_and_one_group() -> None:
    pairs = hash_candidates(np.zeros((500, 32), dtype=np.uint8), most_bits=4)
    assert len(pairs) <= 500 * 10
    assert len(np.unique(components(500, pairs.tolist()))) == 1


def test_bands_find_every_pair_that_the_pigeonhole_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than 16 turned bits leave one of 16 bands whole."""
    hashes = _hashes(np.random.default_rng(1), 600, 200, 15)
    expected = _all_pairs(hashes, 15)
    monkeypatch.setattr(similar, "_EXACT_IMAGES", 10)
    assert len(expected) == 200
    assert {tuple(pair) for pair in hash_candidates(hashes, most_bits=15)} == expected


def test_a_band_that_all_images_share_is_skipped_and_the_pair_found_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = _hashes(np.random.default_rng(2), 900, 1, 3)
    hashes[:, :2] = 0
    monkeypatch.setattr(similar, "_EXACT_IMAGES", 10)
    assert (0, 899) in {tuple(pair) for pair in hash_candidates(hashes, most_bits=8)}


def _vectors(count: int, width: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_exact_neighbours_are_those_of_a_full_comparison() -> None:
    vectors = _vectors(300, 12)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    expected = {
        tuple(sorted((row, int(other))))
        for row in range(300)
        for other in np.argsort(-cosines[row])[:3]
        if cosines[row, other] >= 0.5
    }
    found = neighbour_candidates(vectors, neighbours=3, least_cosine=0.5)
    assert {tuple(pair) for pair in found.tolist()} == expected


def test_the_inverted_file_finds_near_copies_of_a_large_set(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    vectors = _vectors(4000, 32)
    vectors[2000:2400] = vectors[:400] + 0.05 * random.normal(size=(400, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    monkeypatch.setattr(similar, "_EXACT_IMAGES", 100)
    found = {tuple(pair) for pair in neighbour_candidates(vectors, neighbours=2, least_cosine=0.85).tolist()}
    planted = {(row, row + 2000) for row in range(400)}
    assert len(planted & found) >= 396
    assert neighbour_candidates(vectors, neighbours=2, least_cosine=0.85).tolist() == sorted(map(list, found))


def test_whitening_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(3)
    vectors = (random.normal(size=(200, 20)) * np.linspace(1, 5, 20)).astype(np.float32)
    ours = whiten(vectors)
    theirs = PCA(20, whiten=True).fit_transform(vectors.astype(np.float64))
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-4)


def test_whitening_leaves_images_without_a_vector_alone() -> None:
    vectors = _vectors(40, 8)
    vectors[7] = 0
    white = whiten(vectors)
    assert not white[7].any()
    assert np.allclose(np.linalg.norm(white[np.arange(40) != 7], axis=1), 1, atol=1e-5)
    assert not len(neighbour_candidates(white[7:8], neighbours=3, least_cosine=0.1))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_tiny_sets_are_no_special_case_for_the_caller(count: int) -> None:
    white = whiten(_vectors(count, 6))
    assert white.shape[0] == count
    assert neighbour_candidates(white, neighbours=5, least_cosine=0.99).shape[1] == 2
    assert hash_candidates(np.zeros((count, 32), dtype=np.uint8), most_bits=3).shape == (count * (count - 1) // 2, 2)
