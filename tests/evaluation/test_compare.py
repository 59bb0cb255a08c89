"""Paired tests and intervals against references, and the comparison of real classifiers counted out by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ttest_rel
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from eyebright.errors import DataError
from eyebright.evaluation.across import across_data_sets
from eyebright.evaluation.compare import Contest, compare_predictions
from eyebright.evaluation.paired import (
    holm,
    images_to_tell_apart,
    macro_f1_difference,
    mcnemar,
    mcnemar_of_counts,
    paired_difference,
    paired_mean_differences,
)
from eyebright.evaluation.predictions import Predictions, make_predictions
from eyebright.evaluation.ties import tie_letters


def results(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


def test_mcnemar_is_the_exact_test_less_half_of_what_was_seen() -> None:
    for first in range(15):
        for second in range(15):
            if first == second:
                assert mcnemar_of_counts(first, second) == pytest.approx(1.0)
                continue
            exact = binomtest(first, first + second).pvalue
            seen = binom.pmf(first, first + second, 0.5)
            assert mcnemar_of_counts(first, second) == pytest.approx(exact - seen, abs=1e-12)


def test_mcnemar_gives_the_published_value_of_the_airway_example() -> None:
    """Fagerland and others (2013), table 1: 1 and 7 discordant pairs of 21, mid-p 0.039."""
    first, second = results(1, 1, 7, 12)
    assert mcnemar(first, second) == pytest.approx(0.0390625)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_depends_only_on_images_that_one_alone_names_right() -> None:
    assert mcnemar(*results(500, 30, 12, 100)) == mcnemar(*results(5, 30, 12, 1))
    assert mcnemar(*results(7, 0, 0, 3)) == 1.0


@pytest.mark.parametrize("images", [100, 200, 500])
@pytest.mark.parametrize("disagreement", [0.05, 0.1, 0.3])
def test_false_alarms_of_mcnemar_are_at_most_five_percent_and_not_far_below(images: int, disagreement: float) -> None:
    """The exact rate over all outcomes, when the two are equally good."""
    rate = 0.0
    for apart in range(images + 1):
        chance = binom.pmf(apart, images, disagreement)
        if chance > 1e-9:
            alarms = [first for first in range(apart + 1) if mcnemar_of_counts(first, apart - first) <= 0.05]
            rate += chance * binom.pmf(alarms, apart, 0.5).sum()
    assert rate <= 0.0505
    assert rate >= (0.02 if images * disagreement < 10 else 0.035)


def test_the_difference_has_the_published_interval_of_the_airway_example() -> None:
    """Fagerland and others, Statistics in Medicine 33 (2014): Newcombe's interval is -0.507 to -0.026."""
    estimate = paired_difference(*results(1, 1, 7, 12))
    assert estimate.value == pytest.approx(-6 / 21)
    assert (estimate.low, estimate.high) == pytest.approx((-0.507, -0.026), abs=0.001)


def test_the_interval_of_a_difference_holds_the_truth_in_95_of_100_cases() -> None:
    """4,000 test sets of 150 images, drawn from classifiers that are right 85 % and 80 % of the time."""
    random = np.random.default_rng(0)
    counts = random.multinomial(150, [0.76, 0.09, 0.04, 0.11], size=4000)
    held = [(e := paired_difference(*results(*row))).low <= 0.05 <= e.high for row in counts]
    assert 0.94 <= np.mean(held) <= 0.965


def test_classifiers_without_a_disagreement_still_have_an_interval() -> None:
    estimate = paired_difference(*results(40, 0, 0, 10))
    assert estimate.value == 0
    assert estimate.low < 0 < estimate.high
    everything = paired_difference(*results(5, 0, 0, 0))
    assert (everything.value, everything.low < 0 < everything.high) == (0, True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """A pair is called different when Bonferroni rejects every set of hypotheses that holds it."""
    indices = range(len(p_values))
    sets = [part for size in range(1, len(p_values) + 1) for part in combinations(indices, size)]
    for index, adjusted in enumerate(holm(p_values)):
        worst = max(len(part) * min(p_values[other] for other in part) for part in sets if index in part)
        assert adjusted == pytest.approx(min(1.0, worst))


def test_the_needed_number_of_images_finds_the_difference_in_four_of_five_attempts() -> None:
    needed = images_to_tell_apart(0.05, 0.2)
    random = np.random.default_rng(0)
    apart = random.binomial(needed, 0.2, size=4000)
    first = random.binomial(apart, 0.125 / 0.2)
    found = [mcnemar_of_counts(int(a), int(n - a)) <= 0.05 for a, n in zip(first, apart, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)
    assert images_to_tell_apart(0.01, 0.2) > 20 * needed
    assert images_to_tell_apart(0.1, 0.0) == images_to_tell_apart(0.1, 0.1)


@pytest.fixture(scope="module")
def digits() -> dict[str, Predictions]:
    """Three classifiers of handwritten digits that saw every fourth pixel of a quarter of the images."""
    data = load_digits()
    features, names = data.data[:, ::4] / 16, [f"digit {digit}" for digit in range(10)]
    train = np.arange(len(features)) % 4 == 0
    tables = {}
    for name, model in {
        "logistic": LogisticRegression(max_iter=500, C=0.1),
        "neighbours": KNeighborsClassifier(5, weights="distance"),
        "bayes": GaussianNB(var_smoothing=1e-2),
    }.items():
        model.fit(features[train], data.target[train])
        logits = np.log(np.maximum(model.predict_proba(features[~train]), 1e-6))
        rows = np.flatnonzero(~train)
        tables[name] = make_predictions(
            [f"{row:032x}" for row in rows], [f"digits#{row}" for row in rows],
            [names[data.target[row]] for row in rows], ["test"] * len(rows), logits, 1.0, names,
        )  # fmt: skip
    return tables


@pytest.fixture(scope="module")
def contest(digits: dict[str, Predictions]) -> Contest:
    return compare_predictions(digits)


def shuffled(table: Predictions, seed: int = 1) -> Predictions:
    """The same answers with rows and classes in another order."""
    random = np.random.default_rng(seed)
    rows, columns = random.permutation(len(table)), random.permutation(len(table.classes))
    moved = table.rows(rows)
    return make_predictions(
        [str(one) for one in moved.column("id")], [str(one) for one in moved.column("source")], moved.column("label"),
        moved.column("split"), moved.logits()[:, columns], 1.0, [table.classes[column] for column in columns],
    )  # fmt: skip


def test_classifiers_stand_in_the_order_of_their_accuracy(contest: Contest, digits: dict[str, Predictions]) -> None:
    shares = {name: accuracy_score(table.column("label"), table.column("predicted")) for name, table in digits.items()}
    assert list(contest.names) == sorted(shares, key=lambda name: -shares[name])
    assert {name: contest.metrics[name].accuracy.value for name in shares} == pytest.approx(shares)


def test_rows_are_matched_by_id_and_classes_by_name(contest: Contest, digits: dict[str, Predictions]) -> None:
    moved = compare_predictions({"logistic": digits["logistic"]} | {
        name: shuffled(digits[name]) for name in ("neighbours", "bayes")
    })  # fmt: skip
    assert np.array_equal(moved.predicted, contest.predicted)
    assert moved.letters == contest.letters
    for one, other in zip(moved.pairs, contest.pairs, strict=True):
        assert one.accuracy == other.accuracy
        assert (one.p_value, one.only_first) == (other.p_value, other.only_first)
        assert one.log_loss.value == pytest.approx(other.log_loss.value, abs=1e-6)


def test_counts_of_a_pair_are_those_of_the_images(contest: Contest, digits: dict[str, Predictions]) -> None:
    pair = contest.pair("bayes", "logistic")
    one, other = digits["bayes"], digits["logistic"]
    right = [
        (mine == truth, theirs == truth)
        for mine, theirs, truth in zip(
            one.column("predicted"), other.column("predicted"), one.column("label"), strict=True
        )
    ]
    assert pair.only_first == right.count((True, False))
    assert pair.only_second == right.count((False, True))
    assert pair.accuracy.value == pytest.approx(np.mean([a for a, _ in right]) - np.mean([b for _, b in right]))
    turned = contest.pair("logistic", "bayes")
    assert (turned.accuracy.low, turned.accuracy.high) == (-pair.accuracy.high, -pair.accuracy.low)
    assert turned.only_first == pair.only_second


def test_differences_of_scores_agree_with_scikit_learn(contest: Contest, digits: dict[str, Predictions]) -> None:
    names = digits["bayes"].classes
    for pair in contest.pairs:
        one, other = digits[pair.first], digits[pair.second]
        f1 = [f1_score(t.column("label"), t.column("predicted"), average="macro") for t in (one, other)]
        losses = [log_loss(t.column("label"), t.probabilities(), labels=list(names)) for t in (one, other)]
        assert pair.macro_f1.value == pytest.approx(f1[0] - f1[1])
        assert pair.log_loss.value == pytest.approx(losses[0] - losses[1])
        for estimate in (pair.accuracy, pair.macro_f1, pair.log_loss, pair.brier):
            assert estimate.low <= estimate.value <= estimate.high


def test_the_interval_of_a_mean_difference_agrees_with_the_paired_t_interval() -> None:
    random = np.random.default_rng(0)
    shared = random.gamma(2.0, 1.0, 800)
    values = np.column_stack([shared + random.normal(0.1, 0.3, 800), shared])
    (found,) = paired_mean_differences(values, [(0, 1)], np.zeros(800, dtype=np.int64))
    expected = ttest_rel(values[:, 0], values[:, 1]).confidence_interval()
    assert found.value == pytest.approx((values[:, 0] - values[:, 1]).mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_the_interval_of_a_macro_f1_difference_agrees_with_drawing_images() -> None:
    random = np.random.default_rng(0)
    truth = random.choice(4, p=[0.5, 0.3, 0.15, 0.05], size=500)
    first, second = (np.where(random.random(500) < p, truth, random.integers(0, 4, 500)) for p in (0.8, 0.7))
    found = macro_f1_difference(truth, first, second, 4)
    drawn = []
    members = [np.flatnonzero(truth == name) for name in range(4)]
    for _ in range(400):
        rows = np.concatenate([random.choice(member, len(member)) for member in members])
        scores = [f1_score(truth[rows], answers[rows], average="macro") for answers in (first, second)]
        drawn.append(scores[0] - scores[1])
    assert found.high - found.low == pytest.approx(np.ptp(np.quantile(drawn, [0.025, 0.975])), rel=0.15)


def test_what_each_alone_gets_right_is_counted_out(contest: Contest) -> None:
    right = contest.right
    for row, name in enumerate(contest.names):
        others = [other for other in range(len(contest.names)) if other != row]
        alone = [image for image in range(len(contest)) if right[row, image] and not right[others, image].any()]
        assert contest.only_right()[name].tolist() == alone
    assert contest.none_right().tolist() == [image for image in range(len(contest)) if not right[:, image].any()]
    assert contest.any_right().value == pytest.approx(1 - len(contest.none_right()) / len(contest))


def test_agreement_and_class_accuracy_are_shares_of_images(contest: Contest) -> None:
    agreement = contest.agreement()
    assert np.array_equal(np.diag(agreement), np.ones(3))
    assert agreement[0, 1] == np.mean(contest.predicted[0] == contest.predicted[1]) == agreement[1, 0]
    shares = contest.class_accuracy()
    for row, name in enumerate(contest.names):
        assert shares[row].tolist() == [found.recall.value for found in contest.metrics[name].per_class]


def test_a_classifier_is_tied_with_itself_under_another_name(digits: dict[str, Predictions]) -> None:
    found = compare_predictions({"one": digits["logistic"], "two": digits["logistic"], "far": digits["bayes"]})
    assert found.pair("one", "two").adjusted_p == 1.0
    assert found.letters["one"] == found.letters["two"]
    best = found.tied_with_best()
    assert ("one" in best) == ("two" in best)


def test_one_classifier_alone_has_numbers_and_no_pairs(digits: dict[str, Predictions]) -> None:
    alone = compare_predictions({"bayes": digits["bayes"]})
    assert (alone.pairs, alone.letters, alone.tied_with_best()) == ((), {"bayes": "a"}, ("bayes",))
    assert alone.images_needed() == 0


def test_other_images_are_refused_with_counts(digits: dict[str, Predictions]) -> None:
    fewer = digits["bayes"].rows(range(100))
    with pytest.raises(DataError, match=r"fewer was scored on 100 images and bayes on 1347, of which they share 100"):
        compare_predictions({"bayes": digits["bayes"], "fewer": fewer})


def test_other_classes_are_refused_by_name(digits: dict[str, Predictions]) -> None:
    table = digits["bayes"]
    renamed = make_predictions(
        [str(one) for one in table.column("id")], [str(one) for one in table.column("source")],
        ["digit X" if one == "digit 9" else one for one in table.column("label")], table.column("split"),
        table.logits(), 1.0, [*table.classes[:9], "digit X"],
    )  # fmt: skip
    with pytest.raises(DataError, match="bayes alone has 'digit 9'; renamed alone has 'digit X'"):
        compare_predictions({"bayes": table, "renamed": renamed})


def test_other_labels_are_refused(digits: dict[str, Predictions]) -> None:
    table = digits["bayes"]
    labels = table.column("label")
    relabelled = make_predictions(
        [str(one) for one in table.column("id")], [str(one) for one in table.column("source")],
        [labels[1], *labels[1:]], table.column("split"), table.logits(), 1.0, table.classes,
    )  # fmt: skip
    with pytest.raises(DataError, match="is labelled"):
        compare_predictions({"bayes": table, "relabelled": relabelled})


def test_an_image_twice_is_refused(digits: dict[str, Predictions]) -> None:
    twice = digits["bayes"].rows([0, 1, 1])
    with pytest.raises(DataError, match="more than once"):
        compare_predictions({"twice": twice, "again": twice})


@given(
    st.integers(1, 6).flatmap(
        lambda number: st.tuples(
            st.just([f"m{index}" for index in range(number)]),
            st.sets(st.sampled_from([(a, b) for a in range(number) for b in range(a)] or [(0, 0)])),
        )
    )
)
@settings(max_examples=200)
def test_two_share_a_letter_exactly_when_they_were_not_told_apart(
    drawn: tuple[list[str], set[tuple[int, int]]],
) -> None:
    names, pairs = drawn
    apart = {(names[a], names[b]) for a, b in pairs if a != b}
    letters = tie_letters(names, apart)
    for one, other in combinations(names, 2):
        shares = bool(set(letters[one]) & set(letters[other]))
        assert shares == ((one, other) not in apart and (other, one) not in apart)
    groups = {letter: {name for name in names if letter in letters[name]} for letter in "".join(letters.values())}
    assert not any(one < other for one in groups.values() for other in groups.values())
    assert letters[names[0]].startswith("a")


def test_ranks_over_data_sets_are_those_of_models_that_ran_on_all(digits: dict[str, Predictions]) -> None:
    first = compare_predictions(digits)
    second = compare_predictions({name: digits[name].rows(range(400)) for name in ("bayes", "logistic")})
    own = {name: name for name in digits}
    found = across_data_sets([("whole", first, own), ("part", second, own)])
    assert set(found.mean_ranks) == {"bayes", "logistic"}
    assert found.models[-1] == "neighbours"
    assert found.cells["neighbours"]["whole"].rank is None
    better = first.names.index("logistic") < first.names.index("bayes")
    assert found.cells["logistic"]["whole"].rank == (1 if better else 2)
    assert sum(found.mean_ranks.values()) == pytest.approx(3)


def test_several_runs_of_a_model_count_as_their_mean(digits: dict[str, Predictions]) -> None:
    contest = compare_predictions(digits)
    found = across_data_sets([("digits", contest, {"bayes": "slow", "logistic": "slow", "neighbours": "lazy"})])
    cell = found.cells["slow"]["digits"]
    assert set(cell.runs) == {"bayes", "logistic"}
    assert cell.estimate is None
    assert cell.accuracy == pytest.approx(np.mean([contest.metrics[name].accuracy.value for name in cell.runs]))
