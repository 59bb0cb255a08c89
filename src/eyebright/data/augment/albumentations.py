"""A pipeline of Albumentations on single images, on the CPU, repeatable whatever thread takes which image.

Albumentations 2.0.8 is the last release under the MIT licence; its successor `albumentationsx` is under the AGPL and
is not supported.
"""

from __future__ import annotations

import importlib
import inspect
import os
import random
import threading
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.errors import MissingDependencyError, UsageError, did_you_mean

_ZEROS = np.zeros(4, dtype=np.uint64)
_EXTRA = 'pip install "eyebright[albumentations]"'
_BASES = {
    "BasicTransform",
    "DualTransform",
    "ImageOnlyTransform",
    "Transform3D",
    "BaseCompose",
}  # do nothing themselves
_BUILDING = threading.Lock()  # the warnings that are silenced meanwhile belong to the whole process


class Pipeline:
    """Transforms that follow each other, with random numbers that depend on (seed, epoch, index) alone.

    Threads may share a pipeline: each of them builds transforms of its own at its first image.

    Args:
        transforms: one-key mappings from the name of a transform to its arguments. Compositions such as `OneOf` take
            such a list as `transforms`.
        seed: of the run, from 0 to 2**31 - 1.

    Raises:
        MissingDependencyError: Albumentations is not installed.
        UsageError: an unknown transform or argument, or a value that the transform refuses.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Mapping[str, Any]]], *, seed: int) -> None:
        self.transforms = transforms
        self.seed = seed
        self._of_thread = threading.local()
        self._compose()  # mistakes show here and not in a thread

    def __call__(self, pixels: npt.NDArray[np.uint8], *, epoch: int, index: int) -> npt.NDArray[np.uint8]:
        """Transform one image.

        Args:
            pixels: uint8 (S, S, C), C 1 or 3; left as it is.
            epoch: from 0.
            index: of the image, the same in every epoch.

        Returns:
            uint8 (T, T, C); T is S unless a transform changes it.

        Raises:
            UsageError: a transform fails, or gives something else than a square image of 8 bits.
        """
        compose, numpy_random, python_random = self._compose()
        # Philox has as many independent streams as keys, so there is nothing to hash and nothing to warm up.
        numpy_random.bit_generator.state = {
            "bit_generator": "Philox",
            "state": {"counter": _ZEROS, "key": np.array([self.seed << 32 | epoch, index], dtype=np.uint64)},
            "buffer": _ZEROS,
            "buffer_pos": 4,  # empty
            "has_uint32": 0,
            "uinteger": 0,
        }
        python_random.seed(int(numpy_random.integers(2**63)))
        try:
            result = compose(image=pixels.copy())["image"]
        except Exception as error:
            raise UsageError(
                f"the Albumentations pipeline failed on an image of {_shape(pixels)}: {error}",
                expected="transforms that take an image of that size",
                remedy="change augment.albumentations",
            ) from error
        return _checked(result, pixels)

    def _compose(self) -> tuple[Any, np.random.Generator, random.Random]:
        """The transforms of this thread, and the two sources of random numbers that all of them share.

        Albumentations' own `set_random_seed` gives every transform the same seed, so that transforms of the same
        probability would always come together.
        """
        own: tuple[Any, np.random.Generator, random.Random] | None = getattr(self._of_thread, "own", None)
        if own is None:
            library = _library()
            compose = library.Compose(build_transforms(self.transforms, library), is_check_shapes=False)
            own = compose, np.random.Generator(np.random.Philox(0)), random.Random(0)
            compose.set_random_state(*own[1:])
            self._of_thread.own = own
        return own


def build_transforms(transforms: Sequence[Mapping[str, Mapping[str, Any]]], library: Any) -> list[Any]:
    """Objects of Albumentations for one-key mappings from a name to arguments.

    Raises:
        UsageError: an unknown transform or argument, or a value that the transform refuses.
    """
    return [_build(name, dict(arguments), library) for entry in transforms for name, arguments in _one_key(entry)]


def _one_key(entry: Any) -> Sequence[tuple[str, Mapping[str, Any]]]:
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
        if arguments is None or isinstance(arguments, Mapping):
            return [(name, arguments or {})]
    raise UsageError(
        f"augment.albumentations has an entry {entry!r}",
        expected="a mapping from the name of one transform to its arguments, as {HorizontalFlip: {p: 0.5}}",
    )


def _build(name: str, arguments: dict[str, Any], library: Any) -> Any:
    known = _known(library)
    if name not in known:
        raise UsageError(
            f"Albumentations {library.__version__} has no transform {name!r}{did_you_mean(name, known)}",
            expected="the name of a transform, such as HorizontalFlip",
        )
    kind = known[name]
    accepted = list(inspect.signature(kind).parameters)
    for argument in arguments:
        if argument not in accepted:
            raise UsageError(
                f"the Albumentations transform {name} has no argument {argument!r}{did_you_mean(argument, accepted)}",
                expected=f"one of {', '.join(accepted)}",
            )
    if issubclass(kind, library.BaseCompose):
        arguments["transforms"] = build_transforms(arguments.get("transforms", ()), library)
    try:
        return _strictly(kind, arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UsageError(f"the Albumentations transform {name} refuses {given or 'no arguments'}: {error}") from error


def _strictly(kind: Any, arguments: dict[str, Any]) -> Any:
    """Without `strict`, Albumentations answers some mistakes with a warning and its defaults."""
    with _BUILDING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to use another transform
        try:
            return kind(**arguments, strict=True)
        except TypeError as error:
            if "unexpected keyword argument 'strict'" not in str(error):
                raise
            return kind(**arguments)  # one of those that check nothing but their own signature


def _known(library: Any) -> dict[str, Any]:
    """The transforms and compositions by name."""
    bases = (library.BasicTransform, library.BaseCompose)
    return {
        name: kind
        for name, kind in vars(library).items()
        if inspect.isclass(kind) and issubclass(kind, bases) and name not in _BASES
    }


def _library() -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise the import asks a server for the newest version
    try:
        return importlib.import_module("albumentations")
    except ImportError as error:
        raise MissingDependencyError(
            f"augment.albumentations needs Albumentations, which cannot be imported: {error}", remedy=_EXTRA
        ) from error


def _shape(pixels: npt.NDArray[Any]) -> str:
    return " x ".join(str(length) for length in pixels.shape)


def _checked(result: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The result with a dimension for its channels, as it must be."""
    if isinstance(result, np.ndarray) and result.ndim == 2:
        result = result[:, :, None]
    if not isinstance(result, np.ndarray) or result.dtype != np.uint8:
        raise UsageError(
            f"the Albumentations pipeline gives {getattr(result, 'dtype', type(result).__name__)}",
            expected="images of 8 bits",
            remedy="leave out Normalize, ToFloat and ToTensorV2: Eyebright normalises after the pipeline",
        )
    if result.ndim != 3 or result.shape[0] != result.shape[1] or result.shape[2] != pixels.shape[2]:
        raise UsageError(
            f"the Albumentations pipeline makes {_shape(result)} of an image of {_shape(pixels)}",
            expected="a square image with as many channels",
            remedy="change the size that the transforms of augment.albumentations are given",
        )
    return result
