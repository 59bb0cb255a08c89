"""The linear probe, against scikit-learn's own pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from eyebright.training.probe import STRENGTHS, fit_probe, install_probe


def digits(classes: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    features, targets = load_digits(n_class=classes, return_X_y=True)
    return features.astype(np.float32), targets.astype(np.int64)


@pytest.mark.parametrize("classes", [2, 10])
def test_folded_layer_gives_the_probabilities_of_the_pipeline(classes: int) -> None:
    features, targets = digits(classes)
    half = len(features) // 2
    weights = np.ones(half, dtype=np.float32)
    train, val = (features[:half], targets[:half], weights), (features[half:], targets[half:])
    probe = fit_probe(train, val, classes=classes, strengths=(0.01,))
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, tol=1e-8))
    reference.fit(features[:half].astype(np.float64), targets[:half])
    layer = nn.Linear(features.shape[1], classes)
    install_probe(layer, probe)
    ours = torch.softmax(layer(torch.from_numpy(features[half:])).double(), 1).detach().numpy()
    assert np.abs(ours - reference.predict_proba(features[half:])).max() < 2e-3
    assert probe.val_loss == pytest.approx(log_loss(targets[half:], ours), abs=1e-3)


def test_the_penalty_is_chosen_on_validation() -> None:
    """With labels that are mostly noise, a strong penalty must win; with clean ones, a weak one."""
    features, targets = digits(10)
    random = np.random.default_rng(0)
    noisy = np.where(random.random(len(targets)) < 0.7, random.integers(0, 10, len(targets)), targets)
    weights = np.ones(600, dtype=np.float32)
    few = slice(0, 600)
    val = slice(900, 1700)
    clean_probe = fit_probe((features[few], targets[few], weights), (features[val], targets[val]), classes=10)
    noisy_probe = fit_probe((features[few], noisy[few], weights), (features[val], noisy[val]), classes=10)
    assert noisy_probe.strength < clean_probe.strength
    assert {noisy_probe.strength, clean_probe.strength} <= set(STRENGTHS)


def test_a_constant_feature_changes_nothing() -> None:
    features, targets = digits(3)
    padded = np.concatenate([features, np.full((len(features), 1), 7.25, np.float32)], axis=1)
    weights = np.ones(300, dtype=np.float32)
    one, other = (
        fit_probe((x[:300], targets[:300], weights), (x[300:], targets[300:]), classes=3) for x in (features, padded)
    )
    assert one.val_loss == pytest.approx(other.val_loss, rel=1e-6)
    assert np.isfinite(other.weight).all()
