"""A person at the keyboard, in a real browser: every key does what it says, and the table has it before the next image.

The browser is the system's Chromium or Chrome, driven by Playwright; nothing is downloaded.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sitting import Sitting

from eyebright.data.audit.applying import apply_plan
from eyebright.data.audit.corrections import read_corrections, with_corrections
from eyebright.data.audit.findings import Suggestion
from eyebright.data.audit.plan import plan_of
from eyebright.data.audit.plan_file import read_plan, write_plan
from eyebright.data.manifest import Manifest
from eyebright.review import ReviewServer, ReviewSession

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium or Chrome on this machine")

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Opens a review; afterwards no request may have left this machine and no script may have failed."""
    wrong: list[str] = []
    contexts = []

    def open_review(server: ReviewServer, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(server.url) else None)
        page.goto(server.url)
        expect(page.locator("#main")).to_have_attribute("aria-busy", "false")
        return page

    yield open_review
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def server(sitting: Sitting) -> Iterator[ReviewServer]:
    with ReviewServer(sitting.session()) as running:
        yield running


def lines(path: Path) -> list[tuple[str, str, str]]:
    """The corrections table as (source, action, label after), oldest first."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as handle:
        return [(row["source"], row["action"], row["label_after"]) for row in csv.DictReader(handle)]


def at(page: Any, position: str) -> None:
    """Wait until the page shows this suggestion."""
    expect(page.locator("#position")).to_have_text(position)


def test_a_review_by_keyboard_becomes_the_manifest_that_was_wanted(
    open_page: OpenPage, sitting: Sitting, tmp_path: Path
) -> None:
    rose, daisy = sitting.photos["rose"], sitting.photos["daisy"]
    near, same = "test/rose/near.png", "train/tulip/same.jpg"
    table = sitting.corrections
    with ReviewServer(sitting.session()) as server:
        page = open_page(server)
        at(page, "1 of 10")
        expect(page.locator("#question")).to_have_text("One photo, labelled rose and tulip: set it aside?")
        expect(page.locator("#images img")).to_have_count(2)
        page.keyboard.press("1")  # the rose stays, the tulip goes
        at(page, "2 of 10")
        assert lines(table) == [(rose[0], "keep", "rose"), (same, "drop", "")]

        expect(page.locator("figcaption").first).to_contain_text("128 × 128 · JPEG")
        expect(page.locator("figcaption").last).to_contain_text(near)
        page.keyboard.press("a")
        at(page, "3 of 10")
        assert lines(table)[2:] == [(rose[1], "drop", ""), (near, "keep", "rose")]

        expect(page.locator("#question")).to_have_text("Labelled rose: is it tulip?")
        expect(page.locator("#reason")).to_have_text("reason 0")
        expect(page.locator("#sure")).to_have_text("99 % doubt")
        page.keyboard.press("Enter")
        at(page, "4 of 10")
        assert lines(table)[4:] == [(rose[2], "relabel", "tulip")]
        page.keyboard.press("r")
        at(page, "5 of 10")
        assert lines(table)[5:] == [(rose[3], "keep", "rose")]
        page.keyboard.press("1")  # daisy
        at(page, "6 of 10")
        assert lines(table)[6:] == [(rose[4], "relabel", "daisy")]

        page.keyboard.press("u")
        at(page, "5 of 10")
        assert lines(table)[6:] == []
        page.keyboard.press("Backspace")
        at(page, "6 of 10")
        assert lines(table)[6:] == [(rose[4], "keep", "rose")]

        page.keyboard.press("d")
        at(page, "7 of 10")
        assert lines(table)[7:] == [(rose[5], "drop", "")]
        page.keyboard.press(" ")  # skipped: decided later
        at(page, "8 of 10")
        assert len(lines(table)) == 8

        page.reload()
        at(page, "7 of 10")  # the one after the last decision
        assert len(lines(table)) == 8
        page.keyboard.press("ArrowLeft")  # undo reaches behind the reload
        at(page, "6 of 10")
        assert len(lines(table)) == 7
        page.keyboard.press("q")
        at(page, "7 of 10")
        assert lines(table)[7:] == [(rose[5], "quarantine", "")]

    with ReviewServer(sitting.session()) as server:  # the next day
        page = open_page(server)
        at(page, "7 of 10")
        page.keyboard.press("2")  # the digit of the label that it has: rejected
        at(page, "8 of 10")
        assert lines(table)[8:] == [(rose[6], "keep", "rose")]
        page.keyboard.press("/")
        page.keyboard.type("dai")
        page.keyboard.press("Enter")
        at(page, "9 of 10")
        assert lines(table)[9:] == [(rose[7], "relabel", "daisy")]
        page.keyboard.press("s")
        at(page, "10 of 10")
        expect(page.locator("#images img")).to_have_count(3)
        page.keyboard.press("a")
        expect(page.locator("#end-title")).to_have_text("1 skipped")
        assert lines(table)[10:] == [
            (daisy[0], "group", "daisy"), ("train/daisy/turned-1.png", "group", "daisy"),
            ("train/daisy/turned-2.png", "group", "daisy"),
        ]  # fmt: skip
        page.keyboard.press("Enter")  # Look at the skipped ones
        at(page, "9 of 10")
        page.keyboard.press("a")
        expect(page.locator("#end-title")).to_have_text("All decided")
        expect(page.locator("#end-counts")).to_have_text(re.compile("4accepted.*3changed.*3rejected"))
        page.keyboard.press("Enter")  # Finish
        expect(page.locator("#end-title")).to_have_text("The review is closed")
        assert server.finished.wait(10)

    plan = with_corrections(plan_of(sitting.audit), read_corrections(table))
    write_plan(tmp_path / "plan.yaml", plan)
    cleaned = apply_plan(sitting.audit.manifest, read_plan(tmp_path / "plan.yaml"))
    before = {row["source"]: row for row in sitting.audit.manifest.table.to_pylist()}
    after = {row["source"]: row for row in cleaned.table.to_pylist()}
    changed = {
        source: (row["status"], row["label"])
        for source, row in after.items()
        if (row["status"], row["label"]) != (before[source]["status"], before[source]["label"])
    }
    assert changed == {
        rose[0]: ("ok", "rose"),
        same: ("dropped", "tulip"),
        rose[1]: ("dropped", "rose"),
        rose[2]: ("ok", "tulip"),
        rose[5]: ("quarantined", "rose"),
        rose[7]: ("ok", "daisy"),
        rose[8]: ("ok", "tulip"),
    }
    together = {source for source, row in after.items() if row["group"] is not None}
    assert together == {daisy[0], "train/daisy/turned-1.png", "train/daisy/turned-2.png"}
    assert len({after[source]["group"] for source in together}) == 1


def test_a_decision_that_cannot_be_saved_stays_on_the_screen(
    open_page: OpenPage, server: ReviewServer, sitting: Sitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(server)

    def refuse(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "replace", refuse)
        page.keyboard.press("a")
        expect(page.locator("#alert")).to_contain_text("Not saved: the disk is full")
        at(page, "1 of 10")
        assert lines(sitting.corrections) == []
    page.keyboard.press("a")
    at(page, "2 of 10")
    expect(page.locator("#alert")).to_be_hidden()
    server.stop()
    page.keyboard.press("a")
    expect(page.locator("#alert")).to_contain_text("The review is not running any more")
    at(page, "2 of 10")


def test_kinds_can_be_reviewed_one_at_a_time(open_page: OpenPage, server: ReviewServer) -> None:
    page = open_page(server)
    expect(page.locator("#tabs button")).to_have_text(["All10", "Duplicates3", "Labels7"])
    page.locator("#tabs button", has_text="Labels").click()
    at(page, "1 of 7")
    page.keyboard.press("Enter")  # the focus is on the question, not on the tab
    at(page, "2 of 7")
    expect(page.locator("#tabs button")).to_have_text(["All9", "Duplicates3", "Labels6"])
    for number in range(2, 8):
        at(page, f"{number} of 7")
        page.keyboard.press("r")
    expect(page.locator("#end-title")).to_have_text("All decided in Labels")
    page.get_by_role("button", name="Go on with the other 3").click()
    at(page, "1 of 10")


def test_a_decision_is_announced_and_the_question_has_the_focus(open_page: OpenPage, server: ReviewServer) -> None:
    page = open_page(server)
    page.keyboard.press("s")
    at(page, "2 of 10")
    page.keyboard.press("a")
    at(page, "3 of 10")
    expect(page.locator("#said")).to_have_text(
        "Accepted: Drop the copy. 3 of 10. Labelled rose: is it tulip? reason 0"
    )  # fmt: skip
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("a")  # keys are for the dialog now
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    at(page, "3 of 10")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, img')].filter((e) => e.checkVisibility()"
        " && !(e.textContent.trim() || e.getAttribute('aria-label') || e.alt)).length"
    )
    assert unnamed == 0


def test_an_image_decided_before_says_so(open_page: OpenPage, sitting: Sitting) -> None:
    rows = {row["source"]: row for row in sitting.audit.manifest.table.to_pylist()}
    again = sitting.photos["rose"][2]
    dark = Suggestion(action="quarantine", finding="dark", ids=(rows[again]["id"],), sources=(again,), label="rose")
    sitting.audit.suggestions.append(dark)  # type: ignore[attr-defined]
    with ReviewServer(sitting.session()) as server:
        page = open_page(server)
        page.locator("#tabs button", has_text="Labels").click()
        page.keyboard.press("a")
        at(page, "2 of 7")
        page.locator("#tabs button", has_text="Files").click()
        expect(page.locator("#earlier")).to_contain_text("You decided about this before: labelled tulip")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_works_with_a_thumb_on_a_small_screen(
    open_page: OpenPage, server: ReviewServer, sitting: Sitting, scheme: str
) -> None:
    page = open_page(
        server, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme=scheme
    )
    for number, button in ((1, "#accept"), (2, "#reject"), (3, "#skip"), (4, '#classes [data-label="daisy"]')):
        at(page, f"{number} of 10")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        box = page.locator(button).bounding_box()
        assert box["height"] >= 40
        page.locator(button).tap()
    at(page, "5 of 10")
    page.locator("#undo").tap()
    at(page, "4 of 10")
    page.locator("#undo").tap()
    at(page, "3 of 10")
    page.locator("#undo").tap()
    at(page, "2 of 10")
    page.locator("#images button").last.tap()
    at(page, "3 of 10")
    assert lines(sitting.corrections)[2:] == [
        (sitting.photos["rose"][1], "drop", ""),
        ("test/rose/near.png", "keep", "rose"),
    ]
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    assert colours == (
        ["rgb(252, 251, 249)", "rgb(33, 30, 41)"] if scheme == "light" else ["rgb(22, 21, 26)", "rgb(236, 233, 241)"]
    )  # fmt: skip


def test_among_many_classes_the_right_one_is_searched(open_page: OpenPage, sitting: Sitting) -> None:
    names = sorted(["rose", "tulip", *(f"kind of plant {number}" for number in range(100)), "<b>bold</b>"])
    manifest = sitting.audit.manifest
    many = Manifest(manifest.table, classes=names, spec=manifest.spec, kind=manifest.kind)
    audit = type(sitting.audit)(
        manifest=many, findings=sitting.audit.findings, suggestions=list(sitting.audit.suggestions)[:3]
    )
    session = ReviewSession(audit, images=sitting.images, corrections=sitting.corrections)
    with ReviewServer(session) as server:
        page = open_page(server)
        page.keyboard.press("/")
        page.keyboard.type("plant 42")
        expect(page.locator("#found li")).to_have_text(["kind of plant 42"])
        page.keyboard.press("Enter")
        at(page, "2 of 3")
        page.locator("#search-button").click()
        page.keyboard.type("<b>")
        page.keyboard.press("Enter")
        at(page, "3 of 3")
        page.keyboard.press("/")
        page.keyboard.type("no such plant")
        expect(page.locator("#found")).to_have_text("No class has these letters.")
        page.keyboard.press("Enter")  # nothing to take
        page.keyboard.press("Escape")
        at(page, "3 of 3")
    assert [label for _, _, label in lines(sitting.corrections)] == ["kind of plant 42", "<b>bold</b>"]


def test_a_damaged_image_does_not_stop_the_review(open_page: OpenPage, sitting: Sitting) -> None:
    def broken(source: str) -> Any:
        raise ValueError("cut off")

    session = ReviewSession(sitting.audit, images=broken, corrections=sitting.corrections)
    with ReviewServer(session) as server:
        page = open_page(server)
        expect(page.locator(".gone").first).to_have_text("This image cannot be shown: ValueError: cut off")
        page.keyboard.press("a")
        at(page, "2 of 10")
