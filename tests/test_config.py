"""The configuration tree: what it accepts, refuses and writes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eyebright.config import (
    Part,
    SplitShares,
    TrainConfig,
    build_config,
    parse_assignment,
    parse_duration,
    parse_share,
    read_yaml,
    to_yaml,
)
from eyebright.errors import ConfigError, UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1h30m", 5400), (" 2 min ", 120), (45, 45)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["banana", "", "-5m", "0", "5 parsecs", "nan", "1e400h", "m5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_duration_parts_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == 3600 * hours + 60 * minutes + seconds


def test_shares() -> None:
    assert parse_share("5%") == parse_share("0.05") == parse_share(0.05) == 0.05
    for wrong in ("5", "-1%", "many", "101%", "nan"):
        with pytest.raises(UsageError):
            parse_share(wrong)


@given(st.tuples(*[st.floats(0.01, 1000)] * 3))
def test_split_shares_sum_to_one(parts: tuple[float, float, float]) -> None:
    shares = SplitShares.parse("/".join(map(str, parts)))
    assert shares.train + shares.val + shares.test == pytest.approx(1)
    assert shares.train / shares.test == pytest.approx(parts[0] / parts[2])


@pytest.mark.parametrize("text", ["70/30", "70/15/15/5", "a/b/c", "100/0/0", "", "70/-15/45", "inf/1/1"])
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a split"):
        SplitShares.parse(text)


def test_later_layers_win_and_others_stay() -> None:
    config = build_config({"optim": {"batch_size": 8, "clip_norm": 2.0}}, parse_assignment("optim.batch_size=16"))
    assert (config.optim.batch_size, config.optim.clip_norm) == (16, 2.0)


def test_a_misspelt_key_is_refused_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'optim.learning_rat' \(did you mean 'learning_rate'\?\)"):
        build_config(parse_assignment("optim.learning_rat=1e-3"))
    with pytest.raises(ConfigError, match=r"did you mean 'augment'"):
        build_config({"augmnt": {}})


def test_scientific_notation_is_a_number() -> None:
    assert build_config(parse_assignment("optim.learning_rate=3e-4")).optim.learning_rate == 3e-4


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"optim": {"batch_size": 0, "learning_rate": "fast"}})
    assert "optim.batch_size" in str(caught.value)
    assert "optim.learning_rate" in str(caught.value)


@pytest.mark.parametrize("text", ["learning_rate", "=3", ".x=3"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a setting"):
        parse_assignment(text)


def test_configuration_survives_a_round_trip_through_yaml(tmp_path: Path) -> None:
    config = build_config(
        {
            "budget_seconds": None,
            "model": {"name": "resnet18"},
            "data": {"split": {"train": 0.5, "val": 0.25, "test": 0.25}},
        }
    )
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert build_config(read_yaml(tmp_path / "c.yaml")) == config


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\x00", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError):
        read_yaml(tmp_path / "c.yaml")


def parts(part: type[Part] = TrainConfig) -> Iterator[type[Part]]:
    yield part
    for field in part.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Part):
            yield from parts(field.annotation)


def test_every_field_is_documented() -> None:
    for part in parts():
        for name, field in part.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, Part)
            assert nested or field.description, f"{part.__name__}.{name}"


def test_values_that_do_not_go_together_are_named_without_the_rest() -> None:
    with pytest.raises(ConfigError) as caught:
        build_config({"data": {"sampling": "balanced"}, "loss": {"class_weights": "balanced"}})
    assert caught.value.problem.startswith("data.sampling=balanced together with loss.class_weights")


def test_off_is_the_word_although_yaml_reads_it_as_false() -> None:
    assert build_config(parse_assignment("data.audit=off")).data.audit == "off"


def test_the_documentation_page_is_made_from_this_code() -> None:
    path = Path(__file__).resolve().parents[1] / "packaging" / "configuration_page.py"
    names: dict[str, Any] = {"__name__": "page", "__file__": str(path)}
    exec(path.read_text(), names)
    assert names["PAGE"].read_text() == names["page"](), "run python packaging/configuration_page.py"


def test_configuration_is_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        TrainConfig().seed = 3  # type: ignore[misc]


def test_defaults_are_plain_yaml() -> None:
    assert yaml.safe_load(to_yaml(TrainConfig()))["recipe"] == "auto"
