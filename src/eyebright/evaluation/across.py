"""The same models on several data sets: the accuracy of each on each, its ranks, and its mean rank.

Ranks are the only thing that is summed over data sets: a point of accuracy is easy to win on one and hard on another
(J. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7, 2006). With a handful of data
sets no test over them has any power, so none is made; tests stay within each data set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from eyebright.evaluation.compare import Contest
from eyebright.evaluation.estimate import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One model on one data set.

    Attributes:
        runs: names of its classifiers there; several when it was trained several times.
        accuracy: mean over those runs.
        estimate: with its interval; None for several runs.
        rank: 1 for the best here of the models that were run on every data set, equal accuracies sharing their mean
            rank; None for a model that was not.
        tied_with_best: one of its runs was not told apart from the best classifier there.
    """

    runs: tuple[str, ...]
    accuracy: float
    estimate: Estimate | None
    rank: float | None
    tied_with_best: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Across:
    """Models by data set.

    Attributes:
        data_sets: their names, in the order given.
        models: names of the models, the lowest mean rank first; those that miss a data set come last.
        cells: {model: {data set: cell}}; a data set is absent where the model was not run.
        mean_ranks: of the models that were run on every data set.
    """

    data_sets: tuple[str, ...]
    models: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    mean_ranks: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "data_sets": list(self.data_sets),
            "models": {
                model: {
                    "mean_rank": self.mean_ranks.get(model),
                    "data_sets": {name: dataclasses.asdict(cell) for name, cell in self.cells[model].items()},
                }
                for model in self.models
            },
        }


def across_data_sets(contests: Sequence[tuple[str, Contest, Mapping[str, str]]]) -> Across:
    """Put contests on several data sets beside each other.

    Args:
        contests: for each data set its name, the contest, and the model that each of its classifiers is an example of.
    """
    runs = {data_set: _runs_by_model(contest, model_of) for data_set, contest, model_of in contests}
    models = dict.fromkeys(model for row in runs.values() for model in row)
    complete = [model for model in models if all(model in row for row in runs.values())]
    cells: dict[str, dict[str, Cell]] = {model: {} for model in models}
    for data_set, contest, _ in contests:
        tied = set(contest.tied_with_best())
        means = {
            model: float(np.mean([contest.metrics[name].accuracy.value for name in names]))
            for model, names in runs[data_set].items()
        }
        ranks = dict(zip(complete, rankdata([-means[model] for model in complete]), strict=True))
        for model, names in runs[data_set].items():
            cells[model][data_set] = Cell(
                runs=tuple(names),
                accuracy=means[model],
                estimate=contest.metrics[names[0]].accuracy if len(names) == 1 else None,
                rank=float(ranks[model]) if model in ranks else None,
                tied_with_best=bool(tied & set(names)),
            )
    mean_ranks = {
        model: float(np.mean([cell.rank for cell in cells[model].values() if cell.rank is not None]))
        for model in complete
    }
    return Across(
        data_sets=tuple(runs),
        models=tuple(sorted(models, key=lambda model: (mean_ranks.get(model, np.inf), -len(cells[model]), model))),
        cells=cells,
        mean_ranks=mean_ranks,
    )


def _runs_by_model(contest: Contest, model_of: Mapping[str, str]) -> dict[str, list[str]]:
    runs: dict[str, list[str]] = {}
    for name in contest.names:
        runs.setdefault(model_of[name], []).append(name)
    return runs
