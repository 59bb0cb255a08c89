"""Labels that are likely wrong: confident learning on out-of-fold probabilities of a linear probe over embeddings.

The probe is linear discriminant analysis with a shrunk covariance, fitted in closed form, so that several divisions
into folds cost seconds; its scores become probabilities by one temperature. Copies of an image are in one fold, or a
wrong label would vouch for itself. Which labels are wrong is decided by cleanlab (Northcutt, Jiang and Chuang,
"Confident learning: estimating uncertainty in dataset labels", 2021), the order by the probability of the given label.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from eyebright.data.audit.evidence import Evidence
from eyebright.data.audit.findings import Example, Finding, Suggestion
from eyebright.errors import MissingDependencyError

FOLDS = 5
REPEATS = 3
# Measured on flowers with 3 % wrong labels: with 256 components and a shrinkage of 0.1, 0.2 or 0.5 they are ranked with
# average precision 0.535, 0.551 or 0.565, and the accuracy falls from 0.763 to 0.745; all 1,280 components take twenty
# times as long for 0.566.
COMPONENTS = 256
SHRINKAGE = 0.4
# A class needs a few images for its folds to say something about it.
LEAST_IMAGES = 4
MOST_EXAMPLES = 60

_WHY = (
    "Wrong labels in training teach mistakes; wrong labels in the test split make every score wrong, and models are "
    "then chosen by how well they repeat the mistakes."
)


def out_of_fold_probabilities(
    embeddings: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    *,
    classes: int,
    seed: int = 0,
    repeats: int = REPEATS,
) -> npt.NDArray[np.float64]:
    """Class probabilities of every image by probes that have not seen it nor its group: float64 (N, classes).

    Args:
        embeddings: float32 (N, F), rows of length one.
        labels: class indices int64 (N,).
        groups: images with equal numbers are in one fold.
        classes: number of classes; one without images keeps the probability zero.
        seed: of the folds.
        repeats: divisions into folds, whose probabilities are averaged.
    """
    count = min(COMPONENTS, embeddings.shape[1], len(embeddings) - 1)
    # The components are those of all images: they know of no label.
    reduced = PCA(count, svd_solver="covariance_eigh").fit_transform(embeddings.astype(np.float64))
    total = np.zeros((len(labels), classes))
    for repeat in range(repeats):
        folds = _folds(labels, groups, np.random.default_rng((seed, repeat)))
        scores = np.full((len(labels), classes), -np.inf)
        for fold in range(FOLDS):
            learn = folds != fold
            if learn.all():
                continue
            probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
            probe.fit(reduced[learn], labels[learn])
            decision = probe.decision_function(reduced[~learn])
            if decision.ndim == 1:
                decision = np.stack([-decision / 2, decision / 2], axis=1)
            scores[np.ix_(~learn, probe.classes_)] = decision
        total += softmax(scores / _temperature(scores, labels), axis=1)
    return np.asarray(total / repeats)


def check_labels(
    evidence: Evidence, groups: npt.NDArray[np.int64], *, seed: int = 0
) -> tuple[list[Finding], list[Suggestion]]:
    """Images whose label is likely wrong, and the label that the others suggest.

    Args:
        evidence: with embeddings.
        groups: number of the group of every image, int64 (N,): near-duplicates and the user's groups.
        seed: of the folds.

    Raises:
        MissingDependencyError: cleanlab is not installed.
    """
    assert evidence.embeddings is not None
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingDependencyError(
            "cleanlab is not installed, which finds wrong labels", remedy="pip install 'eyebright[audit]'"
        ) from None
    index = evidence.label_index()
    counts = np.bincount(index[index >= 0], minlength=len(evidence.manifest.classes))
    usable = np.flatnonzero((index >= 0) & evidence.embeddings.any(axis=1))
    usable = usable[counts[index[usable]] >= LEAST_IMAGES]
    names = np.array(evidence.manifest.classes, dtype=object)
    kept, labels = np.unique(index[usable], return_inverse=True)
    if len(kept) < 2:
        return [], []
    names = names[kept]
    probabilities = out_of_fold_probabilities(
        evidence.embeddings[usable], labels, groups[usable], classes=len(kept), seed=seed
    )
    given = probabilities[np.arange(len(labels)), labels]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cleanlab speaks of its own internals
        wrong = find_label_issues(labels, probabilities, n_jobs=1)
    order = np.flatnonzero(wrong)[np.argsort(given[wrong], kind="stable")]
    best = probabilities.argmax(axis=1)
    accuracy = float((best == labels).mean())
    examples: list[Example] = []
    suggestions: list[Suggestion] = []
    for row in order.tolist():
        place, better = int(usable[row]), str(names[best[row]])
        sure = float(probabilities[row, best[row]])
        if len(examples) < MOST_EXAMPLES:
            note = f"given {evidence.labels[place]}, looks like {better} ({sure:.0%})"
            examples.append(Example((evidence.ref(place, note),), score=round(1 - float(given[row]), 4)))
        suggestions.append(
            Suggestion(
                action="relabel",
                finding="label-errors",
                ids=(evidence.ids[place],),
                sources=(evidence.sources[place],),
                label=evidence.labels[place],
                to=better,
                reason=f"given {given[row]:.1%}, {better} {sure:.1%} by a probe that has not seen it",
                confidence=round(1 - float(given[row]), 4),
            )
        )
    return [_finding(examples, len(order), len(usable), accuracy, labels, order, names)], suggestions


def _finding(
    examples: Sequence[Example],
    count: int,
    images: int,
    accuracy: float,
    labels: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    names: npt.NDArray[np.object_],
) -> Finding:
    by_class = {
        str(name): {"images": int((labels == number).sum()), "suspected": int((labels[order] == number).sum())}
        for number, name in enumerate(names)
    }
    # cleanlab always finds some: where classes overlap, honest labels look wrong too.
    many = count > 0.01 * images
    return Finding(
        code="label-errors",
        section="labels",
        severity="passed" if not count else "warning" if many else "note",
        title=f"{count:,} of {images:,} labels ({count / images:.1%}) are suspect" if count else "No label looks wrong",
        count=count,
        why=f"{_WHY} These are suspicions: a probe that is right on {accuracy:.0%} of the images it has not seen "
        "disagrees. The most suspect come first; further down, more of the labels are right.",
        remedy="Look at them with `--review`, most suspect first, and stop where most are right." if count else "",
        examples=examples,
        details={"probe_accuracy": round(accuracy, 4), "by_class": by_class},
    )


def _folds(
    labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Fold of every image: groups are shuffled and dealt out class by class, so that folds have like shares."""
    unique, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = random.permutation(len(unique))
    dealt = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold = np.empty(len(unique), dtype=np.int64)
    fold[dealt] = np.arange(len(unique)) % FOLDS
    return np.asarray(fold[inverse])


def _temperature(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """What to divide the scores by so that the log-loss of these labels is the least."""
    known = np.isfinite(scores[np.arange(len(labels)), labels])
    if not known.any():
        return 1.0
    finite, targets = scores[known], labels[known]

    def loss(log_temperature: float) -> float:
        logs = log_softmax(finite / np.exp(log_temperature), axis=1)
        return float(-logs[np.arange(len(targets)), targets].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(200.0)), method="bounded").x))
