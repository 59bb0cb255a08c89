"""The exception tree: exit codes, messages, suggestions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eyebright import errors
from eyebright.errors import EyebrightError, did_you_mean


def all_errors() -> list[type[EyebrightError]]:
    return [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, EyebrightError)]


def test_docstring_names_every_error_with_its_exit_code() -> None:
    documented = dict(re.findall(r"(\w+)(?: \(\w+\))?\s+(\d+)   ", errors.__doc__ or ""))
    assert documented == {error.__name__: str(error.exit_code) for error in all_errors()}


@pytest.mark.parametrize("error", all_errors())
def test_message_has_problem_expectation_and_remedy(error: type[EyebrightError]) -> None:
    raised = error("it broke", expected="a whole one", remedy="mend it")
    assert str(raised) == "it broke\nexpected: a whole one\nto fix it: mend it"
    assert raised.as_dict()["exit_code"] == error.exit_code


def test_suggestion_ignores_case() -> None:
    assert did_you_mean("AUTTO", ["auto", "scratch"]) == " (did you mean 'auto'?)"


@given(st.sampled_from(["auto", "scratch", "optim.learning_rate"]))
def test_a_known_name_is_its_own_suggestion(name: str) -> None:
    assert repr(name) in did_you_mean(name, ["auto", "scratch", "optim.learning_rate"])


def test_nothing_is_suggested_for_something_else() -> None:
    assert did_you_mean("zebra", ["auto", "scratch"]) == ""
