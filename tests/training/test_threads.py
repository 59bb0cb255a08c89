"""Threads of the arithmetic: set for a while, never more than may be used, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import eyebright.training.threads as threads
from eyebright.training.threads import arithmetic_threads, default_threads, threads_in_question


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    former = torch.get_num_threads()
    yield
    torch.set_num_threads(former)


def test_the_number_asked_for_holds_inside_and_is_put_back_after_an_error() -> None:
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="on purpose"), arithmetic_threads(3) as count:
        assert count == torch.get_num_threads() == 3
        raise RuntimeError("on purpose")
    assert torch.get_num_threads() == 2


def test_a_container_gets_as_many_as_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(8)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    with arithmetic_threads(None) as count:
        assert count == torch.get_num_threads() == 2
    assert torch.get_num_threads() == 8


def test_fewer_threads_that_the_user_set_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(threads, "available_cores", lambda: 64)
    monkeypatch.setattr(threads, "physical_cores", lambda: 32)
    assert default_threads() == 1
    assert threads_in_question() == ()


def test_only_hyperthreads_are_worth_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)
    assert threads_in_question() == (2, 4)
    monkeypatch.setattr(threads, "physical_cores", lambda: 4)
    assert threads_in_question() == ()
