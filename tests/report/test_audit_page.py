"""The page of an audit: every finding with its pictures, each embedded once, nothing fetched, nothing trusted."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parsed_page import Page
from PIL import Image

from eyebright.data.audit.findings import SECTIONS, Audit, Example, Finding, ImageRef, Suggestion
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.decode import decode_image
from eyebright.errors import DataError
from eyebright.evaluation import evaluate, make_predictions
from eyebright.report import ReportContent, write_report
from eyebright.report.audit_page import audit_section, render_audit, verdict, write_audit_page
from eyebright.report.gallery import Gallery

NASTY = "<script>alert('x')</script>&"


class Stripes:
    """The striped images as a source of thumbnails; remembers how often each was asked for."""

    def __init__(self, folder: Path) -> None:
        self.source = open_source(str(folder))
        self.manifest = Manifest.scan(self.source)
        rows = self.manifest.ok.to_pylist()
        self.refs = [ImageRef(row["id"], row["source"], row["label"], "train") for row in rows]
        self.where = {row["id"]: row["source"] for row in rows}
        self.asked: Counter[str] = Counter()

    def thumbnail(self, id_: str) -> Image.Image:
        self.asked[id_] += 1
        if id_ not in self.where:
            raise DataError(f"{id_} is gone")
        return decode_image(self.source.read(self.where[id_]))

    def audit(self, *findings: Finding, **changes: Any) -> Audit:
        return dataclasses.replace(Audit(manifest=self.manifest, findings=findings), **changes)

    def page(self, *findings: Finding, **changes: Any) -> Page:
        return Page(render_audit(self.audit(*findings, **changes), Gallery(self.thumbnail)))

    def everything(self) -> Audit:
        """A finding of each severity in each section, with the kinds of examples that the checks give."""
        found = []
        for number, section in enumerate(SECTIONS):
            first = self.refs[4 * number]
            pair = Example((first, dataclasses.replace(self.refs[-1 - number], split="test")), f"pair {section}")
            broken = Example((ImageRef("no such id", f"{section}/broken.png", note=f"cut off {section}"),))
            singles = [Example((dataclasses.replace(ref, note=f"odd {section}"),)) for ref in self.refs[:9]]
            found += [
                finding("critical", section, examples=[pair]),
                finding("warning", section, examples=singles),
                finding("note", section, examples=[broken], details={"counts": {"angle-0": 60, "angle-1": 60}}),
                finding("passed", section),
            ]
        suggestions = [
            Suggestion(action="drop", finding="x", ids=("a",), sources=("a",), accept=True),
            Suggestion(action="relabel", finding="x", ids=("a",), sources=("a",), to="angle-1"),
        ]
        return self.audit(
            *found, suggestions=suggestions, not_checked=["drift: no test split"], facts={"seconds": {"read": 0.5}}
        )


def finding(severity: Any, section: Any = "files", **changes: Any) -> Finding:
    words = {
        "title": f"3 {severity} things in {section}",
        "why": f"Why {severity} {section} matters.",
        "remedy": "" if severity == "passed" else f"What to do about {severity} {section}.",
    }
    whole: dict[str, Any] = {"code": f"{severity}-{section}", "count": 0 if severity == "passed" else 3} | words
    return Finding(severity=severity, section=section, **(whole | changes))


@pytest.fixture
def data(stripes: Path) -> Stripes:
    return Stripes(stripes)


def test_every_finding_is_told_with_its_severity_reason_and_remedy(data: Stripes) -> None:
    audit = data.everything()
    page = Page(render_audit(audit, Gallery(data.thumbnail)))
    for one in audit.findings:
        assert one.title in page.text
        assert one.why in page.text
        assert one.remedy in page.text
    for word, number in (("Critical", 12), ("Warning", 12), ("Note", 12)):  # in the list on top, and at its place
        assert page.text.count(f" {word} ") == number
    assert "Drift: no test split." in page.text
    titles = [*SECTIONS.values(), "How to go on"]
    places = [page.text.rindex(title) for title in titles[:-1]]
    assert places == sorted(places)
    assert sum(tag == "h2" for tag, _ in page.tags) == len(titles)


def test_links_lead_to_their_place(data: Stripes) -> None:
    audit = data.everything()
    twice = dataclasses.replace(audit, findings=[*audit.findings, *audit.findings])  # the same codes once more
    page = Page(render_audit(twice, Gallery(data.thumbnail)))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    links = [link for link in page.values("href") if link.startswith("#")]
    assert set(links) <= {f"#{name}" for name in ids}
    assert sum("finding-" in link for link in links) == sum(one.severity != "passed" for one in twice.findings)


def test_every_example_has_its_picture_or_a_placeholder(data: Stripes) -> None:
    page = Page(render_audit(data.everything(), Gallery(data.thumbnail)))
    shown = [attributes for tag, attributes in page.tags if tag == "img"] + page.having("picture")
    told = Counter((item.get("alt") or item.get("aria-label") or "").split(", ")[0] for item in shown)
    expected: Counter[str] = Counter()
    for one in data.everything().findings:
        expected.update(ref.source for example in one.examples for ref in example.images if ref.id in data.where)
    assert told == expected
    assert len(page.having("gone")) == len(SECTIONS)
    for section in SECTIONS:
        assert f"{section}/broken.png" in page.text
        assert f"cut off {section}" in page.text
        assert f"pair {section}" in page.text


def test_the_pictures_are_those_of_the_ids(data: Stripes) -> None:
    ref = data.refs[7]
    page = data.page(finding("note", examples=[Example((ref,))]))
    (uri,) = page.values("src")
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(data.thumbnail(str(ref.id))))


def test_a_picture_is_embedded_once_however_often_it_is_shown(data: Stripes) -> None:
    text = render_audit(data.everything(), Gallery(data.thumbnail))
    uris = re.findall(r'"(data:image/[^"]+)"', text)
    assert len(uris) == len(set(uris)) == len({id_ for id_ in data.asked if id_ in data.where})
    assert set(data.asked.values()) == {1}
    page = Page(text)
    symbols = {attributes["id"] for tag, attributes in page.tags if tag == "symbol"}
    uses = [str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "use"]
    assert set(uses) == symbols
    assert min(Counter(uses).values()) >= 2


def test_copies_stand_in_one_frame_and_what_differs_is_marked(data: Stripes) -> None:
    same = Example((data.refs[0], data.refs[1]))
    split = Example((data.refs[0], dataclasses.replace(data.refs[1], split="test")))
    label = Example((data.refs[0], data.refs[-1]))
    for example, differing in ((same, []), (split, ["split", "split"]), (label, ["label", "label"])):
        page = data.page(finding("critical", "duplicates", examples=[example]))
        assert len(page.having("frame")) == 1
        assert [
            "split" if "split" in (item["class"] or "") else "label" for item in page.having("differs")
        ] == differing


def test_of_a_large_group_some_are_shown_and_the_rest_is_counted(data: Stripes) -> None:
    page = data.page(finding("warning", "duplicates", examples=[Example(tuple(data.refs[:20]), "a burst")]))
    assert len(page.values("src")) == 8
    assert "a burst and 12 more images" in page.text


def test_many_examples_are_folded_and_the_rest_is_counted(data: Stripes) -> None:
    text = render_audit(
        data.audit(finding("warning", "labels", examples=[Example((ref,)) for ref in data.refs])),
        Gallery(data.thumbnail),
    )
    in_view, folded = text.split("<details>", 1)
    assert in_view.count("<img") == 24
    assert folded.count("<img") == 36
    page = Page(text)
    assert "36 more examples" in page.text
    assert f"{len(data.refs) - 60} further examples" in page.text


def test_the_page_stays_light_and_no_finding_goes_without_pictures(data: Stripes) -> None:
    random = np.random.default_rng(0)
    found = [
        finding("warning" if number else "critical", "labels", code=f"code-{number}", title=f"finding {number}",
                examples=[Example((ImageRef(f"{number}-{row}", f"{number}/{row}.jpg"),)) for row in range(70)])
        for number in range(14)
    ]  # fmt: skip

    def noise(id_: str) -> Image.Image:
        return Image.fromarray(random.integers(0, 256, (150, 150, 3), dtype=np.uint8))

    text = render_audit(data.audit(*found), Gallery(noise))
    assert len(text.encode()) < 6_000_000
    page = Page(text)
    shown = Counter(str(attributes["alt"]).split("/")[0] for tag, attributes in page.tags if tag == "img")
    assert min(shown.values()) >= 6
    assert len(shown) == len(found)
    left_out = [int(number) for number in re.findall(r"(\d+) further example", page.text)]
    assert sum(shown.values()) + sum(left_out) == 70 * len(found)


def test_nothing_is_fetched_and_nothing_runs(data: Stripes) -> None:
    text = render_audit(data.everything(), Gallery(data.thumbnail))
    page = Page(text)
    assert all(value.startswith(("#", "data:image/")) for value in page.values("src") + page.values("href"))
    assert not re.search(r"https?://|url\(|@import", text)
    assert not any(tag in ("script", "link", "iframe", "object") for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_names_and_paths_are_escaped(data: Stripes) -> None:
    ref = ImageRef(data.refs[0].id, NASTY, NASTY, NASTY, NASTY)
    gone = ImageRef(None, NASTY, NASTY, NASTY, NASTY)
    words = {"title": NASTY, "why": NASTY, "remedy": NASTY, "code": NASTY}
    details = {NASTY: NASTY, "counts": {NASTY: 3}, "rows": [{NASTY: NASTY}], "by": {NASTY: {NASTY: 1}}}
    manifest = Manifest(data.manifest.table, classes=[NASTY], spec=NASTY, kind="folder")
    page = data.page(
        finding("critical", **words, examples=[Example((ref, gone), NASTY)], details=details),
        finding("critical", **words, examples=[Example((ref,), NASTY)]),
        finding("critical", **words, examples=[Example((gone,), NASTY)]),
        finding("passed", **words),
        manifest=manifest,
        not_checked=[NASTY],
        facts={NASTY: NASTY},
    )
    assert not any(tag == "script" for tag, _ in page.tags)
    assert NASTY in page.text


def test_the_same_audit_gives_the_same_page(data: Stripes, tmp_path: Path) -> None:
    first = write_audit_page(tmp_path / "audit.html", data.everything(), thumbnails=data.thumbnail)
    again = write_audit_page(tmp_path / "again.html", data.everything(), thumbnails=data.thumbnail)
    assert first == tmp_path / "audit.html"
    assert first.read_bytes() == again.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} >= {"audit.html", "again.html"}


@pytest.mark.parametrize(
    ("severities", "not_checked", "expected"),
    [
        ("ccwwwpp", 0, (2, "things will make your test figures wrong; 3 are worth a look; 2 checks passed.")),
        ("cwnp", 1, (1, "thing will make your test figures wrong; 1 is worth a look; 1 is good to know; "
                        "1 check passed; 1 thing was not checked.")),
        ("wpp", 0, (1, "thing is worth a look; 2 checks passed.")),
        ("nn", 0, (2, "things are good to know.")),
        ("p" * 14, 2, (0, "faults found; 14 checks passed; 2 things were not checked.")),
        ("", 0, (None, "Nothing was looked for.")),
    ],
)  # fmt: skip
def test_the_verdict_names_the_gravest_first(
    data: Stripes, severities: str, not_checked: int, expected: tuple[int | None, str]
) -> None:
    names = {"c": "critical", "w": "warning", "n": "note", "p": "passed"}
    audit = data.audit(*[finding(names[letter]) for letter in severities], not_checked=["x"] * not_checked)
    assert verdict(audit) == expected
    page = Page(render_audit(audit, Gallery(data.thumbnail)))
    assert expected[1] in page.text
    assert len(page.having("number")) == (expected[0] is not None)


def test_the_way_on_is_a_command_that_can_be_pasted(data: Stripes) -> None:
    spec = "../my data/it's here"
    manifest = Manifest(data.manifest.table, classes=data.manifest.classes, spec=spec, kind="folder")
    audit = dataclasses.replace(data.everything(), manifest=manifest)
    text = Page(render_audit(audit, Gallery(data.thumbnail))).text
    for option in ("--fix plan.yaml", "--apply plan.yaml", "--review"):
        assert f"""eyebright audit '../my data/it'"'"'s here' {option}""" in text
    assert "2 changes: 1 image to leave out and 1 label to change" in text
    assert "1 of 2 is accepted" in text
    assert "it's here" in text.split("120 images")[0]
    nothing = Page(render_audit(dataclasses.replace(audit, suggestions=()), Gallery(data.thumbnail))).text
    assert "proposes no change" in nothing
    assert "plan.yaml" not in nothing


def test_a_section_without_any_check_is_left_out(data: Stripes) -> None:
    page = data.page(finding("passed", "labels"))
    assert "Labels" in page.text
    assert "Shortcuts" not in page.text


def test_the_short_form_stands_in_the_report_of_a_run(data: Stripes, tmp_path: Path) -> None:
    ids = [str(index) for index in range(20)]
    labels = ["a", "b"] * 10
    predictions = make_predictions(ids, ids, labels, ["test"] * 20, np.eye(2)[[0, 1] * 10] * 9, 1.0, ["a", "b"])
    content = ReportContent(
        run_name="run", data="x", classes=["a", "b"], predictions=predictions, test=evaluate(predictions),
        thumbnails=data.thumbnail,
    )  # fmt: skip
    audit = data.everything()
    section = audit_section(audit, Gallery(data.thumbnail))
    text = write_report(tmp_path, content, more_sections=[section]).read_text(encoding="utf-8")
    page = Page(text)
    assert "The data, looked at first" in page.text
    for one in audit.findings:
        assert one.title in page.text
        assert one.remedy in page.text
    assert "Drift: no test split." in page.text
    assert "--fix plan.yaml" in page.text
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href") if link.startswith("#")} <= set(ids)
    uris = re.findall(r'"(data:image/[^"]+)"', text)
    assert len(uris) == len(set(uris))
