"""Do 95 % intervals hold the truth in 95 of 100 test sets? Simulated for every metric; and false alarms and power.

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py [--quick] [--sets 1000] [--table FILE ...]

An imagined classifier answers images drawn at random from an endless supply, so that the number of images of each class
is random too. The truth of a metric is its value by the same definition, the mean of five times 200,000 images (100,000
for 100 classes); for `ece` that is the calibration error over 15 equal-mass bins of so many images. Then `--sets` test
sets are scored, and each interval holds the truth or does not. A coverage is itself measured, so it is shown with its
Wilson interval, and marked `low` or `wide` when that lies wholly outside 93 to 97 %.

Logits are normal noise, part of it common to a superclass of two classes, plus a margin of the true class that differs
between classes and, much, between images; the temperature is a little too low, so the confidence a little too high.
With `--table RUN/predictions.parquet`, the test images of a finished run stand for the supply: test sets are drawn from
them with replacement.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from eyebright.evaluation.costs import CostMatrix
from eyebright.evaluation.detectable import (
    detectable_difference,
    detectable_difference_apart,
    presumed_disagreement,
)
from eyebright.evaluation.estimate import Estimate
from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.metrics import Metrics, evaluate
from eyebright.evaluation.paired import mcnemar, paired_difference
from eyebright.evaluation.predictions import Predictions, make_predictions
from machine import describe

GOAL = (0.93, 0.97)
PER_CLASS = ("precision", "recall", "f1", "auroc", "average_precision")
FEW = 10
"""Numbers of one class are followed for the largest and the smallest class, where it should have so many images."""
SETUPS = [  # classes, balanced, accurate, images
    (2, True, True, 100), (2, False, True, 200), (2, True, False, 100), (2, False, False, 500),
    (5, True, False, 100), (5, False, True, 200), (5, True, True, 500), (5, False, False, 2000),
    (10, True, True, 200), (10, False, False, 200), (10, False, True, 500), (10, True, False, 1000),
    (10, False, True, 2000), (100, True, False, 1000), (100, False, True, 2000),
]  # fmt: skip
MARGINS = {
    (2, True): 5.2, (5, True): 6.4, (10, True): 7.2, (100, True): 9.5,
    (2, False): 1.2, (5, False): 1.6, (10, False): 2.0, (100, False): 2.9,
}  # fmt: skip

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


@dataclasses.dataclass
class World:
    """An imagined classifier and the images that it meets."""

    classes: int
    balanced: bool
    accurate: bool
    temperature: float = 1.0

    def __post_init__(self) -> None:
        generator = np.random.default_rng([self.classes, self.balanced, self.accurate])
        shares = np.geomspace(1, 1 if self.balanced else 0.12, self.classes)
        self.shares = shares / shares.sum()
        self.margins = MARGINS[self.classes, self.accurate] + generator.normal(size=self.classes) * 0.4
        self.above = np.arange(self.classes) // 2
        costs = generator.choice([1.0, 2.0, 5.0], size=(self.classes, self.classes))
        costs[0] *= 2
        np.fill_diagonal(costs, 0)
        self.names = [f"class {number:03d}" for number in range(self.classes)]
        self.costs = CostMatrix(tuple(self.names), costs)
        labels, logits = self.draw(20_000, generator)

        def loss(log_temperature: float) -> float:
            scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
            return -float(scaled[np.arange(len(labels)), labels].mean())

        best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
        self.temperature = 0.9 * float(np.exp(best))

    def draw(self, images: int, generator: np.random.Generator) -> Batch:
        """Labels and logits of so many images."""
        labels = generator.choice(self.classes, size=images, p=self.shares)
        logits = generator.normal(size=(images, self.classes)) * 1.5
        if self.classes > 2:
            logits += generator.normal(size=(images, self.above[-1] + 1))[:, self.above] * 0.8
            logits += (self.above[None] == self.above[labels][:, None]) * 0.6
        logits[np.arange(images), labels] += self.margins[labels] * generator.gamma(4, 0.25, size=images)
        return labels, (logits / self.temperature).astype(np.float32)

    def table(self, batch: Batch) -> Predictions:
        """The predictions table of a batch."""
        labels, logits = batch
        ids = [str(number) for number in range(len(labels))]
        above = {name: f"above {number}" for name, number in zip(self.names, self.above, strict=True)}
        names = [self.names[label] for label in labels]
        superclasses = above if self.classes > 2 else None
        return make_predictions(ids, ids, names, ["test"] * len(ids), logits, 1.0, self.names, superclasses)


def numbers(metrics: Metrics, followed: list[int]) -> dict[str, Estimate]:
    """All estimates by name, those of the classes followed too."""
    found = {
        f"{name} of class {index}": getattr(metrics.per_class[index], name)
        for index in followed
        for name in PER_CLASS
        if metrics.per_class[index].support and metrics.per_class[index].predicted
    }
    return dict(metrics.estimates()) | {name: estimate for name, estimate in found.items() if estimate is not None}


def simulated(setup: tuple[int, bool, bool, int], sets: int) -> tuple[str, dict[str, tuple[int, int]]]:
    """Name of a set-up, and for each number how many of how many intervals held the truth."""
    classes, balanced, accurate, images = setup
    world, generator = World(classes, balanced, accurate), np.random.default_rng(1)
    followed = [index for index in (0, classes - 1) if world.shares[index] * images >= FEW]
    supply = 200_000 if classes < 100 else 100_000
    parts = [evaluate(world.table(world.draw(supply, generator)), costs=world.costs) for _ in range(5)]
    known = [{name: estimate.value for name, estimate in numbers(part, followed).items()} for part in parts]
    true = {name: statistics.fmean(part[name] for part in known) for name in known[0]}
    name = f"{classes:3d} classes {'even' if balanced else 'uneven':6s} accuracy {true['accuracy']:.2f} n={images}"
    tables = (world.table(world.draw(images, generator)) for _ in range(sets))
    return name, caught(tables, true, lambda table: numbers(evaluate(table, costs=world.costs), followed))


def drawn_from(path: Path, images: int, sets: int) -> tuple[str, dict[str, tuple[int, int]]]:
    """The same with the test images of a run as supply."""
    supply, generator = Predictions.read(path).select("test"), np.random.default_rng(1)
    whole = evaluate(supply)
    followed = [index for index in (0, len(supply.classes) - 1)
                if whole.per_class[index].support * images >= FEW * len(supply)]  # fmt: skip
    true = {name: estimate.value for name, estimate in numbers(whole, followed).items()}
    name = f"{path.parent.name}: {len(supply.classes)} classes accuracy {true['accuracy']:.2f} n={images}"
    tables = (supply.rows(generator.integers(0, len(supply), images)) for _ in range(sets))
    return name, caught(tables, true, lambda table: numbers(evaluate(table), followed))


def caught(
    tables: Iterator[Predictions], true: dict[str, float], score: Callable[[Predictions], dict[str, Estimate]]
) -> dict[str, tuple[int, int]]:
    """For each number: intervals that held the truth, and intervals."""
    held = {name: [0, 0] for name in true}
    for table in tables:
        for name, estimate in score(table).items():
            if name in held:
                held[name][0] += estimate.low <= true[name] <= estimate.high
                held[name][1] += 1
    merged: dict[str, list[int]] = {}
    for name, (inside, tried) in held.items():
        total = merged.setdefault(name.split(" of class")[0] + (", one class" if " of class" in name else ""), [0, 0])
        total[0] += inside
        total[1] += tried
    return {name: (inside, tried) for name, (inside, tried) in merged.items() if tried}


def verdict(inside: int, tried: int) -> str:
    """`low` or `wide` where the coverage is surely outside the goal."""
    low, high = wilson(inside, tried)
    return "low" if high < GOAL[0] else "wide" if low > GOAL[1] else ""


def show(results: list[tuple[str, dict[str, tuple[int, int]]]]) -> None:
    """Each set-up, then each number over the set-ups."""
    names = list(dict.fromkeys(name for _, found in results for name in found))
    print("\n| number | coverage, all set-ups | least | most | in 93-97 % | surely low | surely wide |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        counts = [found[name] for _, found in results if name in found]
        inside, tried = (sum(values) for values in zip(*counts, strict=True))
        low, high = (100 * float(limit) for limit in wilson(inside, tried))
        shares = [held / of for held, of in counts]
        marks = [verdict(held, of) for held, of in counts]
        within = sum(GOAL[0] <= share <= GOAL[1] for share in shares)
        print(
            f"| {name} | {100 * inside / tried:.1f} ({low:.1f} to {high:.1f}) | {100 * min(shares):.1f} | "
            f"{100 * max(shares):.1f} | {within} of {len(shares)} | {marks.count('low')} | {marks.count('wide')} |"
        )
    everything = [counts for _, found in results for counts in found.values()]
    within = sum(GOAL[0] <= inside / tried <= GOAL[1] for inside, tried in everything)
    marks = [verdict(*counts) for counts in everything]
    print(f"\n{within} of {len(everything)} coverages lie in 93 to 97 %; {marks.count('low')} are surely below, "
          f"{marks.count('wide')} surely above")  # fmt: skip


def pairs(
    accuracy: float, difference: float, disagreement: float, images: int, sets: int
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Whether two classifiers are right, the second better by the difference."""
    generator = np.random.default_rng(2)
    first, second = (disagreement - difference) / 2, (disagreement + difference) / 2
    for _ in range(sets):
        chance = generator.random(images)
        both = chance > 1 - (accuracy - first)
        yield both | (chance < first), both | ((chance >= first) & (chance < first + second))


def show_pairs(sets: int) -> None:
    """False alarms, power and coverage of the paired comparison, and power of two separate test sets."""
    print("\n| n | accuracy | disagreement | false alarms of mcnemar at 5 % | coverage of paired_difference | "
          "detectable | found by mcnemar | detectable apart | found by two proportions |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for images, accuracy in ((100, 0.7), (200, 0.9), (500, 0.8), (1000, 0.95), (2000, 0.6)):
        errors = round(images * (1 - accuracy))
        share = presumed_disagreement(errors, images)
        alarms, covered, found = 0, 0, 0
        for right_a, right_b in pairs(accuracy, 0.0, share, images, sets):
            alarms += mcnemar(right_a, right_b) <= 0.05
        difference = detectable_difference(images, share) or 1.0
        for right_a, right_b in pairs(accuracy, difference, max(share, difference), images, sets):
            found += mcnemar(right_a, right_b) <= 0.05
            estimate = paired_difference(right_b, right_a)
            covered += estimate.low <= difference <= estimate.high
        apart = detectable_difference_apart(images, errors) or 1.0
        side = -1 if accuracy > 0.5 else 1
        generator = np.random.default_rng(3)
        known = 1 - (errors + 1) / (images + 2)
        hits = generator.binomial(images, [[known, known + side * apart]] * sets) / images
        middle = hits.mean(axis=1)
        error = np.sqrt(2 * middle * (1 - middle) / images)
        separate = float((np.abs(hits[:, 0] - hits[:, 1]) > 1.959964 * error).mean())
        print(
            f"| {images} | {accuracy} | {share:.3f} | {100 * alarms / sets:.1f} % | {100 * covered / sets:.1f} % | "
            f"{difference:.4f} | {100 * found / sets:.1f} % | {apart:.4f} | {100 * separate:.1f} % |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=1000, help="test sets of each set-up; a third for 100 classes")
    parser.add_argument("--quick", action="store_true", help="200 test sets of every third set-up")
    parser.add_argument("--table", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=500, help="images of a test set drawn from a table")
    given = parser.parse_args()
    sets, setups = (200, SETUPS[::3]) if given.quick else (given.sets, SETUPS)
    print(describe(), f"{os.environ.get('OMP_NUM_THREADS', 'default')} thread(s), {sets} test sets a set-up", sep=", ")
    began, results = time.monotonic(), []
    measured = [lambda setup=setup: simulated(setup, sets if setup[0] < 100 else sets // 3) for setup in setups]
    measured += [lambda path=path: drawn_from(path, given.images, sets) for path in given.table]
    for measure in measured:
        start = time.monotonic()
        name, found = measure()
        results.append((name, found))
        off = [f"{key} {100 * inside / tried:.1f} {verdict(inside, tried)}".strip()
               for key, (inside, tried) in found.items() if not GOAL[0] <= inside / tried <= GOAL[1]]  # fmt: skip
        print(f"{name} ({time.monotonic() - start:.0f} s): outside 93-97 %: {', '.join(off) or 'nothing'}", flush=True)
    show(results)
    show_pairs(2 * sets)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
