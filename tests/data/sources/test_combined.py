"""Several sources as one: every image by reference, under a name that leads back to it, in the class that was said."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyebright.config import SplitShares
from eyebright.data.manifest import Manifest
from eyebright.data.sources import open_source
from eyebright.data.sources.catalogue import CatalogueEntry, Reference, add_entry
from eyebright.data.sources.class_mapping import ClassMapping
from eyebright.data.sources.combined import CombinedSource
from eyebright.data.sources.hierarchy import with_superclasses
from eyebright.data.split import assign_splits
from eyebright.decode import UndecodableImage
from eyebright.errors import DataError

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EYEBRIGHT_CATALOGUE", str(tmp_path / "catalogue"))
    return tmp_path / "catalogue"


def combine(parts: dict[str, Path | str], mapping: dict[str, object] | None = None) -> CombinedSource:
    sources = {name: open_source(path) for name, path in parts.items()}
    return CombinedSource(sources, ClassMapping.from_dict(mapping or {}, "map.yaml"), "combined")


@pytest.fixture
def animali(make_folder: MakeFolder) -> Path:
    return make_folder({"cane/1.png": 1, "cane/2.png": 2, "gatto/3.png": 3, "cane/notes.txt": b"x"}, name="animali")


@pytest.fixture
def pets(make_folder: MakeFolder) -> Path:
    return make_folder(
        {"train/dog/1.png": 11, "train/cat/2.png": 12, "test/cat/3.png": 13, "test/fish/4.png": 14}, "pets"
    )


MERGED = {"dog": ["cane", "dog"], "cat": ["gatto", "cat"], "fish": None}


def test_every_image_of_every_part_is_there_once_under_its_new_class(animali: Path, pets: Path) -> None:
    source = combine({"it": animali, "en": pets}, MERGED)
    items = {item.source: item for item in source.items()}
    assert {name: item.label for name, item in items.items()} == {
        "it/cane/1.png": "dog", "it/cane/2.png": "dog", "it/gatto/3.png": "cat",
        "en/train/dog/1.png": "dog", "en/train/cat/2.png": "cat", "en/test/cat/3.png": "cat",
    }  # fmt: skip
    assert {item.extra["dataset"] for name, item in items.items() if name.startswith("it/")} == {"it"}
    assert items["en/test/cat/3.png"].split == "test"
    assert items["it/cane/1.png"].split is None
    assert source.class_table() == {"cat": {"it": 1, "en": 2}, "dog": {"it": 2, "en": 1}}
    assert source.left_out() == {"en": {"fish": 1}}


def test_images_are_read_from_where_they_lie(animali: Path, pets: Path) -> None:
    source = combine({"it": animali, "en": pets}, MERGED)
    roots = {"it": animali, "en": pets}
    for item in source.items():
        part, _, rest = item.source.partition("/")
        assert source.read(item.source) == (roots[part] / rest).read_bytes()
        # A worker process gets a copy of the reader.
        assert pickle.loads(pickle.dumps(source.reader()))(item.source) == source.read(item.source)
    for wrong in ("fr/cane/1.png", "cane", "it/cane/9.png"):
        with pytest.raises(UndecodableImage) as caught:
            source.read(wrong)
        assert caught.value.status == "missing"


def test_strays_of_the_parts_and_images_of_left_out_classes_are_listed(animali: Path, pets: Path) -> None:
    strays = {stray.source: stray.reason for stray in combine({"it": animali, "en": pets}, MERGED).strays()}
    assert strays == {
        "it/cane/notes.txt": "not an image (.txt)",
        "en/test/fish/4.png": "its class 'fish' is left out by the mapping",
    }


def test_the_manifest_says_which_part_each_image_is_from(animali: Path, pets: Path) -> None:
    manifest = Manifest.scan(combine({"it": animali, "en": pets}, MERGED))
    assert manifest.classes == ("cat", "dog")
    assert Counter(manifest.ok["dataset"].to_pylist()) == {"it": 3, "en": 3}
    left_out = {row["source"]: row["status"] for row in manifest.ledger()}
    assert left_out == {"it/cane/notes.txt": "stray", "en/test/fish/4.png": "stray"}


def test_columns_of_the_parts_are_kept(make_folder: MakeFolder) -> None:
    one = make_folder({"1.png": 1, "2.png": 2}, "one")
    (one / "one.csv").write_text("image_path,label,camera,dataset,group\n1.png,cat,left,old,g\n2.png,dog,,old,\n")
    two = make_folder({"cat/3.png": 3, "dog/4.png": 4}, "two")
    source = combine({"one": one / "one.csv", "two": two}, {"same_names": True})
    extras = {item.source: dict(item.extra) for item in source.items()}
    assert extras == {
        "one/1.png": {"camera": "left", "user_dataset": "old", "dataset": "one"},
        "one/2.png": {"camera": None, "user_dataset": "old", "dataset": "one"},
        "two/cat/3.png": {"dataset": "two"},
        "two/dog/4.png": {"dataset": "two"},
    }
    assert next(source.items()).group == "g"
    manifest = Manifest.scan(source)
    assert dict(zip(manifest.ok["source"].to_pylist(), manifest.ok["camera"].to_pylist(), strict=True)) == {
        "one/1.png": "left", "one/2.png": None, "two/cat/3.png": None, "two/dog/4.png": None,
    }  # fmt: skip


def test_images_without_a_label_stay_without_one(make_folder: MakeFolder, animali: Path) -> None:
    flat = make_folder({"a.png": 20, "b.png": 21}, "flat")
    items = list(combine({"it": animali, "flat": flat}, {"cane": "dog", "gatto": "cat"}).items())
    assert [item.label for item in items if item.source.startswith("flat/")] == [None, None]


def test_given_splits_are_kept_and_the_others_divided(make_folder: MakeFolder, pets: Path) -> None:
    bare = make_folder(
        {f"{label}/{n}.png": 100 * k + n for k, label in enumerate(("cat", "dog")) for n in range(30)}, "b"
    )
    source = combine({"en": pets, "bare": bare}, {"classes": {"fish": None, "cat": ["cat"], "dog": ["dog"]}})
    (note,) = source.notes()
    assert "'en' brings a split, which is kept; images of 'bare' without one are divided by the shares" in note
    manifest, _ = assign_splits(Manifest.scan(source), SplitShares(), 0)
    splits = dict(zip(manifest.ok["source"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True))
    assert splits["en/test/cat/3.png"] == "test"
    assert {split for name, split in splits.items() if name.startswith("bare/")} == {"train", "val", "test"}


def test_superclasses_are_kept_where_every_part_has_them(make_folder: MakeFolder, animali: Path) -> None:
    nested = with_superclasses(open_source(make_folder({"a/x/1.png": 1, "b/y/2.png": 2}, "nested")), "folders")
    more = with_superclasses(open_source(make_folder({"a/z/3.png": 3, "c/w/4.png": 4}, "more")), "folders")
    whole = CombinedSource({"one": nested, "two": more}, ClassMapping(), "whole")
    assert {item.label: item.superclass for item in whole.items()} == {"x": "a", "y": "b", "z": "a", "w": "c"}
    assert whole.notes() == []
    half = CombinedSource({"one": nested, "it": open_source(animali)}, ClassMapping(), "half")
    assert {item.superclass for item in half.items()} == {None}
    assert half.notes() == [
        "the superclasses that 'one' brings are not used, because 'it' has none; --superclass FILE.yaml gives all "
        "classes one"
    ]


def test_groups_that_several_parts_name_alike_are_one_and_said(make_folder: MakeFolder) -> None:
    parts: dict[str, Path | str] = {}
    for number, name in enumerate(("one", "two")):
        root = make_folder({"1.png": 10 * number, "2.png": 10 * number + 1}, name)
        (root / "t.csv").write_text(f"image_path,label,group\n1.png,cat,shared\n2.png,dog,{name}\n")
        parts[name] = root / "t.csv"
    source = combine(parts, {"same_names": True})
    assert [note for note in source.notes() if "1 groups, such as 'shared', are named alike" in note]
    manifest, _ = assign_splits(Manifest.scan(source), SplitShares(), 0)
    rows = zip(manifest.ok["group"].to_pylist(), manifest.ok["split"].to_pylist(), strict=True)
    assert len({split for group, split in rows if group == "shared"}) == 1


def test_classes_keep_the_declared_order_where_every_part_declares_one(shared_data: Path, animali: Path) -> None:
    cifar = shared_data / "cifar10" / "test-00000-of-00001.parquet"
    declared = open_source(cifar).class_names
    assert declared is not None
    table = pq.read_table(cifar).slice(0, 200)
    small = animali.parent / "small.parquet"
    pq.write_table(table, small)
    both = combine({"cifar": small, "digits": "digits"})
    assert both.class_names == (*declared, *"0123456789")
    assert combine({"cifar": small, "it": animali}).class_names is None
    digit = both.read("digits/digits#5")
    assert isinstance(digit, np.ndarray)
    assert np.array_equal(digit, open_source("digits").read("digits#5"))


def test_a_combined_set_of_the_catalogue_is_opened_by_name_also_inside_another(animali: Path, pets: Path) -> None:
    add_entry(CatalogueEntry(
        name="both", parts={"it": Reference(path=str(animali)), "en": Reference(path=str(pets))},
        mapping=ClassMapping.from_dict(MERGED, "map"),
    ))  # fmt: skip
    add_entry(CatalogueEntry(name="all", parts={"pets": Reference(name="both"), "digits": Reference(name="digits")}))
    both = open_source("both")
    assert (both.kind, both.spec) == ("combined", "both")
    everything = open_source("all")
    items = {item.source: item for item in everything.items()}
    assert len(items) == 6 + 1797
    assert items["pets/it/cane/1.png"].extra["dataset"] == "pets/it"
    assert items["digits/digits#0"].extra["dataset"] == "digits"
    assert everything.read("pets/it/cane/1.png") == (animali / "cane/1.png").read_bytes()
    manifest = Manifest.scan(everything)
    assert set(manifest.ok["dataset"].to_pylist()) == {"pets/it", "pets/en", "digits"}


def test_a_part_that_is_gone_is_named(animali: Path, pets: Path) -> None:
    parts = {"it": Reference(path=str(animali)), "en": Reference(path=str(pets))}
    add_entry(CatalogueEntry(name="both", parts=parts, mapping=ClassMapping.from_dict(MERGED, "map")))
    pets.rename(pets.with_name("moved"))
    with pytest.raises(DataError, match="the part 'en' of 'both' cannot be opened: there is nothing at"):
        open_source("both")


def test_a_part_that_gained_a_class_is_refused_until_the_mapping_says_so(animali: Path, pets: Path) -> None:
    parts = {"it": Reference(path=str(animali)), "en": Reference(path=str(pets))}
    add_entry(CatalogueEntry(name="both", parts=parts, mapping=ClassMapping.from_dict(MERGED, "map")))
    (animali / "gatto").rename(animali / "gatti")
    with pytest.raises(DataError, match="'gatti' of 'it' is not mapped"):
        open_source("both")


def test_the_same_bytes_in_two_parts_count_once(make_folder: MakeFolder) -> None:
    one = make_folder({"cat/1.png": 1, "dog/2.png": 2}, "one")
    two = make_folder({"cat/copy.png": 1, "dog/other.png": 3}, "two")
    manifest = Manifest.scan(combine({"one": one, "two": two}, {"same_names": True}))
    statuses = dict(zip(manifest.table["source"].to_pylist(), manifest.table["status"].to_pylist(), strict=True))
    assert statuses["two/cat/copy.png"] == "duplicate"
    assert pa.types.is_string(manifest.table.schema.field("dataset").type)
