"""The recipe `shallow`: classifiers of scikit-learn, compared on validation, kept as a run like every other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from eyebright.config import build_config
from eyebright.data.batches import PixelSet
from eyebright.errors import ConfigError, Interrupted, UsageError
from eyebright.models.catalog import create_network
from eyebright.models.shallow.heads import KernelMachines, Trees
from eyebright.progress import Silent
from eyebright.recipes import get_recipe, shallow, shallow_candidates
from eyebright.recipes.base import Context, DataFacts, Plan
from eyebright.recipes.probing import calibrated_loss
from eyebright.recipes.shallow_candidates import CANDIDATES, Fitted, Table, drawn, fit_timed
from eyebright.training.hooks import StopSignal
from eyebright.training.score import predict_logits
from eyebright.training.team import Team

RECIPE = get_recipe("shallow")
QUICK = {"budget_seconds": None, "shallow": {"features": ["colour"]}, "image": {"size": 32}}
FACTS = DataFacts(images={"train": 60, "val": 30, "test": 30}, names=("daisy", "rose", "tulip"), side=128, grey=False)


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosting in a tenth of the time."""
    monkeypatch.setattr(shallow_candidates, "TREE_ROUNDS", 10)
    monkeypatch.setattr(shallow_candidates, "ROUNDS_BETWEEN", 5)


class Told(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def context(folder: Path, *settings: Mapping[str, Any], **more: Any) -> tuple[Context, list[dict[str, Any]]]:
    records: list[dict[str, Any]] = []
    config = build_config(RECIPE.defaults, {"recipe": "shallow"}, *settings)
    made = Context(
        config=config, facts=FACTS, device=torch.device("cpu"), deadline=None, checkpoint=folder / "checkpoint",
        progress=Told(), stop=StopSignal(), record=records.append,
    )  # fmt: skip
    return dataclasses.replace(made, **more), records


@pytest.fixture(scope="module")
def photos(flowers_sample: Path) -> Callable[[Plan], tuple[PixelSet, PixelSet]]:
    """Training and validation images of a plan: 20 and 10 of each class, the classes taking turns."""

    def sets(plan: Plan, weights: np.ndarray | None = None) -> tuple[PixelSet, PixelSet]:
        files = [sorted((flowers_sample / name).iterdir())[:30] for name in FACTS.names]
        pixels = np.stack([plan.preprocess.pixels(file) for group in zip(*files, strict=True) for file in group])
        targets = np.arange(90) % 3
        rows = np.arange(60), np.arange(60, 90)
        return tuple(  # type: ignore[return-value]
            PixelSet(
                pixels, part, targets[part], preprocess=plan.preprocess, device=torch.device("cpu"),
                weights=weights if part is rows[0] else None,
            )
            for part in rows
        )  # fmt: skip

    return sets


def test_the_plan_follows_the_images(tmp_path: Path) -> None:
    given_, _ = context(tmp_path)
    plan = RECIPE.plan(given_)
    assert (plan.network, plan.preprocess.size, plan.preprocess.channels) == ("shallow", 128, 3)
    assert (plan.preprocess.mean, plan.preprocess.std) == ((0.0,) * 3, (1.0,) * 3)
    assert plan.stages == ()
    assert Plan.from_dict(plan.as_dict()) == plan
    small = dataclasses.replace(given_, facts=dataclasses.replace(FACTS, side=28, grey=True))
    assert (RECIPE.plan(small).preprocess.size, RECIPE.plan(small).preprocess.channels) == (64, 1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 3}, "epochs=3"),
        ({"stages": [{"name": "one", "epochs": 1}]}, "stages"),
        ({"model": {"name": "resnet18"}}, "model.name=resnet18"),
        ({"model": {"head": {"hidden": [8]}}}, "model.head"),
        ({"loss": {"name": "focal"}}, "loss.name=focal"),
        ({"loss": {"logit_adjustment": 1.0}}, "logit_adjustment=1"),
        ({"data": {"sampling": "balanced"}}, "data.sampling=balanced"),
        ({"distil": {"teacher": "runs/other"}}, "distil.teacher"),
        ({"requirements": {"max_parameters": 5}}, "requirements"),
        ({"image": {"mean": [0.5, 0.5, 0.5]}}, "image.mean"),
        ({"image": {"size": 100}}, "100x100"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(setting: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        RECIPE.plan(context(tmp_path, setting)[0])


def test_unknown_features_and_classifiers_are_refused() -> None:
    for setting in ({"features": ["color"]}, {"features": []}, {"classifier": "forest"}):
        with pytest.raises(ConfigError):
            build_config({"shallow": setting})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(1, 90), st.integers(0, 3))
def test_drawn_images_keep_the_shares_of_classes(targets: list[int], most: int, seed: int) -> None:
    given_ = np.array(targets)
    rows = drawn(given_, most, seed)
    assert len(rows) == min(most, len(targets))
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, drawn(given_, most, seed))
    counts, all_counts = (np.bincount(part, minlength=5) for part in (given_[rows], given_))
    if most >= len(np.unique(given_)):
        assert ((counts > 0) == (all_counts > 0)).all()
        assert np.abs(counts - all_counts * len(rows) / len(given_)).max() <= 1 + len(np.unique(given_)) / 2
    assert set(drawn(given_, most - 1, seed)) <= set(rows) or most == 1


def tables(seed: int = 0) -> tuple[Table, Table]:
    """Three classes that overlap, in 40 features of which ten tell something."""
    random = np.random.default_rng(seed)
    targets = np.arange(210) % 3
    features = random.normal(size=(210, 40)).astype(np.float32)
    features[:, :10] += 0.9 * np.eye(3, 10, dtype=np.float32)[targets] + 0.3 * targets[:, None]
    whole = Table(features=features, targets=targets.astype(np.int64), weights=np.ones(210, dtype=np.float32))
    return whole.part(np.arange(150)), whole.part(np.arange(150, 210))


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_head_holds_what_was_judged_on_validation(name: str) -> None:
    train, val = tables()
    fitted, _ = fit_timed(name, train, val, classes=3, seed=0, expired=lambda: False)
    made: Any = torch.nn.Linear(40, 3)
    if fitted.head != "linear":
        made = {"kernel": partial(KernelMachines, 40), "trees": Trees}[fitted.head](classes=3, **fitted.sizes)
    fitted.install(made)
    with torch.inference_mode():
        logits = made(torch.from_numpy(val.features)).numpy()
    assert (logits.argmax(1) == val.targets).mean() == fitted.val_accuracy > 0.5
    assert calibrated_loss(logits, val.targets) == pytest.approx(fitted.val_loss, abs=1e-5)
    again, _ = fit_timed(name, train, val, classes=3, seed=0, expired=lambda: False)
    assert (again.val_loss, again.settings) == (fitted.val_loss, fitted.settings)


@pytest.mark.parametrize("name", CANDIDATES)
def test_two_classes_are_fitted_too(name: str) -> None:
    train, val = (table.part(np.flatnonzero(table.targets < 2)) for table in tables())
    fitted, _ = fit_timed(name, train, val, classes=2, seed=0, expired=lambda: True)
    assert fitted.val_accuracy > 0.5


@pytest.mark.parametrize("name", CANDIDATES)
def test_weights_of_images_count(name: str) -> None:
    """With wrong labels that weigh next to nothing it is better than with the same ones in full."""
    train, val = tables()
    wrong = np.arange(len(train.targets)) % 5 < 3
    labels = np.where(wrong, (train.targets + 1) % 3, train.targets)
    light = np.where(wrong, 1e-3, 1.0).astype(np.float32)
    accuracy = [
        fit_timed(
            name, Table(features=train.features, targets=labels, weights=weights), val, classes=3, seed=0,
            expired=lambda: False,
        )[0].val_accuracy
        for weights in (light, np.ones_like(light))
    ]  # fmt: skip
    assert accuracy[0] > accuracy[1] + 0.1


def test_the_best_on_validation_is_kept(tmp_path: Path, photos: Any) -> None:
    given_, records = context(tmp_path, QUICK)
    plan = RECIPE.plan(given_)
    outcome = RECIPE.fit(plan, given_, *photos(plan))
    assert [record["stage"] for record in records] == list(CANDIDATES)
    best = min(records, key=lambda record: record["val_loss"])
    assert CANDIDATES[best["stage"]].title in outcome.reasons[-1]
    assert not outcome.stopped
    assert outcome.architecture_arguments is not None
    restored = create_network("shallow", classes=3, pretrained=False, arguments=outcome.architecture_arguments)
    restored.load_state_dict(outcome.network.state_dict())
    val = photos(plan)[1]
    logits = predict_logits(outcome.network, val)
    assert torch.equal(predict_logits(restored, val), logits)
    assert float((logits.argmax(1).numpy() == val.targets).mean()) == best["val_accuracy"]


def test_classes_and_images_weigh_what_was_asked_for(
    tmp_path: Path, photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Table] = []

    def spy(name: str, train: Table, val: Table, **more: Any) -> tuple[Fitted, float]:
        seen.append(train)
        return fit_timed(name, train, val, **more)

    monkeypatch.setattr(shallow, "fit_timed", spy)
    settings = {"loss": {"class_weights": "balanced"}, "shallow": {"classifier": "svm"}}
    given_, _ = context(tmp_path, QUICK, settings)
    plan = RECIPE.plan(given_)
    own = np.linspace(0.5, 2.0, 60).astype(np.float32)
    train, val = photos(plan, own)
    rows = np.array([row for row in range(60) if row % 3 == 0 or row < 30])  # more daisies
    RECIPE.fit(plan, given_, train.part(rows), val)
    targets = np.arange(60)[rows] % 3
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    found = seen[0].weights / own[rows]
    ratios = [found[targets == number].mean() for number in range(3)]
    totals = np.bincount(targets, weights=own[rows])
    assert ratios == pytest.approx((totals.sum() / totals / np.sum(totals / totals)).tolist(), rel=1e-4)
    assert np.argsort(ratios)[0] == np.argsort(expected)[0] == 0


def test_more_images_than_asked_for_are_drawn_and_that_is_said(tmp_path: Path, photos: Any) -> None:
    given_, records = context(tmp_path, QUICK, {"shallow": {"classifier": "svm", "images": 30}})
    plan = RECIPE.plan(given_)
    outcome = RECIPE.fit(plan, given_, *photos(plan))
    assert records[0]["images"] == 30
    assert any(reason.startswith("30 of 60 training images") for reason in outcome.reasons)


def test_without_time_the_first_classifier_is_kept(tmp_path: Path, photos: Any) -> None:
    given_, records = context(tmp_path, QUICK, deadline=0.0)
    plan = RECIPE.plan(given_)
    outcome = RECIPE.fit(plan, given_, *photos(plan))
    assert [record["stage"] for record in records] == ["logistic"]
    assert sum("left out" in reason for reason in outcome.reasons) == 3


def test_a_user_who_stops_it_gets_what_there_is(tmp_path: Path, photos: Any) -> None:
    stop = StopSignal()
    given_, records = context(tmp_path, QUICK, stop=stop)

    def record(line: dict[str, Any]) -> None:
        records.append(line)
        stop.request()

    given_ = dataclasses.replace(given_, record=record)
    plan = RECIPE.plan(given_)
    outcome = RECIPE.fit(plan, given_, *photos(plan))
    assert outcome.stopped
    assert len(records) == 1


def test_an_interruption_keeps_what_was_fitted_before_it(
    tmp_path: Path, photos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted_once(name: str, *tables_: Table, **more: Any) -> tuple[Fitted, float]:
        if name != "logistic":
            raise KeyboardInterrupt
        return fit_timed(name, *tables_, **more)

    monkeypatch.setattr(shallow, "fit_timed", fitted_once)
    given_, records = context(tmp_path, QUICK)
    plan = RECIPE.plan(given_)
    outcome = RECIPE.fit(plan, given_, *photos(plan))
    assert outcome.stopped
    assert [record["stage"] for record in records] == ["logistic"]
    assert "kept logistic regression" in outcome.reasons[-1]


def test_only_the_first_process_of_a_team_fits(tmp_path: Path, photos: Any) -> None:
    waited: list[bool] = []

    class Other(Team):
        def wait(self) -> None:
            waited.append(True)

    given_, records = context(tmp_path, QUICK, team=Other(rank=1, size=2))
    plan = RECIPE.plan(given_)
    RECIPE.fit(plan, given_, *photos(plan))
    assert (records, waited) == ([], [True])


def test_a_run_that_was_interrupted_is_resumed_and_is_a_run_like_every_other(
    flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyebright import load
    from eyebright.bundle import read_bundle
    from eyebright.export.verify import verify_bundle
    from eyebright.jobs import carry_out
    from eyebright.jobs.train import resume, train

    monkeypatch.setattr(carry_out, "make_report", lambda *given_, **more: None)  # other tests look at reports

    def interrupted(*given_: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    settings = ["shallow.classifier=rbf-svm", "shallow.features=[colour,lbp]"]
    with monkeypatch.context() as patched:
        patched.setattr(shallow, "fit_timed", interrupted)
        with pytest.raises(Interrupted):
            train(
                flowers_sample, output=tmp_path, name="shallow", recipe="shallow", size=64, no_budget=True,
                settings=settings,
            )  # fmt: skip
    told = Told()
    run = resume(tmp_path / "shallow", progress=told)  # type: ignore[arg-type]
    assert any("again from the beginning" in note for note in told.notes)
    assert run.state["state"] == "complete"
    record = read_bundle(run.path).record
    assert record.architecture == "shallow"
    assert record.architecture_arguments["head"] == "kernel"
    assert all(replay.passed for replay in verify_bundle(read_bundle(run.path)))
    assert [line["stage"] for line in run.history()] == ["rbf-svm"]
    photo = next((flowers_sample / "rose").iterdir())
    assert load(run.path).predict([photo])[0].label in ("daisy", "rose", "tulip")
