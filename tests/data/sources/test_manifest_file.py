"""A manifest is a source: it gives the images of its data as the manifest says, and only those images."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eyebright.config import SplitShares
from eyebright.data import manifest as manifest_module
from eyebright.data.audit.applying import apply_plan
from eyebright.data.audit.plan import Entry, Plan, PlanImage
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.manifest_file import LATEST_VERSION, METADATA_KEY, ManifestSource
from eyebright.data.split import assign_splits
from eyebright.errors import DataError


@pytest.fixture
def flowers(flowers_sample: Path, tmp_path: Path) -> Path:
    for name in ("daisy", "rose", "tulip"):
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for photo in sorted((flowers_sample / name).iterdir())[:10]:
            shutil.copyfile(photo, tmp_path / "flowers" / name / photo.name)
    return tmp_path / "flowers"


def cleaned(manifest: Manifest, path: Path) -> tuple[Manifest, list[str]]:
    """A manifest in which the first three roses are dropped, quarantined and called tulips; and their places."""
    sources = [row["source"] for row in manifest.table.to_pylist() if row["label"] == "rose"][:3]
    ids = {row["source"]: row["id"] for row in manifest.table.to_pylist()}
    first, second, third = ((PlanImage(ids[source], source),) for source in sources)
    made = apply_plan(
        manifest,
        Plan(
            entries=(
                Entry(action="drop", accept=True, images=first, reason="a copy"),
                Entry(action="quarantine", accept=True, images=second, reason="dark"),
                Entry(action="relabel", accept=True, images=third, to="tulip"),
            )
        ),
    )
    made.write(path)
    return made, sources


def test_a_cleaned_manifest_scans_to_itself(flowers: Path, tmp_path: Path) -> None:
    made, sources = cleaned(Manifest.scan(open_source(flowers)), tmp_path / "cleaned.parquet")
    source = open_source(tmp_path / "cleaned.parquet")
    assert source.kind == "manifest"
    again = Manifest.scan(source)
    assert again.fingerprint() == made.fingerprint()
    assert again.classes == made.classes == ("daisy", "rose", "tulip")
    assert again.counts()["all"] == {"daisy": 10, "rose": 7, "tulip": 11}
    rows = {row["source"]: row for row in again.ledger()}
    assert rows == {
        sources[0]: {"source": sources[0], "status": "dropped", "reason": "by the plan: a copy"},
        sources[1]: {"source": sources[1], "status": "quarantined", "reason": "by the plan: dark"},
    }
    assert source.read(sources[2]) == (flowers / sources[2]).read_bytes()


def test_a_plan_that_was_applied_can_be_applied_to_the_outcome(flowers: Path, tmp_path: Path) -> None:
    manifest = Manifest.scan(open_source(flowers))
    made, sources = cleaned(manifest, tmp_path / "cleaned.parquet")
    ids = {row["source"]: row["id"] for row in manifest.table.to_pylist()}
    again = Manifest.scan(open_source(tmp_path / "cleaned.parquet"))
    same = Plan(
        entries=(
            Entry(action="drop", accept=True, images=(PlanImage(ids[sources[0]], sources[0]),), reason="a copy"),
            Entry(action="relabel", accept=True, images=(PlanImage(ids[sources[2]], sources[2]),), to="tulip"),
        )
    )
    assert apply_plan(again, same).fingerprint() == made.fingerprint()
    back = Entry(action="relabel", accept=True, images=(PlanImage(ids[sources[0]], sources[0]),), to="daisy")
    with pytest.raises(DataError, match="which an earlier plan left out"):
        apply_plan(again, Plan(entries=(back,)))


def test_the_division_of_a_run_is_respected(flowers: Path, tmp_path: Path) -> None:
    divided, _ = assign_splits(Manifest.scan(open_source(flowers)), SplitShares(), seed=3)
    divided.write(tmp_path / "manifest.parquet")
    again = Manifest.scan(open_source(tmp_path / "manifest.parquet"))
    assert again.fingerprint() == divided.fingerprint()
    assert assign_splits(again, SplitShares(), seed=4)[0].fingerprint() == divided.fingerprint()


def test_groups_weights_superclasses_and_further_columns_come_along(flowers: Path, tmp_path: Path) -> None:
    lines = ["image_path,label,split,group,weight,camera,status"]
    lines += [f"{p.relative_to(tmp_path)},{p.parent.name},train,g,0.5,X100,old" for p in sorted(flowers.rglob("*.jpg"))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    first = Manifest.scan(open_source(tmp_path / "table.csv"))
    first = first.replace(superclass=["flower"] * first.table.num_rows)
    first.write(tmp_path / "one.parquet")
    again = Manifest.scan(open_source(tmp_path / "one.parquet"))
    assert again.table.equals(first.table)
    again.write(tmp_path / "two.parquet")
    nested = open_source(tmp_path / "two.parquet")
    assert Manifest.scan(nested).table.equals(first.table), "also a manifest of a manifest"
    assert isinstance(nested, ManifestSource)
    assert nested.origin.spec == str(tmp_path / "table.csv")


def test_new_images_of_the_data_are_not_part_of_the_manifest(flowers: Path, tmp_path: Path) -> None:
    Manifest.scan(open_source(flowers)).write(tmp_path / "all.parquet")
    shutil.copyfile(next((flowers / "rose").iterdir()), flowers / "daisy" / "new.jpg")
    assert Manifest.scan(open_source(tmp_path / "all.parquet")).table.num_rows == 30


def test_an_image_that_changed_or_went_is_listed_and_not_used_under_the_old_label(
    flowers: Path, tmp_path: Path
) -> None:
    Manifest.scan(open_source(flowers)).write(tmp_path / "all.parquet")
    one, other = sorted((flowers / "rose").iterdir())[:2]
    one.write_bytes(next((flowers / "tulip").iterdir()).read_bytes())
    other.unlink()
    rows = {row["source"]: row for row in Manifest.scan(open_source(tmp_path / "all.parquet")).ledger()}
    assert rows[f"rose/{one.name}"]["reason"] == "its content has changed since the manifest was made"
    assert rows[f"rose/{one.name}"]["status"] == "unreadable"
    assert rows[f"rose/{other.name}"]["status"] == "missing"
    assert len(rows) == 2


def test_a_relative_place_is_looked_for_here_and_then_beside_the_manifest(
    flowers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Manifest.scan(open_source("flowers")).write(tmp_path / "all.parquet")
    assert Manifest.scan(open_source("all.parquet")).ok.num_rows == 30
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Manifest.scan(open_source("../all.parquet")).ok.num_rows == 30
    shutil.move(flowers, tmp_path / "moved")
    with pytest.raises(DataError, match=r"images of the manifest .*all\.parquet cannot be opened: there is nothing"):
        open_source(tmp_path / "all.parquet")


def test_named_data_can_be_corrected_too(tmp_path: Path) -> None:
    manifest = Manifest.scan(open_source("digits"))
    first = manifest.table.to_pylist()[0]
    one = (PlanImage(first["id"], first["source"]),)
    made = apply_plan(manifest, Plan(entries=(Entry(action="relabel", accept=True, images=one, to="3"),)))
    made.write(tmp_path / "digits.parquet")
    assert Manifest.scan(open_source(tmp_path / "digits.parquet")).fingerprint() == made.fingerprint()


def rewritten(path: Path, **facts: object) -> Path:
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    metadata[METADATA_KEY] = json.dumps(json.loads(metadata[METADATA_KEY]) | facts).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_a_manifest_that_names_itself_is_refused(flowers: Path, tmp_path: Path) -> None:
    manifest = Manifest.scan(open_source(flowers))
    for name, spec in (("a", "a"), ("b", "c"), ("c", "b")):
        manifest.write(tmp_path / f"{name}.parquet")
        rewritten(tmp_path / f"{name}.parquet", spec=str(tmp_path / f"{spec}.parquet"))
    for name in "abc":
        with pytest.raises(DataError, match="names itself"):
            open_source(tmp_path / f"{name}.parquet")


def test_a_later_version_and_broken_metadata_are_refused(flowers: Path, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    Manifest.scan(open_source(flowers)).write(path)
    with pytest.raises(DataError, match="version 99"):
        open_source(rewritten(path, version=99))
    with pytest.raises(DataError, match="cannot be read"):
        open_source(rewritten(path, version=1, classes=None))
    table = pq.read_table(path)
    ids = ["12"] * table.num_rows
    broken = table.set_column(0, "id", [ids])
    pq.write_table(broken, path)
    with pytest.raises(DataError, match="ids that are none"):
        open_source(rewritten(path, classes=["rose"]))


def test_the_manifest_and_its_source_agree_on_the_format() -> None:
    assert LATEST_VERSION == manifest_module.MANIFEST_VERSION


def test_worker_processes_can_read_it(flowers: Path, tmp_path: Path) -> None:
    Manifest.scan(open_source(flowers)).write(tmp_path / "all.parquet")
    source = open_source(tmp_path / "all.parquet")
    assert isinstance(source, ManifestSource)
    read = pickle.loads(pickle.dumps(source.reader()))
    item = next(source.items())
    assert read(item.source) == source.read(item.source)
