"""What training does to images: draws apart from their application, so that devices can share a batch.

    draws = draw(settings, len(images), side=side, size=size, generator=step_generator(seed, step))
    images = augment(images, draws, size=size, settings=settings)

Everything happens on batches, on the device that trains; only an Albumentations `Pipeline` works on single images,
on the CPU. All random numbers of a step come from a generator seeded by (seed, step), so that a resumed run repeats
them.
"""

from eyebright.data.augment.albumentations import Pipeline
from eyebright.data.augment.apply import augment, augments
from eyebright.data.augment.draws import Draws, draw, step_generator
from eyebright.data.augment.mixing import Mixing, draw_mixing, mix, mix_targets

__all__ = [
    "Draws",
    "Mixing",
    "Pipeline",
    "augment",
    "augments",
    "draw",
    "draw_mixing",
    "mix",
    "mix_targets",
    "step_generator",
]
