"""Augmentation: images a second of each option on batches, beside torchvision's transforms on single images.

    python benchmarks/augmentation.py --flowers ../shared/data/flowers --cifar10 ../shared/data/cifar10

Flowers at 128 px in batches of 64, CIFAR-10 at 32 px in batches of 128. Both sides begin with the same images of 8 bits
and end with a float32 batch on the scale from 0 to 1; the first row is that alone. torchvision's v2 transforms get one
image after the other, as a data loader's worker would give them, with the same ranges. Both compute on one thread, and
its processor time counts, so that a busy machine does not blur the comparison. The two take turns; the median and the
range of the rounds are printed. Albumentations is measured where it is installed, beside its own Compose.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from eyebright.allocator import keep_freed_memory
from eyebright.config import AugmentConfig
from eyebright.data.augment import Pipeline, augment, draw, draw_mixing, mix, step_generator
from eyebright.errors import MissingDependencyError
from machine import describe

Step = Callable[[int], object]
BILINEAR = InterpolationMode.BILINEAR
OFF = {"flip": False, "min_area": 1.0, "aspect": 0.0, "brightness": 0.0, "contrast": 0.0, "mixup": 0.0}


def options(size: int) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """For each option our settings and torchvision's transforms of one image."""
    affine = {"translate": (0.1, 0.1), "scale": (0.9, 1.1), "shear": 10, "interpolation": BILINEAR}
    crop = v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(0.82, 1.22), antialias=False)
    moves = {"rotation": 15.0, "shift": 0.1, "scale": 0.1, "shear": 10.0, "fill": "black"}
    jitter = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
    return {
        "nothing but float": ({}, []),
        "flip": ({"flip": True}, [v2.RandomHorizontalFlip()]),
        "crop": ({"min_area": 0.5, "aspect": 0.2}, [crop]),
        "rotation": ({"rotation": 15.0, "fill": "black"}, [v2.RandomRotation(15, BILINEAR)]),
        "rotation, reflected": ({"rotation": 15.0}, []),
        "rotation, shift, scale, shear": (moves, [v2.RandomAffine(15, **affine)]),
        "crop, flip and these": (
            moves | {"min_area": 0.5, "aspect": 0.2, "flip": True},
            [crop, v2.RandomHorizontalFlip(), v2.RandomAffine(15, **affine)],
        ),
        "brightness": ({"brightness": 0.2}, [v2.ColorJitter(brightness=0.2)]),
        "contrast": ({"contrast": 0.2}, [v2.ColorJitter(contrast=0.2)]),
        "saturation": ({"saturation": 0.2}, [v2.ColorJitter(saturation=0.2)]),
        "hue": ({"hue": 0.1}, [v2.ColorJitter(hue=0.1)]),
        "all four": (jitter, [v2.ColorJitter(**jitter)]),
        "RandAugment": ({"policy": "randaugment"}, [v2.RandAugment()]),
        "TrivialAugment": ({"policy": "trivialaugment"}, [v2.TrivialAugmentWide()]),
        "erasing": ({"erasing": 0.3}, [v2.RandomErasing(0.3, ratio=(0.3, 1 / 0.3))]),
        "mixup": ({"mixup": 0.2}, []),
        "cutmix": ({"cutmix": 1.0}, []),
    }


def read_flowers(folder: Path, count: int) -> torch.Tensor:
    files = [file for kind in sorted(folder.iterdir()) if kind.is_dir() for file in sorted(kind.iterdir())]
    chosen = files[:: max(1, len(files) // count)][:count]
    return stack([Image.open(file).convert("RGB").resize((128, 128), Image.Resampling.BICUBIC) for file in chosen])


def read_cifar10(folder: Path, count: int) -> torch.Tensor:
    column = pq.read_table(next(folder.glob("test-*.parquet")))["image"].slice(0, count)
    return stack([Image.open(io.BytesIO(entry["bytes"])).convert("RGB") for entry in column.to_pylist()])


def stack(images: list[Image.Image]) -> torch.Tensor:
    """uint8 (N, C, S, S), channels-last in memory as batches from a pack are."""
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def ours(pixels: torch.Tensor, batch: int, values: dict[str, Any]) -> Step:
    settings = AugmentConfig(**(OFF | values))
    side = pixels.shape[-1]

    def step(number: int) -> torch.Tensor:
        first = number * batch % len(pixels)
        images = pixels[first : first + batch].float().div_(255)
        generator = step_generator(0, number)
        draws = draw(settings, batch, side=side, size=side, generator=generator)
        mixing = draw_mixing(settings, batch, size=side, generator=generator)
        images = augment(images, draws, size=side, settings=settings)
        return images if mixing is None else mix(images, images[mixing.partner], mixing)

    return step


def torchvisions(pixels: torch.Tensor, batch: int, transforms: list[Any]) -> Step:
    together = v2.Compose([*transforms, v2.ToDtype(torch.float32, scale=True)])

    def step(number: int) -> torch.Tensor:
        first = number * batch % len(pixels)
        return torch.stack([together(image) for image in pixels[first : first + batch]])

    return step


def albumentations_steps(pixels: torch.Tensor, batch: int) -> tuple[Step, Step]:
    """Our repeatable pipeline, and Albumentations' own Compose; both leave 8 bits."""
    hole = max(8, pixels.shape[-1] // 4)
    pipeline = Pipeline(
        (
            {"HorizontalFlip": {"p": 0.5}},
            {"Affine": {"translate_percent": [-0.1, 0.1], "scale": [0.9, 1.1], "rotate": [-15, 15], "p": 0.5}},
            {"CoarseDropout": {"num_holes_range": [1, 1], "hole_height_range": [hole, hole],
                               "hole_width_range": [hole, hole], "p": 0.3}},
        ),
        seed=0,
    )  # fmt: skip
    import albumentations

    compose = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(translate_percent=(-0.1, 0.1), scale=(0.9, 1.1), rotate=(-15, 15), p=0.5),
            albumentations.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=(hole, hole), hole_width_range=(hole, hole), p=0.3
            ),
        ]
    )
    arrays = np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())

    def own(number: int) -> None:
        for index in range(number * batch % len(arrays), number * batch % len(arrays) + batch):
            pipeline(arrays[index], epoch=0, index=index)

    def theirs(number: int) -> None:
        for index in range(number * batch % len(arrays), number * batch % len(arrays) + batch):
            compose(image=arrays[index])

    return own, theirs


def measure(steps: dict[str, Step], batch: int, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Images a second of processor time in each round; the sides take turns, and each is warmed up once."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(0)
    for _ in range(rounds):
        for name, step in steps.items():
            began, number = time.process_time(), 0
            while (taken := time.process_time() - began) < seconds:
                step(number)
                number += 1
            rates[name].append(number * batch / taken)
    return rates


def cell(rates: list[float] | None) -> str:
    if rates is None:
        return f"{'-':>24s}"
    return f"{statistics.median(rates):8,.0f} ({min(rates):,.0f} to {max(rates):,.0f})".rjust(24)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flowers", type=Path, required=True)
    parser.add_argument("--cifar10", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="processor time of each side in each round")
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    print(describe())
    sets = (
        ("flowers, 128 px", read_flowers(given.flowers, 256), 64),
        ("cifar10, 32 px", read_cifar10(given.cifar10, 1024), 128),
    )
    for title, pixels, batch in sets:
        print(f"\n{title}, batches of {batch}: images a second of processor time, median (range) of {given.rounds}")
        print(f"{'':32s}{'Eyebright':>24s}{'torchvision':>24s}   ratio")
        rows: dict[str, dict[str, Step]] = {}
        for name, (values, transforms) in options(pixels.shape[-1]).items():
            rows[name] = {"ours": ours(pixels, batch, values)}
            if transforms or not values:
                rows[name]["theirs"] = torchvisions(pixels, batch, transforms)
        try:
            own, compose = albumentations_steps(pixels, batch)
            rows["Albumentations (its Compose)"] = {"ours": own, "theirs": compose}
        except MissingDependencyError:
            pass
        for name, steps in rows.items():
            rates = measure(steps, batch, given.rounds, given.seconds)
            theirs = rates.get("theirs")
            ratio = f"{statistics.median(rates['ours']) / statistics.median(theirs):8.1f}" if theirs else ""
            print(f"{name:32s}{cell(rates['ours'])}{cell(theirs)}{ratio}")


if __name__ == "__main__":
    main()
