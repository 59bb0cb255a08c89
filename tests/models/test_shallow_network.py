"""The shallow network: what scikit-learn decides, it decides; and it does what our other networks do."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC
from torch import nn

from eyebright.errors import UsageError
from eyebright.export.onnx import export_onnx
from eyebright.models.catalog import count_parameters, create_network, network_facts, own_networks
from eyebright.models.shallow import Shallow
from eyebright.models.shallow.heads import (
    KernelMachines,
    KernelTensors,
    Trees,
    TreeTensors,
    _not_above,
    install_linear,
)
from eyebright.preprocess import Preprocess

TREES = 9  # three rounds of three classes, each a root, two nodes and four leaves
SIZES = {
    "linear": {},
    "kernel": {"components": 5, "vectors": 7},
    "trees": {"trees": TREES, "nodes": 7 * TREES, "steps": 2},
}
every_head = pytest.mark.parametrize("head", sorted(SIZES))


def table(classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features to fit on, their classes, and others, float32."""
    features, targets = make_classification(
        400, 30, n_informative=12, n_classes=classes, n_clusters_per_class=1, random_state=0
    )
    features = features.astype(np.float32)
    return features[:250], targets[:250], features[250:]


def decisions(head: nn.Module, features: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return head(torch.from_numpy(features)).double().numpy()


@pytest.mark.parametrize("classes", [2, 4])
def test_logistic_regression_gives_the_probabilities_of_scikit_learn(classes: int) -> None:
    features, targets, others = table(classes)
    model = LogisticRegression(C=0.5, max_iter=1000).fit(features, targets)
    layer = nn.Linear(30, classes)
    install_linear(layer, model.coef_, model.intercept_)
    np.testing.assert_allclose(softmax(decisions(layer, others), axis=1), model.predict_proba(others), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_machines_give_the_decisions_of_scikit_learn(classes: int) -> None:
    features, targets, others = table(classes)
    model = LinearSVC(C=0.01, random_state=0).fit(features, targets)
    layer = nn.Linear(30, classes)
    install_linear(layer, model.coef_, model.intercept_)
    received = decisions(layer, others)
    if classes == 2:
        received = received[:, 1] - received[:, 0]
    np.testing.assert_allclose(received, model.decision_function(others), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_kernel_machines_give_the_decisions_of_scikit_learn(classes: int) -> None:
    features, targets, others = table(classes)
    analysis = PCA(8, svd_solver="full").fit(features)
    points = analysis.transform(features)
    machines = [
        SVC(C=2.0, kernel="rbf", gamma=0.02).fit(points, targets == number)
        for number in (range(1, 2) if classes == 2 else range(classes))
    ]
    coefficients = np.zeros((len(machines), len(points)))
    for row, machine in enumerate(machines):
        coefficients[row, machine.support_] = machine.dual_coef_[0]
    tensors = KernelTensors(
        projection=analysis.components_.astype(np.float32),
        offset=(-analysis.mean_ @ analysis.components_.T).astype(np.float32),
        vectors=points.astype(np.float32), coefficients=coefficients,
        bias=np.array([machine.intercept_[0] for machine in machines]), gamma=0.02,
    )  # fmt: skip
    head = KernelMachines(30, classes=classes, **tensors.sizes)
    tensors.install(head)
    received = decisions(head, others)
    if classes == 2:
        received = (received[:, 1] - received[:, 0])[:, None]
    expected = np.stack([machine.decision_function(analysis.transform(others)) for machine in machines], axis=1)
    np.testing.assert_allclose(received, expected, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_boosted_trees_give_the_decisions_of_scikit_learn_after_any_number_of_rounds(classes: int) -> None:
    features, targets, others = table(classes)
    columns = np.sort(np.random.default_rng(0).permutation(30)[:20])
    model = HistGradientBoostingClassifier(max_iter=12, max_leaf_nodes=9, early_stopping=False, random_state=0)
    model.fit(features[:, columns], targets)
    staged = list(model.staged_decision_function(others[:, columns]))
    for rounds in (1, 5, 12):
        tensors = TreeTensors.of(model, iterations=rounds, columns=columns)
        head = Trees(classes=classes, **tensors.sizes)
        tensors.install(head)
        received = decisions(head, others)
        expected = staged[rounds - 1].reshape(len(others), -1)
        if classes == 2:
            received = (received[:, 1] - received[:, 0])[:, None]
        np.testing.assert_allclose(received, expected, atol=1e-5)
    probabilities = softmax(decisions(head, others), axis=1)
    np.testing.assert_allclose(probabilities, model.predict_proba(others[:, columns]), atol=1e-5)


@given(st.floats(-1e6, 1e6), st.integers(-2, 2))
def test_a_rounded_threshold_keeps_every_feature_on_its_side(threshold: float, steps: int) -> None:
    rounded = _not_above(np.array([threshold]))[0]
    feature = np.float32(threshold)
    for _ in range(abs(steps)):
        feature = np.nextafter(feature, np.float32(np.inf if steps > 0 else -np.inf))
    assert (feature <= rounded) == (float(feature) <= threshold)


def arguments_of(head: str) -> dict[str, Any]:
    return {"features": ["lbp"], "img_size": 32, "head": head, "sizes": SIZES[head]}


def make(head: str) -> Any:
    """A network for three classes whose head says something."""
    network: Any = create_network("shallow", classes=3, pretrained=False, arguments=arguments_of(head))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        network.mean.copy_(torch.rand(network.mean.shape, generator=generator) * 0.1)
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        if head == "trees":
            trees = network.get_classifier()
            first = torch.arange(TREES) * 7
            trees.roots.copy_(first)
            trees.below.copy_((first[:, None] + torch.tensor([1, 3, 5, 3, 4, 5, 6])).flatten())
            trees.above.copy_((first[:, None] + torch.tensor([2, 4, 6, 3, 4, 5, 6])).flatten())
            trees.feature.copy_(torch.randint(0, network.num_features, (7 * TREES,), generator=generator))
            usual = network.forward_head(network.forward_features(images()), pre_logits=True).median(0).values
            trees.threshold.copy_(usual[trees.feature])
    return network.eval()


def images(count: int = 4, side: int = 32, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, channels, side, side), generator=generator) / 255


@every_head
def test_logits_come_from_the_head_and_that_from_the_features(head: str) -> None:
    network, batch = make(head), images()
    with torch.inference_mode():
        features = network.forward_features(batch)
        vectors = network.forward_head(features, pre_logits=True)
        assert features.shape == vectors.shape == (4, network.num_features) == (4, network.head_hidden_size)
        logits = network(batch)
        assert logits.shape == (4, 3)
        assert torch.equal(network.get_classifier()(vectors), logits)
        assert torch.equal(network.forward_head(features), logits)
        alone = torch.cat([network(image[None]) for image in batch])
    torch.testing.assert_close(alone, logits, rtol=1e-5, atol=1e-6)
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert count_parameters(network) > 0


@every_head
def test_the_head_is_replaced_by_one_of_its_kind_and_nothing_else(head: str) -> None:
    network = make(head)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    kind = type(network.get_classifier())
    network.reset_classifier(9)
    assert type(network.get_classifier()) is kind
    assert all(torch.equal(before[key], network.state_dict()[key]) for key in ("mean", "scale"))
    with torch.inference_mode():
        network.reset_classifier(0)
        assert network(images()).shape == (4, network.num_features)
    assert network.num_classes == 0
    with pytest.raises(UsageError, match="global_pool='max'"):
        network.reset_classifier(3, "max")


@every_head
def test_arguments_and_weights_restore_the_network(head: str, tmp_path: Path) -> None:
    """As a bundle does, and as timm does from the folder of one."""
    network = make(head)
    arguments = arguments_of(head)
    other = create_network("shallow", classes=3, pretrained=False, arguments=json.loads(json.dumps(arguments))).eval()
    other.load_state_dict(network.state_dict())
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "model.safetensors")
    facts = {**network.pretrained_cfg, "num_classes": 3, "input_size": (3, 32, 32), "fixed_input_size": False}
    config = {"architecture": "shallow", "num_classes": 3, "pretrained_cfg": facts, "model_args": arguments}
    (tmp_path / "config.json").write_text(json.dumps(config))
    restored = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.inference_mode():
        expected = network(images())
        assert torch.equal(other(images()), expected)
        assert torch.equal(restored(images()), expected)


@every_head
def test_the_exported_graph_gives_what_the_network_gives(head: str) -> None:
    network = make(head)
    preprocess = Preprocess(size=32, mean=(0,) * 3, std=(1,) * 3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        export_onnx(network, preprocess).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(preprocess.normalise(pixels))).numpy()
    for count in (1, 5):
        logits = session.run(["logits"], {"pixels": pixels[:count]})[0]
        np.testing.assert_allclose(logits, expected[:count], atol=1e-5)


def test_families_stand_in_one_order_whatever_the_order_asked_for() -> None:
    arguments = {"features": ["lbp", "colour"], "img_size": 32}
    network: Any = create_network("shallow", classes=3, pretrained=False, arguments=arguments)
    assert isinstance(network, Shallow)
    assert list(network.columns()) == ["colour", "lbp"]
    assert sum(len(cells) for cells in network.columns().values()) == network.num_features


def test_grey_images_have_all_families() -> None:
    network = create_network("shallow", classes=3, channels=1, pretrained=False, arguments={"img_size": 32}).eval()
    with torch.inference_mode():
        assert network(images(channels=1)).shape == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"img_size": 100}, "100x100"),
        ({"img_size": 16}, "multiple of 8 from 32"),
        ({"img_size": [64, 32]}, "64x32"),
        ({"features": ["color"]}, "did you mean 'colour'"),
        ({"features": []}, "no features"),
        ({"head": "forest"}, "unknown head 'forest'"),
        ({"head": "trees"}, "trees, nodes, steps"),
        ({"head": "linear", "sizes": {"trees": 1}}, "no sizes"),
        ({"head": "kernel", "sizes": {"components": 0, "vectors": 3}}, "at least 1"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        create_network("shallow", classes=3, pretrained=False, arguments=arguments)
    assert message in f"{refused.value.problem} {refused.value.expected}"


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="64x64"):
        make("linear")(images(side=64))


def test_it_is_known_but_not_listed_among_networks_to_train() -> None:
    facts = network_facts("shallow", {"img_size": 128})
    assert (facts.origin, facts.input_size, facts.fixed_size, facts.licence) == ("catalogue", 128, True, "none")
    assert "shallow" not in own_networks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert timm.is_model("shallow")
