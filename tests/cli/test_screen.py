"""What stands on the terminal and in a log while work goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from eyebright.cli import screen as module
from eyebright.cli.screen import Lines, Screen, figure_line

FIGURES = {"loss": "0.412", "accuracy": "87.5 %", "best": "90.1 %", "rate": "7.5e-05", "images/s": "12,345"}


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, color_system=None)


def shown(screen: Screen, width: int) -> list[str]:
    """The live part of the screen as it would stand there now."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(screen._bars.get_renderable())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 240])
def test_a_bar_has_its_time_left_and_its_figures_below_it(width: int) -> None:
    screen = Screen(terminal(width))
    with screen, screen.task("train", 1250, unit="steps") as task:
        task.advance(412)
        assert len(shown(screen, width)) == 1
        task.describe("train · epoch 3/20")
        task.detail(FIGURES)
        bar, figures = shown(screen, width)
    assert bar.startswith("train · epoch 3/20 ━")
    assert " 412/1250 steps 0:00:00 left " in bar
    assert len(bar.rstrip()) <= min(width, module.WIDEST)
    assert " ".join(figures.split()) == "loss 0.412 accuracy 87.5 % best 90.1 % rate 7.5e-05 images/s 12,345"
    assert shown(screen, width) == []


def test_later_figures_replace_earlier_ones() -> None:
    screen = Screen(terminal(100))
    with screen, screen.task("train", 10) as task:
        task.detail({"loss": "1.000", "best": "50.0 %"})
        task.detail({"loss": "0.900"})
        assert shown(screen, 100)[1].split() == ["loss", "0.900"]


def test_names_are_shown_as_they_are() -> None:
    screen = Screen(terminal(100))
    with screen, screen.task("[bold]train[/bold]", 10, unit="[steps]") as task:
        task.detail({"loss": "[red]"})
        assert "[bold]train[/bold]" in shown(screen, 100)[0]
        assert "[steps]" in shown(screen, 100)[0]
        assert "[red]" in shown(screen, 100)[1]
        screen.note("class [/weird]: new best")
        screen.warn("class [/weird]")
    text = screen._console.file.getvalue()  # type: ignore[attr-defined]
    assert "class [/weird]: new best" in text
    assert "warning: class [/weird]" in text


def test_values_stand_out_and_the_best_most() -> None:
    line = figure_line({"loss": "0.4", "best": "90 %"})
    styles = {line.plain[span.start : span.end].strip(): str(span.style) for span in line.spans}
    assert styles == {"loss": "dim", "0.4": "bold", "best": "dim", "90 %": "bold green"}


def test_a_log_has_plain_lines_with_the_figures(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    lines = Lines()
    with lines.task("train", 4, unit="steps") as task:
        task.describe("train · epoch 1/2")
        task.detail({"loss": "0.412", "accuracy": "87.5 %"})
        task.advance()
    lines.note("train epoch 1/2: loss 0.4")
    lines.warn("slow")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "train · epoch 1/2: 1/4 steps, loss 0.412, accuracy 87.5 %",
        "train epoch 1/2: loss 0.4",
        "warning: slow",
    ]


@pytest.mark.parametrize(("rank", "heard"), [(None, True), ("", True), ("0", True), ("1", False), ("7", False)])
def test_only_the_first_process_of_a_team_speaks(
    rank: str | None, heard: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if rank is None:
        monkeypatch.delenv("RANK", raising=False)
    else:
        monkeypatch.setenv("RANK", rank)
    lines = Lines()
    lines.note("a note")
    lines.warn("a warning")
    assert bool(capsys.readouterr().err) == heard
    screen = Screen()
    with screen, screen.task("train", 4) as task:
        task.detail(FIGURES)
        task.advance()
        screen.note("a note")
        screen.warn("a warning")
    assert bool(capsys.readouterr().err) == heard
