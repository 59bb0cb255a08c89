"""How well an epoch that reads files in order mixes classes, for files sorted by class: the worst case.

    python benchmarks/mixing.py

For each number of classes and each window: the entropy of the classes in batches of 256 images, in bits, as mean and
smallest value over an epoch of 100,000 images. `runs` is Eyebright's order (runs shuffled over the epoch, images
shuffled in the window), `buffer` a sliding shuffle buffer of the same size, which most loaders have, `all` a full
shuffle. It computes orders only, so the machine does not matter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eyebright.data.sampling import Window, epoch_order

IMAGES = 100_000
BATCH = 256


def entropies(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Bits of the class shares of each whole batch."""
    batches = labels[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    shares = np.stack([np.bincount(batch, minlength=labels.max() + 1) for batch in batches]) / BATCH
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=1)


def sliding_buffer(count: int, buffer: int) -> npt.NDArray[np.int64]:
    """A buffer is filled in the order of the files; each image drawn makes room for the next."""
    random = np.random.default_rng(0)
    held, order = list(range(min(buffer, count))), []
    for following in range(len(held), count):
        place = int(random.integers(len(held)))
        order.append(held[place])
        held[place] = following
    return np.array([*order, *random.permutation(held)])


def main() -> None:
    print(f"{'classes':>8} {'window':>8} {'runs':>14} {'buffer':>14} {'all':>14}   bits, mean and smallest of a batch")
    for classes in (10, 100, 1000):
        targets = np.repeat(np.arange(classes), IMAGES // classes)
        full = entropies(targets[epoch_order(targets, seed=0, epoch=0, sampling="shuffle")])
        for images in (1024, 8192, 32_768):
            window = Window(images=images, rows=np.arange(IMAGES))
            ours = entropies(targets[epoch_order(targets, seed=0, epoch=0, sampling="shuffle", window=window)])
            buffered = entropies(targets[sliding_buffer(IMAGES, images)])
            cells = " ".join(f"{found.mean():8.2f} {found.min():5.2f}" for found in (ours, buffered, full))
            print(f"{classes:>8} {images:>8} {cells}")


if __name__ == "__main__":
    main()
