"""The order of an epoch: shuffled, or balanced over the classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright.data.sampling import epoch_order

UNBALANCED = np.repeat(np.arange(4), [2, 7, 30, 61]).astype(np.int64)

class_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def targets_of(sizes: list[int], seed: int) -> npt.NDArray[np.int64]:
    labels = np.repeat(np.arange(len(sizes)) * 3, sizes)  # with classes in between that no image has
    return np.random.default_rng(seed).permutation(labels).astype(np.int64)


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (5, 3)])
def test_shuffle_is_the_permutation_of_seed_and_epoch(seed: int, epoch: int) -> None:
    order = epoch_order(UNBALANCED, seed=seed, epoch=epoch, sampling="shuffle")
    assert np.array_equal(order, np.random.default_rng([seed, epoch]).permutation(100))
    assert order.dtype == np.int64


@given(sizes=class_sizes, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000))
def test_balanced_draws_every_class_equally_often(sizes: list[int], seed: int, epoch: int) -> None:
    targets = targets_of(sizes, seed)
    order = epoch_order(targets, seed=seed, epoch=epoch, sampling="balanced")
    assert order.shape == targets.shape
    assert order.dtype == np.int64
    counts = np.bincount(targets[order], minlength=targets.max() + 1)[::3]
    assert counts.max() - counts.min() <= 1
    assert counts.sum() == len(targets)


@given(sizes=class_sizes, seed=st.integers(0, 2**31 - 1), epochs=st.integers(1, 8))
def test_balanced_stays_balanced_over_epochs_in_classes_and_images(sizes: list[int], seed: int, epochs: int) -> None:
    targets = targets_of(sizes, seed)
    orders = [epoch_order(targets, seed=seed, epoch=epoch, sampling="balanced") for epoch in range(epochs)]
    drawn = np.concatenate(orders)
    by_class = np.bincount(targets[drawn], minlength=targets.max() + 1)[::3]
    assert by_class.max() - by_class.min() <= 1
    by_image = np.bincount(drawn, minlength=len(targets))
    for label in np.unique(targets):  # no image a second time before all of its class came, also across epochs
        times = by_image[targets == label]
        assert times.max() - times.min() <= 1


def test_balanced_shows_small_classes_again_and_large_ones_in_part() -> None:
    order = epoch_order(UNBALANCED, seed=1, epoch=0, sampling="balanced")
    times = np.bincount(order, minlength=100)
    assert np.bincount(UNBALANCED[order]).tolist() == [25, 25, 25, 25]
    assert sorted(times[UNBALANCED == 0]) == [12, 13]
    assert set(times[UNBALANCED == 3]) == {0, 1}


def test_balanced_mixes_the_classes_within_an_epoch_without_taking_turns() -> None:
    order = epoch_order(UNBALANCED, seed=1, epoch=0, sampling="balanced")
    halves = [np.bincount(UNBALANCED[half], minlength=4) for half in (order[:50], order[50:])]
    assert min(half.min() for half in halves) >= 5
    fours = UNBALANCED[order].reshape(25, 4)
    assert {len(set(four)) for four in fours.tolist()} > {4}


def test_balanced_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> npt.NDArray[np.int64]:
        return epoch_order(UNBALANCED, seed=seed, epoch=epoch, sampling="balanced")

    assert np.array_equal(order(1, 7), order(1, 7))
    assert not np.array_equal(order(1, 7), order(1, 8))
    assert not np.array_equal(order(1, 7), order(2, 7))


def test_each_pass_through_a_class_has_an_order_of_its_own() -> None:
    targets = np.repeat(np.arange(3), [5, 5, 20]).astype(np.int64)  # an epoch takes 10 of the 20
    taken = []
    for epoch in range(4):
        order = epoch_order(targets, seed=0, epoch=epoch, sampling="balanced")
        taken.append(set(order[targets[order] == 2].tolist()))
    assert taken[0] | taken[1] == taken[2] | taken[3] == set(range(10, 30))
    assert taken[2] not in (taken[0], taken[1])
