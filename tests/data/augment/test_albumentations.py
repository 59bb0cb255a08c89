"""Albumentations pipelines: repeatable in any order and thread, and mistakes said in words."""

from __future__ import annotations

import os
import sys
import threading
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from eyebright.data.augment import Pipeline
from eyebright.errors import MissingDependencyError, UsageError

Pixels = npt.NDArray[np.uint8]

CIFAR10NET = (
    {"HorizontalFlip": {"p": 0.5}},
    {"ShiftScaleRotate": {"shift_limit": 0.1, "scale_limit": 0.1, "rotate_limit": 15, "p": 0.5}},
    {"CoarseDropout": {"num_holes_range": [1, 1], "hole_height_range": [8, 8], "hole_width_range": [8, 8], "p": 0.3}},
)


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    """The library itself, unless the test is about its absence."""
    if "absent" not in request.node.name:
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        pytest.importorskip("albumentations")


@pytest.fixture(scope="module")
def images(levels: torch.Tensor) -> list[Pixels]:
    return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in levels]


def test_an_image_depends_on_seed_epoch_and_index_alone(images: list[Pixels]) -> None:
    pipeline, other = Pipeline(CIFAR10NET, seed=3), Pipeline(CIFAR10NET, seed=4)
    rows = [(epoch, index) for epoch in range(4) for index in range(10)]
    forth = {row: pipeline(images[0], epoch=row[0], index=row[1]) for row in rows}
    back = {row: pipeline(images[0], epoch=row[0], index=row[1]) for row in reversed(rows)}
    assert all(np.array_equal(forth[row], back[row]) for row in rows)
    seeded = [other(images[0], epoch=row[0], index=row[1]) for row in rows]
    different = {image.tobytes() for image in [*forth.values(), *seeded]}
    assert len(different) > 40, "80 draws of which about one in five changes nothing or only mirrors"


def test_threads_make_the_same_images(images: list[Pixels]) -> None:
    pipeline = Pipeline(CIFAR10NET, seed=0)
    expected = [pipeline(images[index % 12], epoch=1, index=index) for index in range(200)]
    results: list[Pixels | None] = [None] * 200

    def work(first: int) -> None:
        for index in range(first, 200, 4):
            results[index] = pipeline(images[index % 12], epoch=1, index=index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(expected, results, strict=True))


def test_threads_that_build_at_once_leave_the_warnings_as_they_were() -> None:
    """Silenced while a transform is built; two threads that overlap would each put back what the other had set."""
    before = list(warnings.filters)
    pipeline, failed = Pipeline(CIFAR10NET, seed=0), []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        try:
            pipeline(np.zeros((16, 16, 3), dtype=np.uint8), epoch=0, index=0)
        except UsageError as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            pipeline._of_thread = threading.local()
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failed
    assert warnings.filters == before


def test_transforms_draw_apart_from_each_other(images: list[Pixels]) -> None:
    """Albumentations' own seeding would mirror both ways or not at all."""
    pipeline = Pipeline(({"HorizontalFlip": {"p": 0.5}}, {"VerticalFlip": {"p": 0.5}}), seed=0)
    image = images[0]
    versions = {
        image.tobytes(): 0,
        image[:, ::-1].tobytes(): 1,
        image[::-1].tobytes(): 2,
        image[::-1, ::-1].tobytes(): 3,
    }
    counts = Counter(versions[pipeline(image, epoch=0, index=index).tobytes()] for index in range(1000))
    assert all(180 < counts[version] < 320 for version in range(4))


def test_the_result_is_that_of_albumentations(images: list[Pixels]) -> None:
    import albumentations

    pipeline = Pipeline(({"GaussianBlur": {"sigma_limit": [1.0, 1.0], "p": 1.0}},), seed=0)
    theirs = albumentations.GaussianBlur(sigma_limit=(1.0, 1.0), p=1.0)(image=images[0])["image"]
    assert np.array_equal(pipeline(images[0], epoch=0, index=0), theirs)


def test_what_is_given_stays_as_it_is_and_may_be_read_only(images: list[Pixels]) -> None:
    pipeline = Pipeline(({"CoarseDropout": {"p": 1.0}}, {"RandomBrightnessContrast": {"p": 1.0}}), seed=0)
    given = images[0].copy()
    given.setflags(write=False)
    assert not np.array_equal(pipeline(given, epoch=0, index=0), images[0])
    assert np.array_equal(given, images[0])


def test_grey_images_keep_their_channel(images: list[Pixels]) -> None:
    result = Pipeline(CIFAR10NET, seed=0)(images[0][:, :, :1], epoch=0, index=0)
    assert result.shape == (48, 48, 1)


def test_compositions_hold_transforms(images: list[Pixels]) -> None:
    inner = [{"HorizontalFlip": {"p": 1.0}}, {"VerticalFlip": {"p": 1.0}}]
    pipeline = Pipeline(({"OneOf": {"transforms": inner, "p": 1.0}},), seed=0)
    image = images[0]
    versions = {image[:, ::-1].tobytes(): 0, image[::-1].tobytes(): 1}
    counts = Counter(versions[pipeline(image, epoch=0, index=index).tobytes()] for index in range(200))
    assert 60 < counts[0] < 140


def test_every_transform_that_needs_no_argument_is_repeatable(images: list[Pixels]) -> None:
    """None of them draws from a source of its own."""
    import albumentations

    tried = 0
    for name in dir(albumentations):
        arguments: dict[str, Any] = {"p": 1.0}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pipeline = Pipeline(({name: arguments},), seed=1)
                one = pipeline(images[0], epoch=0, index=1)
                others = [pipeline(images[0], epoch=0, index=index) for index in (2, 3)]
                again = pipeline(images[0], epoch=0, index=1)
        except UsageError:
            continue  # needs arguments, or something else than an image of 8 bits
        tried += 1
        assert np.array_equal(one, again), name
        assert len(others) == 2
    assert tried > 60


def test_an_unknown_transform_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no transform 'HorizontalFlop' \(did you mean 'HorizontalFlip'\?\)"):
        Pipeline(({"HorizontalFlop": {}},), seed=0)
    for name in ("BasicTransform", "os", "Compose3"):
        with pytest.raises(UsageError, match="no transform"):
            Pipeline(({name: {}},), seed=0)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UsageError, match=r"CoarseDropout has no argument 'max_holes'"):
        Pipeline(({"CoarseDropout": {"max_holes": 1}},), seed=0)
    with pytest.raises(UsageError, match=r"no argument 'P' \(did you mean 'p'\?\)"):
        Pipeline(({"HorizontalFlip": {"P": 0.5}},), seed=0)
    with pytest.raises(UsageError, match=r"HorizontalFlip refuses p=7"):
        Pipeline(({"HorizontalFlip": {"p": 7}},), seed=0)
    with pytest.raises(UsageError, match=r"RandomCrop refuses no arguments(.|\n)*height"):
        Pipeline(({"RandomCrop": {}},), seed=0)
    with pytest.raises(UsageError, match=r"VerticalFlop"):
        Pipeline(({"OneOf": {"transforms": [{"VerticalFlop": {}}]}},), seed=0)


@pytest.mark.parametrize(
    "entry", [{}, {"HorizontalFlip": {}, "VerticalFlip": {}}, {"HorizontalFlip": 0.5}, "HorizontalFlip"]
)
def test_an_entry_that_is_not_one_transform_is_refused(entry: Any) -> None:
    with pytest.raises(UsageError, match="has an entry"):
        Pipeline((entry,), seed=0)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"Normalize": {}}, r"gives float32(.|\n)*leave out Normalize"),
        ({"ToTensorV2": {}}, r"leave out Normalize"),
        ({"RandomCrop": {"height": 20, "width": 30}}, "makes 20 x 30 x 3 of an image of 48 x 48 x 3"),
        ({"RandomCrop": {"height": 60, "width": 60}}, "failed on an image of 48 x 48 x 3"),
    ],
)
def test_results_that_cannot_be_used_are_refused(images: list[Pixels], transform: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline((transform,), seed=0)(images[0], epoch=0, index=0)


def test_without_albumentations_the_extra_is_named_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"eyebright\[albumentations\]\""):
        Pipeline(CIFAR10NET, seed=0)


@pytest.fixture
def unimported() -> Iterator[None]:
    """Albumentations as if it had not been imported yet."""
    held = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "albumentations"}
    for name in held:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "albumentations"]:
        del sys.modules[name]
    sys.modules.update(held)


@pytest.mark.usefixtures("unimported")
def test_no_server_is_asked_for_a_newer_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Pipeline(({"HorizontalFlip": {}},), seed=0)
