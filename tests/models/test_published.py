"""The table of pretrained networks: facts that timm can confirm, and how it is searched."""

from __future__ import annotations

import dataclasses

import pytest
import timm

from eyebright.errors import UsageError
from eyebright.models.catalog import count_parameters, create_network, network_facts
from eyebright.models.pretrained import PACKAGED
from eyebright.models.published import MOST_MEASURED, choose, in_order, measure, published_networks
from eyebright.models.timing import Timing


def test_every_row_is_a_pretrained_network_of_timm_at_its_own_size() -> None:
    known = set(timm.list_pretrained())
    rows = published_networks()
    assert len(rows) == len({row.model for row in rows}) > 1000
    assert [row.model for row in rows if row.model not in known] == []
    wrong = [row.model for row in rows if timm.get_pretrained_cfg(row.model).input_size[-1] != row.input_size]
    assert wrong == []


def test_figures_are_possible() -> None:
    """Accuracies are counts of 50,000 images: multiples of 0.002 %."""
    for row in published_networks():
        assert 50 < row.top1 < row.top5 < 100, row.model
        assert row.parameters_millions > 1, row.model
        for figure in (row.top1, row.top5):
            assert round(figure * 500) == pytest.approx(figure * 500, abs=1e-6), row.model


def test_one_architecture_has_one_number_of_parameters() -> None:
    numbers: dict[str, set[float]] = {}
    for row in published_networks():
        numbers.setdefault(row.architecture, set()).add(row.parameters_millions)
    assert {name: found for name, found in numbers.items() if len(found) > 1} == {}


FAMILIES = (
    "resnet", "resnext", "wide_resnet", "seresnet", "efficientnet_b", "tf_efficientnet_b", "tf_efficientnet_lite",
    "tf_efficientnetv2", "mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv4", "convnext_", "convnextv2", "vit_",
    "deit_", "deit3", "swin_", "swinv2", "regnetx", "regnety", "densenet", "mobilevit_", "repvgg", "ghostnet",
    "fastvit", "edgenext", "levit", "inception", "hrnet", "vgg", "xcit", "maxvit", "beit",
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_every_well_known_family_is_there(family: str) -> None:
    assert len([row for row in published_networks() if row.model.startswith(family)]) >= 2


SMALL = (
    "lcnet_050.ra2_in1k", "mobilenetv3_small_050.lamb_in1k", "tinynet_e.in1k", "edgenext_xx_small.in1k",
    "mobilevit_xxs.cvnets_in1k", "regnetx_002.pycls_in1k", "levit_128s.fb_dist_in1k", "efficientvit_m0.r224_in1k",
    "xcit_nano_12_p16_224.fb_in1k", "pvt_v2_b0.in1k", "ghostnet_100.in1k", "tf_efficientnet_lite0.in1k",
    "convnext_atto.d2_in1k", "dla46_c.in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "resnet10t.c3_in1k",
)  # fmt: skip


@pytest.mark.parametrize("model", SMALL)
def test_parameters_are_those_of_the_network(model: str) -> None:
    (row,) = [row for row in published_networks() if row.model == model]
    found = count_parameters(timm.create_model(model))
    assert row.parameters_millions == pytest.approx(found / 1e6, rel=0.01)


def test_installed_weights_are_marked_with_the_name_to_train_them_by() -> None:
    rows = choose(offline=True)
    assert [row.installed_as for row in rows] == list(PACKAGED)
    assert all(network_facts(str(row.installed_as)).offline for row in rows)


def test_patterns_are_of_names_with_or_without_their_tags() -> None:
    assert [row.model for row in choose("resnet18")] == [row.model for row in choose("resnet18.*")]
    assert {row.architecture for row in choose("resnet18")} == {"resnet18"}
    assert [row.model for row in choose("resnet18.tv_in1k")] == ["resnet18.tv_in1k"]


def test_a_pattern_that_nothing_has_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no published network is named 'resnet81' \(did you mean 'resnet18'\?\)"):
        choose("resnet81")


def test_limits_that_leave_nothing_say_what_would() -> None:
    with pytest.raises(UsageError) as caught:
        choose("resnet*", max_parameters=1000)
    assert "none of" in caught.value.problem
    assert "5.44 million parameters (resnet10t.c3_in1k)" in str(caught.value.expected)
    with pytest.raises(UsageError) as caught:
        choose("resnet*", offline=True)
    assert "tf_efficientnet_lite0" in str(caught.value.expected)


def test_limits_leave_what_is_within_them() -> None:
    rows = choose(max_parameters=2_000_000)
    assert rows
    assert max(row.parameters_millions for row in rows) <= 2
    assert len(rows) == sum(row.parameters_millions <= 2 for row in published_networks())


def test_the_best_come_first_in_every_order() -> None:
    rows = choose("resnet*")
    assert [row.top1 for row in in_order(rows, "top1")] == sorted((row.top1 for row in rows), reverse=True)
    assert [row.top5 for row in in_order(rows, "top5")] == sorted((row.top5 for row in rows), reverse=True)
    numbers = [row.parameters_millions for row in in_order(rows, "parameters")]
    assert numbers == sorted(numbers)
    assert [row.model for row in in_order(rows, "name")] == sorted(row.model for row in rows)
    timed = [
        dataclasses.replace(row, timing=Timing(median=median, low=median, high=median, runs=5))
        for row, median in zip(rows[:3], (3.0, 1.0, 2.0), strict=True)
    ]
    order = in_order([rows[3], *timed], "milliseconds")
    assert [row.timing.median if row.timing else None for row in order] == [1.0, 2.0, 3.0, None]


def test_measuring_times_the_network_of_each_row_at_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def time_it(network: object, size: tuple[int, int, int]) -> Timing:
        asked.append((type(network).__name__, size))
        return Timing(median=1.0, low=1.0, high=1.0, runs=5)

    monkeypatch.setattr("eyebright.models.published.time_one_image", time_it)
    rows = [*choose("tinynet_e"), *choose("mobilevit_xxs")]
    measured = measure(rows)
    assert asked == [("EfficientNet", (3, 106, 106)), ("ByobNet", (3, 256, 256))]
    assert [(row.model, row.timing is not None) for row in measured] == [(row.model, True) for row in rows]


def test_hundreds_are_not_measured() -> None:
    with pytest.raises(UsageError, match="--measure would run") as caught:
        measure(choose("resnet*"))
    assert str(MOST_MEASURED) in str(caught.value.expected)


def test_a_network_of_the_table_can_be_made() -> None:
    assert create_network("lcnet_050.ra2_in1k", classes=3, pretrained=False) is not None
