"""A plan survives being written, edited and read; each mistake is named; what is applied is what was agreed to."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from eyebright.config import SplitShares
from eyebright.data.audit.applying import apply_plan
from eyebright.data.audit.findings import Audit, Finding, Suggestion
from eyebright.data.audit.plan import ACTIONS, Entry, Plan, PlanImage, plan_of
from eyebright.data.audit.plan_file import read_plan, write_plan
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item, open_source
from eyebright.data.split import assign_splits
from eyebright.data.superclasses import superclasses_of
from eyebright.errors import DataError

Rows = dict[str, dict[str, object]]


def rows(manifest: Manifest) -> Rows:
    return {row["source"]: row for row in manifest.table.to_pylist()}


def image(manifest: Manifest, source: str) -> PlanImage:
    return PlanImage(str(rows(manifest)[source]["id"]), source)


@pytest.fixture
def flowers(flowers_sample: Path, tmp_path: Path) -> Path:
    """Twelve photos of each of three flowers."""
    for name in ("daisy", "rose", "tulip"):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for photo in sorted((flowers_sample / name).iterdir())[:12]:
            shutil.copyfile(photo, tmp_path / "flowers" / name / photo.name)
    return tmp_path / "flowers"


def scan(root: Path) -> Manifest:
    return Manifest.scan(open_source(root))


def photos(root: Path, label: str) -> list[str]:
    return [f"{label}/{path.name}" for path in sorted((root / label).iterdir())]


def plan(*entries: Entry, classes: tuple[str, ...] = ()) -> Plan:
    accepted = tuple(dataclasses.replace(entry, accept=True) for entry in entries)
    return Plan(entries=accepted, classes=classes)


def suggest(manifest: Manifest, action: str, *sources: str, **more: object) -> Suggestion:
    table = rows(manifest)
    return Suggestion(
        action=action,  # type: ignore[arg-type]
        finding=str(more.pop("finding", f"{action}-finding")),
        ids=tuple(str(table[source]["id"]) for source in sources),
        sources=sources,
        **more,  # type: ignore[arg-type]
    )


def an_audit(manifest: Manifest, *suggestions: Suggestion, **severities: str) -> Audit:
    findings = [
        Finding(code=code.replace("_", "-"), section="labels", severity=severity, title="", count=1, why="")  # type: ignore[arg-type]
        for code, severity in severities.items()
    ]
    return Audit(manifest=manifest, findings=findings, suggestions=suggestions)


# ---- the file


def test_a_plan_lists_the_gravest_finding_first_and_says_that_nothing_is_deleted(flowers: Path, tmp_path: Path) -> None:
    manifest = scan(flowers)
    first, second, third = photos(flowers, "rose")[:3]
    audit = an_audit(
        manifest,
        suggest(manifest, "relabel", first, label="rose", to="tulip", finding="mild"),
        suggest(manifest, "relabel", third, label="rose", to="tulip", finding="grave", confidence=0.975, reason="r"),
        suggest(manifest, "relabel", second, label="rose", to="daisy", finding="grave", accept=True),
        suggest(manifest, "group", first, second, accept=True),
        mild="note",
        grave="critical",
    )
    path = tmp_path / "plan.yaml"
    write_plan(path, audit)
    text = path.read_text(encoding="utf-8")
    assert "nothing on disk is ever moved, renamed or deleted" in text
    assert "--apply plan.yaml" in text
    content = yaml.safe_load(text)
    assert [entry["image"]["source"] for entry in content["relabel"]] == [second, third, first]
    assert content["relabel"][1] == {
        "accept": False,
        "image": {"source": third, "id": image(manifest, third).id},
        "label": "rose",
        "to": "tulip",
        "reason": "r",
        "finding": "grave",
        "confidence": 0.975,
    }
    assert [entry["source"] for entry in content["group"][0]["images"]] == [first, second]
    assert (content["fingerprint"], content["data"]) == (manifest.fingerprint(), str(flowers))
    assert content["drop"] == content["merge"] == content["quarantine"] == []
    back = read_plan(path)
    made = plan_of(audit)
    assert [dataclasses.replace(entry, line=0) for entry in back.entries] == list(made.entries)
    assert text.splitlines()[back.entries[0].line - 1].strip() == "- accept: yes"


def test_of_several_places_with_the_same_bytes_one_stays_that_is_not_dropped_itself(flowers: Path) -> None:
    manifest = scan(flowers)
    first, second, third = photos(flowers, "rose")[:3]
    rows_now = rows(manifest)
    same = str(rows_now[third]["id"])
    ids = [same if source in (first, second, third) else row["id"] for source, row in rows_now.items()]
    repeated = manifest.replace(id=ids)
    drops = [suggest(repeated, "drop", source, to=same, accept=True) for source in (first, second)]
    made = plan_of(an_audit(repeated, *drops))
    assert [entry.stays for entry in made.entries] == [PlanImage(same, third)] * 2
    unknown = plan_of(an_audit(manifest, suggest(manifest, "drop", first, to="0" * 32)))
    assert unknown.entries[0].stays == PlanImage("0" * 32, "")


texts = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12) | st.sampled_from(
    ["no", "7", "null", "~", "1e3", "a: b", "a #b", "- a", "{a}", "[a, b]", "'", '"', "été ", "\x85", "<<", "0o7", "="]
)
images = st.builds(PlanImage, st.text("0123456789abcdef", min_size=32, max_size=32) | st.just("1" * 32), texts)
entries = st.sampled_from(ACTIONS).flatmap(
    lambda action: st.builds(
        Entry,
        action=st.just(action),
        accept=st.booleans(),
        images=st.just(())
        if action == "merge"
        else st.lists(images, min_size=2 if action == "group" else 1, max_size=3).map(tuple),
        label=texts.map("x".__add__) if action == "merge" else st.none() | texts.map("x".__add__),
        to=texts.map("y".__add__) | st.sampled_from(["no", "7", "null"])
        if action in ("relabel", "merge")
        else st.none(),
        new=st.just(action == "relabel"),
        stays=st.none() | images if action == "drop" else st.none(),
        superclass=st.none() | texts if action == "relabel" else st.none(),
        reason=st.just("") | texts,
        confidence=st.integers(0, 1000).map(lambda share: share / 1000),
        finding=st.just("") | texts,
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(listed=st.lists(entries, max_size=5), data=texts)
def test_whatever_names_and_reasons_hold_is_read_back(tmp_path: Path, listed: list[Entry], data: str) -> None:
    ordered = sorted(listed, key=lambda entry: ACTIONS.index(entry.action))
    made = Plan(entries=tuple(ordered), data=data, fingerprint="f" * 32)
    write_plan(tmp_path / "plan.yaml", made)
    back = read_plan(tmp_path / "plan.yaml")
    assert [dataclasses.replace(entry, line=0) for entry in back.entries] == ordered
    assert back.data == data


@pytest.mark.parametrize("count", [0, 1, 300])
def test_many_classes_fit_on_the_page_and_are_read_back(tmp_path: Path, count: int) -> None:
    classes = tuple(f"class, {number} [x]" for number in range(count))
    write_plan(tmp_path / "plan.yaml", Plan(entries=(), classes=classes))
    assert read_plan(tmp_path / "plan.yaml").classes == classes
    assert max(map(len, (tmp_path / "plan.yaml").read_text().splitlines())) <= 120


def written(tmp_path: Path, **lists: str) -> Path:
    """A plan whose lists are given as text; line 3 is where the first one starts."""
    path = tmp_path / "plan.yaml"
    head = "version: 1\nclasses: [daisy, rose, tulip]\n"
    path.write_text(head + "".join(f"{name}:\n{text}" for name, text in lists.items()), encoding="utf-8")
    return path


ID = "0123456789abcdef0123456789abcdef"
IMAGE = f"image: {{source: a.jpg, id: {ID}}}"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("drop", f"  - accpet: yes\n    {IMAGE}\n", "line 4: unknown key 'accpet' of `drop` (did you mean 'accept'?)"),
        ("drop", f"  - accept: maybe\n    {IMAGE}\n", "line 4: 'maybe' is neither yes nor no"),
        ("drop", f"  - accept: yess\n    {IMAGE}\n", "did you mean 'yes'?"),
        ("drop", f"  - {IMAGE}\n", "line 4: the entry has no `accept: yes` or `accept: no`"),
        ("drop", "  - accept: yes\n", "line 4: the entry names no image"),
        ("drop", "  - accept: yes\n    image: {source: a.jpg}\n", "line 5: the image a.jpg has no id"),
        ("drop", "  - accept: yes\n    image: {source: a.jpg, id: 12}\n", "line 5: '12' is no id"),
        ("drop", f"  - accept: yes\n    image: {{id: {ID}}}\n", "has no source"),
        ("drop", "  - accept: yes\n    image: a.jpg\n", "line 5: an image is written {source: PATH, id: ID}"),
        ("drop", f"  - accept: yes\n    {IMAGE}\n    accept: no\n", "line 6: the key 'accept' of `drop` occurs twice"),
        ("drop", f"  - accept: yes\n    {IMAGE}\n    to: rose\n", "'to' of `drop` (it belongs to `relabel`)"),
        ("drop", f"  - accept: yes\n    {IMAGE}\n    confidence: high\n", "line 6: the confidence 'high' is no number"),
        ("drop", "  accept: yes\n", "line 4: `drop` is no list"),
        ("drop", "  - yes\n", "line 4: an entry of `drop` has no keys"),
        ("drops", f"  - accept: yes\n    {IMAGE}\n", "line 3: unknown key 'drops' of the plan (did you mean 'drop'?)"),
        ("delete", f"  - accept: yes\n    {IMAGE}\n", "line 3: unknown key 'delete' of the plan"),
        ("relabel", f"  - accept: yes\n    {IMAGE}\n", "`to` is missing"),
        ("relabel", f"  - accept: yes\n    {IMAGE}\n    label: rose\n    to: tulpi\n", "did you mean 'tulip'?"),
        ("relabel", f"  - accept: yes\n    {IMAGE}\n    to: peony\n", "no class 'peony'; `new: yes` makes a new class"),
        (
            "relabel",
            f"  - accept: no\n    {IMAGE}\n    label: rose\n    to: rose\n",
            "line 7: `to` is 'rose', which is",
        ),
        ("relabel", f"  - accept: yes\n    {IMAGE}\n    to: rose\n    superclass: x\n", "for a new class only"),
        ("merge", "  - accept: yes\n    to: rose\n", "`label` is missing"),
        ("merge", "  - accept: yes\n    label: Rose\n    to: rose\n", "no class 'Rose' (did you mean 'rose'?)"),
        ("group", f"  - accept: yes\n    images: [{{source: a.jpg, id: {ID}}}]\n", "a group of 1 image"),
    ],
)
def test_each_wrong_edit_is_named_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_plan(written(tmp_path, **{name: text}))
    assert said in str(caught.value)
    assert "nothing has been applied" in str(caught.value)


def test_all_mistakes_are_listed_at_once(tmp_path: Path) -> None:
    wrong = f"  - accept: perhaps\n    {IMAGE}\n    to: lily\n" * 12
    with pytest.raises(DataError, match=r"24 mistakes(.|\n)*line 4(.|\n)*and 14 more"):
        read_plan(written(tmp_path, relabel=wrong))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("drop: [\n", "not valid YAML"),
        ("drop: []\n", "does not say which version"),
        ("version: 99\n", "version 99"),
        ("- a\n", "no plan"),
        ("", "no plan"),
        ("a\0b", "not valid YAML"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "plan.yaml").write_text(content)
    with pytest.raises(DataError, match=said):
        read_plan(tmp_path / "plan.yaml")


def test_a_plan_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no plan"):
        read_plan(tmp_path / "plan.yaml")
    (tmp_path / "plan.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_plan(tmp_path / "plan.yaml")


def test_lists_may_be_removed_or_emptied_and_yes_may_be_written_in_other_ways(tmp_path: Path) -> None:
    text = f"  - accept: TRUE\n    {IMAGE}\n  - accept: off\n    {IMAGE}\n"
    found = read_plan(written(tmp_path, merge="", drop=text))
    assert [entry.accept for entry in found.entries] == [True, False]


# ---- what follows from it


def test_dropped_and_quarantined_images_stay_in_the_table_with_the_reason(flowers: Path) -> None:
    manifest = scan(flowers)
    first, second = photos(flowers, "rose")[:2]
    cleaned = apply_plan(
        manifest,
        plan(
            Entry(action="drop", images=(image(manifest, first),), reason="a copy of another"),
            Entry(action="quarantine", images=(image(manifest, second),), reason="too dark"),
        ),
    )
    assert cleaned.ok.num_rows == manifest.ok.num_rows - 2
    after = rows(cleaned)
    assert (after[first]["status"], after[first]["reason"]) == ("dropped", "by the plan: a copy of another")
    assert (after[second]["status"], after[second]["reason"]) == ("quarantined", "by the plan: too dark")
    assert manifest.ok.num_rows == 36, "the manifest that was given is as it was"


def test_entries_that_were_not_accepted_change_nothing(flowers: Path) -> None:
    manifest = scan(flowers)
    untouched = Entry(action="drop", images=(PlanImage(ID, "not/there.jpg"),), accept=False)
    cleaned = apply_plan(manifest, Plan(entries=(untouched,)))
    assert cleaned.table.equals(manifest.table)
    assert cleaned.classes == manifest.classes


def test_a_relabelled_image_moves_to_the_other_class_wherever_the_file_lies_now(flowers: Path) -> None:
    manifest = scan(flowers)
    source = photos(flowers, "rose")[0]
    named = image(manifest, source)
    shutil.move(flowers / source, flowers / "rose" / "renamed.jpg")
    moved = scan(flowers)
    cleaned = apply_plan(moved, plan(Entry(action="relabel", images=(named,), label="rose", to="tulip")))
    assert rows(cleaned)["rose/renamed.jpg"]["label"] == "tulip"
    assert cleaned.counts()["all"] == {"daisy": 12, "rose": 11, "tulip": 13}


def test_a_merge_keeps_the_order_of_the_classes_and_a_rename_keeps_the_place(flowers: Path) -> None:
    manifest = scan(flowers)
    merged = apply_plan(manifest, plan(Entry(action="merge", label="daisy", to="tulip")))
    assert merged.classes == ("rose", "tulip")
    assert merged.counts()["all"] == {"rose": 12, "tulip": 24}
    renamed = apply_plan(manifest, plan(Entry(action="merge", label="daisy", to="margherita", new=True)))
    assert renamed.classes == ("margherita", "rose", "tulip")


def test_a_new_class_comes_last_and_a_class_without_images_goes(flowers: Path) -> None:
    manifest = scan(flowers)
    moved = tuple(image(manifest, source) for source in photos(flowers, "daisy"))
    cleaned = apply_plan(manifest, plan(Entry(action="relabel", images=moved, label="daisy", to="aster", new=True)))
    assert cleaned.classes == ("rose", "tulip", "aster")


def test_a_new_class_that_is_a_known_one_in_other_letters_is_refused(flowers: Path) -> None:
    manifest = scan(flowers)
    moved = (image(manifest, photos(flowers, "daisy")[0]),)
    with pytest.raises(DataError, match="differ only by case"):
        apply_plan(manifest, plan(Entry(action="relabel", images=moved, label="daisy", to="Rose", new=True)))


def test_grouped_images_are_never_divided_and_take_the_groups_of_the_user_along(
    memory_source: Callable[..., object],
) -> None:
    items = [
        Item(source=f"{number}.png", label="ab"[number % 2], group={0: "g2", 1: "g1", 7: "g2"}.get(number))
        for number in range(60)
    ]
    manifest = Manifest.scan(memory_source(items=items))  # type: ignore[arg-type]

    def group(*numbers: int) -> Entry:
        return Entry(action="group", images=tuple(image(manifest, f"{number}.png") for number in numbers))

    grouped = apply_plan(manifest, plan(group(0, 1), group(2, 3), group(3, 4)))
    after = rows(grouped)
    assert {after[f"{number}.png"]["group"] for number in (0, 1, 7)} == {"g1"}
    assert {after[f"{number}.png"]["group"] for number in (2, 3, 4)} == {
        min(str(after[f"{number}.png"]["id"]) for number in (2, 3, 4))
    }
    assert after["5.png"]["group"] is None
    for seed in range(8):
        divided = rows(assign_splits(grouped, SplitShares(), seed)[0])
        assert len({divided[f"{number}.png"]["split"] for number in (0, 1, 7)}) == 1
        assert len({divided[f"{number}.png"]["split"] for number in (2, 3, 4)}) == 1


def test_the_same_bytes_under_two_labels_are_used_again_once_one_is_dropped_or_relabelled(flowers: Path) -> None:
    source = photos(flowers, "rose")[0]
    shutil.copyfile(flowers / source, flowers / "tulip" / "copy.jpg")
    manifest = scan(flowers)
    assert rows(manifest)[source]["status"] == "conflicting-labels"
    one, other = image(manifest, source), image(manifest, "tulip/copy.jpg")
    assert one.id == other.id
    dropped = rows(apply_plan(manifest, plan(Entry(action="drop", images=(other,), label="tulip", stays=one))))
    assert (dropped[source]["status"], dropped[source]["reason"]) == ("ok", "")
    assert dropped["tulip/copy.jpg"]["status"] == "dropped"
    agreed = rows(apply_plan(manifest, plan(Entry(action="relabel", images=(other,), label="tulip", to="rose"))))
    assert {str(agreed[name]["status"]) for name in (source, "tulip/copy.jpg")} == {"ok", "duplicate"}
    merged = rows(apply_plan(manifest, plan(Entry(action="merge", label="tulip", to="rose"))))
    assert {str(merged[name]["status"]) for name in (source, "tulip/copy.jpg")} == {"ok", "duplicate"}


def test_a_repeat_of_a_dropped_image_does_not_take_its_place(flowers: Path) -> None:
    source = photos(flowers, "rose")[0]
    shutil.copyfile(flowers / source, flowers / "rose" / "zz-copy.jpg")
    manifest = scan(flowers)
    assert rows(manifest)["rose/zz-copy.jpg"]["status"] == "duplicate"
    both_gone = rows(apply_plan(manifest, plan(Entry(action="drop", images=(image(manifest, source),)))))
    assert {both_gone[name]["status"] for name in (source, "rose/zz-copy.jpg")} == {"dropped"}
    both_moved = apply_plan(manifest, plan(Entry(action="relabel", images=(image(manifest, source),), to="tulip")))
    assert {rows(both_moved)[name]["label"] for name in (source, "rose/zz-copy.jpg")} == {"tulip"}
    copy_gone = apply_plan(manifest, plan(Entry(action="drop", images=(image(manifest, "rose/zz-copy.jpg"),))))
    assert rows(copy_gone)[source]["status"] == "ok"


def test_a_class_has_one_superclass_after_every_change(memory_source: Callable[..., object]) -> None:
    above = {"dog": "animal", "cat": "animal", "bus": "vehicle"}
    items = [
        Item(source=f"{label}{number}.png", label=label, superclass=above[label])
        for label in above
        for number in range(4)
    ]
    manifest = Manifest.scan(memory_source(items=items))  # type: ignore[arg-type]
    one = (image(manifest, "dog0.png"),)
    relabelled = apply_plan(manifest, plan(Entry(action="relabel", images=one, label="dog", to="bus")))
    assert rows(relabelled)["dog0.png"]["superclass"] == "vehicle"
    merged = apply_plan(manifest, plan(Entry(action="merge", label="bus", to="cat")))
    assert superclasses_of(merged) == {"cat": "animal", "dog": "animal"}
    renamed = apply_plan(manifest, plan(Entry(action="merge", label="bus", to="coach", new=True)))
    assert superclasses_of(renamed)["coach"] == "vehicle"
    with pytest.raises(DataError, match="new class 'fox' needs a `superclass:`"):
        apply_plan(manifest, plan(Entry(action="relabel", images=one, to="fox", new=True)))
    fox = Entry(action="relabel", images=one, to="fox", new=True, superclass="animal")
    assert superclasses_of(apply_plan(manifest, plan(fox)))["fox"] == "animal"
    with pytest.raises(DataError, match="superclass 'animal' or 'vehicle'"):
        apply_plan(
            manifest,
            plan(
                Entry(action="merge", label="bus", to="thing", new=True),
                Entry(action="merge", label="cat", to="thing", new=True),
            ),
        )


def conflicting(manifest: Manifest, flowers: Path) -> dict[str, tuple[list[Entry], str]]:
    first, second = (image(manifest, source) for source in photos(flowers, "rose")[:2])

    def entry(action: str, line: int, *images: PlanImage, **more: object) -> Entry:
        return Entry(action=action, line=line, images=images, **more)  # type: ignore[arg-type]

    return {
        "drop and relabel": (
            [entry("drop", 5, first), entry("relabel", 9, first, to="tulip")],
            f"line 5 drops {first.source} and line 9 gives the label 'tulip' to it",
        ),
        "quarantine and relabel": (
            [entry("relabel", 5, first, to="tulip"), entry("quarantine", 9, first)],
            f"line 5 gives the label 'tulip' to {first.source} and line 9 quarantines it",
        ),
        "two labels": (
            [entry("relabel", 5, first, to="daisy"), entry("relabel", 9, first, to="tulip")],
            f"line 5 gives the label 'daisy' to {first.source} and line 9 gives the label 'tulip' to it",
        ),
        "a label that a merge removes": (
            [entry("relabel", 5, first, to="tulip"), entry("merge", 9, label="tulip", to="daisy")],
            "line 5 gives the label 'tulip', and line 9 merges that class into 'daisy'",
        ),
        "two merges of a class": (
            [entry("merge", 5, label="tulip", to="daisy"), entry("merge", 9, label="tulip", to="rose")],
            "line 5 merges 'tulip' into 'daisy' and line 9 into 'rose'",
        ),
        "a chain of merges": (
            [entry("merge", 5, label="tulip", to="daisy"), entry("merge", 9, label="daisy", to="rose")],
            "line 5 merges 'tulip' into 'daisy', which line 9 merges into 'rose'",
        ),
        "each copy dropped for the other": (
            [entry("drop", 5, first, stays=second), entry("drop", 9, second, stays=first)],
            "and line 9 drops that one: no copy would be left",
        ),
        "a class that is none": (
            [entry("relabel", 5, first, to="tulpi")],
            "line 5: there is no class 'tulpi' (did you mean 'tulip'?)",
        ),
        "a merged class that is none": (
            [entry("merge", 5, label="tulpi", to="dasiy", new=True)],
            "line 5 merges 'tulpi', which is no class (did you mean 'tulip'?)",
        ),
        "a label that was changed since": (
            [entry("relabel", 5, first, label="daisy", to="tulip")],
            f"line 5: {first.source} is labelled 'rose', and was 'daisy' when the plan was made",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", [
    "drop and relabel", "quarantine and relabel", "two labels", "a label that a merge removes", "two merges of a class",
    "a chain of merges", "each copy dropped for the other", "a class that is none", "a merged class that is none",
    "a label that was changed since",
])  # fmt: skip
def test_entries_that_contradict_each_other_or_the_data_are_refused_by_their_lines(flowers: Path, case: str) -> None:
    manifest = scan(flowers)
    listed, said = conflicting(manifest, flowers)[case]
    with pytest.raises(DataError) as caught:
        apply_plan(manifest, plan(*listed))
    assert said in str(caught.value)


def test_an_image_that_two_findings_would_leave_out_is_no_conflict(flowers: Path) -> None:
    manifest = scan(flowers)
    first = image(manifest, photos(flowers, "rose")[0])
    for action in ("drop", "quarantine"):
        twice = plan(
            Entry(action="drop", images=(first,), reason="blurred"), Entry(action=action, images=(first,), reason="b")
        )
        once = apply_plan(manifest, twice)
        assert (rows(once)[first.source]["status"], rows(once)[first.source]["reason"]) == (
            "dropped",
            "by the plan: blurred",
        )
        assert apply_plan(once, twice).table.equals(once.table)


def test_images_that_are_gone_or_changed_are_listed_and_nothing_is_applied(flowers: Path) -> None:
    manifest = scan(flowers)
    gone, changed = photos(flowers, "rose")[:2]
    listed = plan(*(Entry(action="drop", images=(image(manifest, source),)) for source in (gone, changed)))
    (flowers / gone).unlink()
    shutil.copyfile(flowers / photos(flowers, "tulip")[0], flowers / changed)
    with pytest.raises(DataError, match="2 images of the plan are not in") as caught:
        apply_plan(scan(flowers), listed)
    assert gone in str(caught.value)
    assert changed in str(caught.value)


def test_of_two_copies_the_one_that_was_meant_is_found_or_none(flowers: Path) -> None:
    source = photos(flowers, "rose")[0]
    shutil.copyfile(flowers / source, flowers / "tulip" / "copy.jpg")
    manifest = scan(flowers)
    one, other = image(manifest, source), image(manifest, "tulip/copy.jpg")
    listed = plan(Entry(action="drop", images=(other,), label="tulip", stays=one))
    shutil.move(flowers / "tulip/copy.jpg", flowers / "tulip" / "moved.jpg")
    with pytest.raises(DataError, match="the same bytes are now at"):
        apply_plan(scan(flowers), listed)
    (flowers / "tulip/moved.jpg").unlink()
    with pytest.raises(DataError, match="no other copy"):
        apply_plan(scan(flowers), plan(Entry(action="drop", images=(other,), stays=one)))


def test_the_whole_way_from_an_audit_to_a_manifest_and_twice_the_same(flowers: Path, tmp_path: Path) -> None:
    source = photos(flowers, "rose")[0]
    shutil.copyfile(flowers / source, flowers / "rose" / "zz-copy.png")
    manifest = scan(flowers)
    wrong, dark, kept = photos(flowers, "tulip")[:3]
    audit = an_audit(
        manifest,
        suggest(manifest, "relabel", wrong, label="tulip", to="rose", accept=True),
        suggest(manifest, "drop", dark, label="tulip", to=image(manifest, kept).id, accept=True, reason="copy"),
        suggest(manifest, "merge", label="daisy", to="tulip", accept=True),
    )
    write_plan(tmp_path / "plan.yaml", audit)
    found = read_plan(tmp_path / "plan.yaml")
    assert next(e for e in found.entries if e.action == "drop").stays == image(manifest, kept)
    once = apply_plan(manifest, found)
    twice = apply_plan(once, found)
    assert once.table.equals(twice.table)
    assert once.classes == twice.classes == ("rose", "tulip")
    assert once.counts()["all"] == {"rose": 13, "tulip": 22}


item_rows = st.lists(
    st.tuples(
        st.integers(0, 4),  # which picture
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from([None, "train", "test"]),
        st.sampled_from([None, None, "g1", "g2"]),
    ),
    min_size=3,
    max_size=9,
)
changes = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 8), st.integers(0, 8), st.sampled_from(["a", "b", "c", "d"])),
    min_size=1,
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(listed=item_rows, wanted=changes)
def test_what_a_plan_gives_is_what_a_scan_of_the_changed_data_gives_and_twice_is_once(
    memory_source: Callable[..., object], encode: Callable[[int], bytes], listed: list[tuple], wanted: list[tuple]
) -> None:
    contents = {f"{number}.png": encode(row[0]) for number, row in enumerate(listed)}
    items = [
        Item(source=f"{number}.png", label=label, split=split, group=group)
        for number, (_, label, split, group) in enumerate(listed)
    ]
    manifest = Manifest.scan(memory_source(items=items, contents=contents))  # type: ignore[arg-type]
    made = []
    for action, one, other, label in wanted:
        names = [f"{number % len(items)}.png" for number in (one, other)]
        picked = tuple(image(manifest, name) for name in names)
        if action == "merge":
            made.append(Entry(action="merge", label="abcd"[one % 4], to=label, new=label == "d"))
        elif action == "group":
            made.append(Entry(action="group", images=picked))
        elif action == "relabel":
            made.append(Entry(action="relabel", images=picked[:1], to=label, new=label == "d"))
        else:
            made.append(Entry(action=action, images=picked[:1]))
    try:
        once = apply_plan(manifest, plan(*made))
    except DataError:
        event("refused")
        return
    event("applied")
    twice = apply_plan(once, plan(*made))
    assert once.table.equals(twice.table)
    assert once.classes == twice.classes
    left = [row for row in once.table.to_pylist() if row["status"] not in ("dropped", "quarantined")]
    changed = [Item(**{key: row[key] for key in ("source", "label", "split", "group")}) for row in left]
    again = Manifest.scan(memory_source(items=changed, contents=contents))  # type: ignore[arg-type]
    assert again.table.select(["source", "label", "status", "reason"]).to_pylist() == [
        {key: row[key] for key in ("source", "label", "status", "reason")} for row in left
    ]
    assert set(again.classes) == set(once.classes)
