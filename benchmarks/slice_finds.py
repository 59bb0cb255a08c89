"""How often the search for bad slices finds something where only the class matters: at most 5 % are promised.

    python benchmarks/slice_finds.py [--sets 2000]

The sets of images are those of tests/evaluation/test_slice_search.py, which holds the promise with fewer of them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from eyebright.evaluation.intervals import wilson
from eyebright.evaluation.slice_search import search_slices
from machine import describe

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "evaluation"))

from test_slice_search import answers, world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    sets = parser.parse_args().sets
    found = 0
    for seed in range(sets):
        labels, wrong, columns = world(seed)
        found += bool(search_slices(answers(labels, wrong), columns, resamples=199, seed=seed))
    low, high = wilson(found, sets)
    print(describe())
    print(f"something found in {found} of {sets} sets: {found / sets:.2%} ({float(low):.2%} to {float(high):.2%})")


if __name__ == "__main__":
    main()
