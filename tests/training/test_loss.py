"""Losses and weights: against torch, scikit-learn and formulas written out in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp, rel_entr, softmax
from sklearn.utils.class_weight import compute_class_weight

from eyebright.config import LossConfig
from eyebright.training.loss import Objective, distillation_losses, superclass_log_probabilities

CPU = torch.device("cpu")
TOTALS = np.array([50.0, 5.0, 200.0, 20.0])
Array = npt.NDArray[np.float64]


def objective(totals: Any = TOTALS, **settings: Any) -> Objective:
    return Objective(LossConfig(**{"label_smoothing": 0.0, **settings}), np.asarray(totals, dtype=np.float64), CPU)


def batch(seed: int = 0, images: int = 12, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (B, K), labels (B,) and soft targets (B, K)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, generator=generator)
    labels = torch.randint(0, classes, (images,), generator=generator)
    soft = torch.rand(images, classes, generator=generator).softmax(1)
    return logits, labels, soft


def mean_loss(
    chosen: Objective, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    weights = chosen.weigh(targets, torch.ones(len(logits)) if weights is None else weights)
    return (chosen.losses(logits, targets) * weights).sum() / weights.sum()


def focal_reference(logits: Array, targets: Array, gamma: float, smoothing: float) -> Array:
    """Lin et al. 2017, equation 4, summed over the classes that a target is spread over."""
    classes = logits.shape[1]
    smooth = (1 - smoothing) * targets + smoothing / classes
    losses = np.zeros(len(logits))
    for row in range(len(logits)):
        probabilities = softmax(logits[row].astype(np.float64))
        for k in range(classes):
            losses[row] += smooth[row, k] * (1 - probabilities[k]) ** gamma * -np.log(probabilities[k])
    return losses


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_that_of_torch_for_hard_and_soft_targets(smoothing: float) -> None:
    logits, labels, soft = batch()
    chosen = objective(label_smoothing=smoothing)
    hard = F.one_hot(labels, 4).float()
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(chosen.losses(logits, hard), expected)
    expected = F.cross_entropy(logits, soft, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(chosen.losses(logits, soft), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_is_its_formula(gamma: float, smoothing: float) -> None:
    logits, labels, soft = batch(1)
    chosen = objective(name="focal", focal_gamma=gamma, label_smoothing=smoothing)
    for targets in (F.one_hot(labels, 4).float(), soft):
        expected = focal_reference(logits.double().numpy(), targets.double().numpy(), gamma, smoothing)
        np.testing.assert_allclose(chosen.losses(logits, targets).numpy(), expected, rtol=2e-5, atol=1e-7)


def test_focal_loss_without_focus_is_cross_entropy_and_with_it_forgets_what_is_right() -> None:
    sure = torch.tensor([[4.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]])
    targets = F.one_hot(torch.tensor([0, 0]), 4).float()
    plain = objective().losses(sure, targets)
    torch.testing.assert_close(objective(name="focal", focal_gamma=0).losses(sure, targets), plain)
    ratio = objective(name="focal", focal_gamma=2).losses(sure, targets) / plain
    assert ratio[0] < 0.01
    assert ratio[1] > 0.9


@pytest.mark.parametrize("gamma", [0.3, 2.0])
def test_focal_loss_of_a_certain_image_has_a_finite_gradient(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    losses = objective([1, 1], name="focal", focal_gamma=gamma).losses(logits, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    losses.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"label_smoothing": 0.1},
        {"name": "focal", "focal_gamma": 2.0},
        {"name": "focal", "focal_gamma": 0.5, "label_smoothing": 0.1},
        {"logit_adjustment": 1.0},
    ],
)
def test_gradients_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    logits, _, soft = batch(2, images=3)
    chosen = objective(**settings)
    assert torch.autograd.gradcheck(
        lambda x: chosen.losses(x, soft.double()), (logits.double().requires_grad_(),), raise_exception=True
    )


def test_balanced_weights_are_those_of_scikit_learn_and_of_torchs_weighted_mean() -> None:
    labels = np.repeat(np.arange(4), TOTALS.astype(int))
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    chosen = objective(class_weights="balanced")
    weights = chosen.weigh(torch.eye(4), torch.ones(4))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    logits, targets, _ = batch(3)
    reference = F.cross_entropy(logits, targets, weight=torch.from_numpy(expected).float())
    torch.testing.assert_close(mean_loss(chosen, logits, F.one_hot(targets, 4).float()), reference)


def test_effective_number_weights_are_those_of_their_paper_and_lie_between_equal_and_balanced() -> None:
    beta = 0.99
    effective = np.array([sum(beta**i for i in range(int(n))) for n in TOTALS])  # Cui et al. 2019, proposition 1
    weights = objective(class_weights="effective-number", effective_beta=beta).weigh(torch.eye(4), torch.ones(4))
    np.testing.assert_allclose(weights.numpy() / float(weights[0]), effective[0] / effective, rtol=1e-5)
    equal = objective(class_weights="effective-number", effective_beta=0).weigh(torch.eye(4), torch.ones(4))
    torch.testing.assert_close(equal, torch.ones(4))
    nearly = objective(class_weights="effective-number", effective_beta=1 - 1e-9).weigh(torch.eye(4), torch.ones(4))
    balanced = objective(class_weights="balanced").weigh(torch.eye(4), torch.ones(4))
    torch.testing.assert_close(nearly, balanced, rtol=1e-5, atol=1e-6)


@given(
    totals=st.lists(st.floats(0, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=8).filter(any),
    scheme=st.sampled_from(["balanced", "effective-number"]),
    tau=st.floats(0, 3),
)
def test_weights_have_mean_one_over_the_training_images_and_nothing_is_infinite(
    totals: list[float], scheme: str, tau: float
) -> None:
    chosen = objective(totals, class_weights=scheme, logit_adjustment=tau)
    classes = len(totals)
    weights = chosen.weigh(torch.eye(classes), torch.ones(classes)).double().numpy()
    assert float((weights * totals).sum() / sum(totals)) == pytest.approx(1, rel=1e-5)
    smooth = torch.full((1, classes), 1 / classes)
    assert np.isfinite(weights).all()
    assert torch.isfinite(chosen.losses(torch.zeros(1, classes), smooth)).all()


def test_without_any_image_all_is_finite() -> None:
    chosen = objective([0, 0], class_weights="balanced", logit_adjustment=1)
    assert torch.isfinite(chosen.weigh(torch.eye(2), torch.ones(2))).all()
    assert torch.isfinite(chosen.losses(torch.zeros(2, 2), torch.eye(2))).all()


def test_an_image_weighs_its_own_weight_times_that_of_its_mixture_of_classes() -> None:
    chosen = objective(class_weights="balanced")
    pure = chosen.weigh(torch.eye(4), torch.ones(4))
    mixed = torch.tensor([[0.3, 0.7, 0.0, 0.0]])
    torch.testing.assert_close(chosen.weigh(mixed, torch.tensor([2.0])), 2 * (0.3 * pure[:1] + 0.7 * pure[1:2]))
    own = torch.tensor([0.5])
    assert objective().weigh(mixed, own) is own


def test_logit_adjustment_is_its_formula() -> None:
    logits, labels, _ = batch(4)
    shares = TOTALS / TOTALS.sum()
    adjusted = logits.double().numpy() + 0.7 * np.log(shares)  # Menon et al. 2021, equation 10
    expected = -log_softmax(adjusted, axis=1)[np.arange(len(labels)), labels.numpy()]
    ours = objective(logit_adjustment=0.7).losses(logits, F.one_hot(labels, 4).float())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def test_logit_adjustment_learns_logits_of_balanced_classes() -> None:
    """Two classes that one feature cannot tell apart: adjusted logits must tie, plain ones follow the shares."""
    targets = F.one_hot(torch.tensor([0] * 9 + [1]), 2).float()
    learnt = {}
    for tau in (0.0, 1.0):
        bias = torch.zeros(2, requires_grad=True)
        chosen = objective([9, 1], logit_adjustment=tau)
        optimiser = torch.optim.SGD([bias], lr=1.0)
        for _ in range(300):
            optimiser.zero_grad()
            chosen.losses(bias.expand(10, 2), targets).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        learnt[tau] = float((bias[0] - bias[1]).detach())
    assert learnt[0.0] == pytest.approx(np.log(9), abs=1e-3)
    assert learnt[1.0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(name: str) -> None:
    logits, _, soft = batch(5, images=11)
    weights = torch.rand(11, generator=torch.Generator().manual_seed(0))
    chosen = objective(name=name, class_weights="balanced", label_smoothing=0.1)
    whole = logits.clone().requires_grad_()
    mean_loss(chosen, whole, soft, weights).backward()  # type: ignore[no-untyped-call]
    parts = logits.clone().requires_grad_()
    weighed = chosen.weigh(soft, weights)
    for rows in torch.arange(11).split(4):  # 4, 4 and 3 images
        part = (chosen.losses(parts[rows], soft[rows]) * weighed[rows]).sum() / weighed.sum()
        part.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(parts.grad, whole.grad)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
def test_short_logits_are_computed_in_float32(kind: torch.dtype, name: str) -> None:
    logits, _, soft = batch(6)
    chosen = objective(name=name, class_weights="balanced")
    with torch.autocast("cpu", torch.bfloat16):
        losses, weights = chosen.losses(logits.to(kind), soft), chosen.weigh(soft, torch.ones(12))
    assert losses.dtype == weights.dtype == torch.float32
    torch.testing.assert_close(losses, chosen.losses(logits.to(kind).float(), soft))
    torch.testing.assert_close(weights, chosen.weigh(soft, torch.ones(12)))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_scaled_divergence_from_the_teacher(temperature: float) -> None:
    logits, _, _ = batch(7)
    teacher, _, _ = batch(8)
    p = softmax(teacher.double().numpy() / temperature, axis=1)
    q = softmax(logits.double().numpy() / temperature, axis=1)
    expected = rel_entr(p, q).sum(1) * temperature**2
    losses = distillation_losses(logits, teacher, temperature)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(distillation_losses(teacher, teacher, temperature).numpy(), 0, atol=1e-6)


def test_no_gradient_reaches_the_teacher_and_its_size_does_not_depend_on_the_temperature() -> None:
    logits, _, _ = batch(9, images=3)
    teacher = batch(10, images=3)[0].double().requires_grad_()
    student = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: distillation_losses(x, teacher, 2.0), (student,))
    sizes = []
    for temperature in (20.0, 40.0):
        (gradient,) = torch.autograd.grad(distillation_losses(student, teacher, temperature).sum(), student)
        sizes.append(float(gradient.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    assert not distillation_losses(student.detach(), teacher, 2.0).requires_grad


MEMBERSHIP = torch.tensor([0, 2, 0, 1, 2])


def test_superclasses_have_the_summed_probabilities_of_their_classes() -> None:
    logits, _, _ = batch(11, classes=5)
    ours = superclass_log_probabilities(logits, MEMBERSHIP, 3)
    logs = log_softmax(logits.double().numpy(), axis=1)
    expected = np.stack([logsumexp(logs[:, MEMBERSHIP.numpy() == s], axis=1) for s in range(3)], axis=1)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.exp(ours.double().numpy()).sum(1), 1, rtol=1e-6)


def test_a_superclass_far_below_the_others_keeps_its_digits() -> None:
    logits = torch.tensor([[300.0, -200.0, 250.0, 0.0, -201.0]], requires_grad=True)
    ours = superclass_log_probabilities(logits, MEMBERSHIP, 3)
    assert ours.tolist()[0] == pytest.approx([0.0, -300.0, -500 + np.log1p(np.exp(-1))], rel=1e-6)
    ours.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_coarse_loss_trains_the_classifier_of_the_classes() -> None:
    logits, _, _ = batch(12, images=3, classes=5)
    coarse = objective([1, 1, 1], label_smoothing=0.1)
    targets = torch.eye(3).double()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return coarse.losses(superclass_log_probabilities(x, MEMBERSHIP, 3), targets)

    student = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(loss, (student,))
    plain = objective([1, 1, 1])
    losses = plain.losses(superclass_log_probabilities(student, MEMBERSHIP, 3), targets)
    (gradient,) = torch.autograd.grad(losses.sum(), student)
    for row in range(3):  # every class of the right superclass is raised, every other lowered
        assert torch.equal(gradient[row] < 0, row == MEMBERSHIP)
