"""Superclasses from folders, a column or a file: every class has exactly one, or the error names those that do not."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item, open_source
from eyebright.data.sources.hierarchy import absolute_rule, with_superclasses
from eyebright.errors import DataError, UsageError

MakeFolder = Callable[..., Path]
NESTED = {
    "animal/dog/1.png": 1, "animal/dog/puppies/2.png": 2, "animal/cat/3.png": 3,
    "vehicle/car/4.png": 4, "vehicle/bus/5.png": 5,
}  # fmt: skip


def placed(root: Path | str, rule: str) -> dict[str, tuple[str | None, str | None]]:
    """Label and superclass of every image."""
    return {item.source: (item.label, item.superclass) for item in with_superclasses(open_source(root), rule).items()}


def refused(root: Path | str, rule: str) -> str:
    with pytest.raises(DataError) as caught:
        placed(root, rule)
    return caught.value.problem


def test_without_a_rule_the_source_is_itself(make_folder: MakeFolder) -> None:
    source = open_source(make_folder(NESTED))
    assert with_superclasses(source, None) is source


def test_nested_folders_give_superclass_and_class(make_folder: MakeFolder) -> None:
    root = make_folder(NESTED)
    assert placed(root, "folders") == {
        "animal/cat/3.png": ("cat", "animal"),
        "animal/dog/1.png": ("dog", "animal"),
        "animal/dog/puppies/2.png": ("dog", "animal"),
        "vehicle/bus/5.png": ("bus", "vehicle"),
        "vehicle/car/4.png": ("car", "vehicle"),
    }
    source = with_superclasses(open_source(root), "folders")
    assert source.read("vehicle/car/4.png") == (root / "vehicle/car/4.png").read_bytes()
    reader = source.reader()  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(reader))("vehicle/car/4.png") == source.read("vehicle/car/4.png")
    manifest = Manifest.scan(source)
    assert manifest.classes == ("bus", "car", "cat", "dog")
    assert dict(zip(manifest.ok["label"].to_pylist(), manifest.ok["superclass"].to_pylist(), strict=True)) == {
        "cat": "animal", "dog": "animal", "bus": "vehicle", "car": "vehicle",
    }  # fmt: skip


def test_nested_folders_below_split_folders(make_folder: MakeFolder) -> None:
    root = make_folder({"train/a/x/1.png": 1, "train/b/y/2.png": 2, "test/a/x/3.png": 3, "test/a/train/4.png": 4})
    assert placed(root, "folders") == {
        "train/a/x/1.png": ("x", "a"), "train/b/y/2.png": ("y", "b"),
        "test/a/x/3.png": ("x", "a"), "test/a/train/4.png": ("train", "a"),
    }  # fmt: skip


def test_nested_folders_in_an_archive_with_a_wrapping_folder_of_the_same_name(make_folder: MakeFolder) -> None:
    root = make_folder({f"animal/{path}": seed for path, seed in NESTED.items()})
    archive = root.parent / "animal.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in sorted(root.rglob("*.png")):
            stream.write(path, path.relative_to(root).as_posix())
    assert placed(archive, "folders")["animal/animal/dog/1.png"] == ("dog", "animal")
    assert placed(archive, "folders")["animal/vehicle/car/4.png"] == ("car", "vehicle")


def test_images_at_another_depth_are_named(make_folder: MakeFolder) -> None:
    told = refused(make_folder({**NESTED, "animal/lost.png": 6, "vehicle/lost too.png": 7}), "folders")
    assert "2 images lie at another depth: animal/lost.png, vehicle/lost too.png" in told
    many = {f"animal/{number}.png": number + 10 for number in range(9)}
    assert "and 4 more" in refused(make_folder({**NESTED, **many}, "many"), "folders")


def test_a_class_below_two_superclasses_is_named(make_folder: MakeFolder) -> None:
    told = refused(make_folder({**NESTED, "vehicle/dog/6.png": 6}), "folders")
    assert told == "a class has more than one superclass: 'dog' ('animal' and 'vehicle')"


def test_one_folder_too_high_is_noticed(make_folder: MakeFolder) -> None:
    root = make_folder({f"photos/{path}": seed for path, seed in NESTED.items()})
    assert refused(root, "folders") == "all classes have the superclass 'photos'"


def test_names_that_differ_by_spelling_only_are_refused(make_folder: MakeFolder) -> None:
    assert "'Dog' and 'dog'" in refused(make_folder({**NESTED, "vehicle/Dog/6.png": 6}), "folders")
    assert "'Animal' and 'animal'" in refused(make_folder({**NESTED, "Animal/cow/6.png": 6}, "b"), "folders")


def test_only_folders_have_nested_folders(shared_data: Path) -> None:
    assert "digits (digits) has no nested folders" in refused("digits", "folders")
    assert "(hf-parquet) has no nested folders" in refused(shared_data / "cifar100-fifth", "folders")


def test_the_superclasses_of_cifar_100_come_from_its_column(shared_data: Path) -> None:
    found = placed(shared_data / "cifar100-fifth" / "test-00000-of-00001.parquet", "column:superclass")
    pairs = set(found.values())
    assert len(found) == 2000
    assert len(pairs) == len({label for label, _ in pairs}) == 100
    assert len({above for _, above in pairs}) == 20
    # As Krizhevsky's list has them.
    assert {("maple_tree", "trees"), ("willow_tree", "trees"), ("bus", "vehicles_1"), ("tank", "vehicles_2")} <= pairs


def table(root: Path, rows: list[str], header: str = "image_path,label,kind") -> Path:
    (root / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return root / "t.csv"


def test_a_column_with_gaps_or_contradictions_names_the_classes(make_folder: MakeFolder) -> None:
    root = make_folder({f"{number}.png": number for number in range(6)})
    good = ["0.png,dog,animal", "1.png,dog,animal", "2.png,car,vehicle", "3.png,,"]
    assert placed(table(root, good), "column:kind")["3.png"] == (None, None)
    told = refused(table(root, [*good, "4.png,dog,", "5.png,bus,"]), "column:kind")
    assert "is empty for images of 'bus' (1 images), 'dog' (1 images)" in told
    told = refused(table(root, [*good, "4.png,dog,pet"]), "column:kind")
    assert "'dog' ('animal' and 'pet')" in told
    told = refused(table(root, good), "column:knd")
    assert "has no column 'knd' for superclasses (did you mean 'kind'?)" in told
    assert "all classes have the superclass 'animal'" in refused(table(root, good[:2]), "column:kind")


@pytest.mark.parametrize(
    "text",
    [
        "animal: [dog, cat]\nvehicle: [car]\n",
        "dog: animal\ncat: animal\ncar: vehicle\n",
        "animal: [dog]\ncat: animal\ncar: vehicle",
    ],
    ids=["by superclass", "by class", "both"],
)
def test_a_file_in_either_form(text: str, make_folder: MakeFolder) -> None:
    root = make_folder({"dog/1.png": 1, "cat/2.png": 2, "car/3.png": 3})
    (root.parent / "s.yaml").write_text(text)
    assert set(placed(root, str(root.parent / "s.yaml")).values()) == {
        ("dog", "animal"), ("cat", "animal"), ("car", "vehicle"),
    }  # fmt: skip


def test_a_file_that_does_not_fit_names_every_class(make_folder: MakeFolder) -> None:
    root = make_folder({"dog/1.png": 1, "cat/2.png": 2, "car/3.png": 3, "bus/4.png": 4})
    (root.parent / "s.yaml").write_text("animal: [dog, catt]\npet: [dog]\nvehicle: []\nbus: [[x]]\n")
    told = refused(root, str(root.parent / "s.yaml"))
    assert "the class 'dog' has two superclasses, 'animal' and 'pet'" in told
    assert "the class 'car' has no superclass" in told
    assert "the class 'cat' has no superclass" in told
    assert "there is no class 'catt' (did you mean 'cat'?)" in told
    assert "the superclass 'vehicle' has no class" in told
    assert "the line of 'bus' holds no names" in told
    assert "cannot be read" in refused(root, str(root.parent / "gone.yaml"))


def test_a_class_of_the_file_without_images_is_no_mistake(shared_data: Path, tmp_path: Path) -> None:
    cifar = shared_data / "cifar10" / "test-00000-of-00001.parquet"
    names = open_source(cifar).class_names
    assert names is not None
    pq.write_table(pq.read_table(cifar).slice(0, 5), tmp_path / "few.parquet")
    vehicles = ["airplane", "automobile", "ship", "truck"]
    lines = [f"{name}: {'vehicle' if name in vehicles else 'animal'}" for name in names]
    (tmp_path / "s.yaml").write_text("\n".join(lines))
    assert len(placed(tmp_path / "few.parquet", str(tmp_path / "s.yaml"))) == 5


def test_images_can_be_read_when_the_file_is_gone(make_folder: MakeFolder) -> None:
    """As a resumed run does, whose manifest has the superclasses already."""
    root = make_folder(NESTED)
    source = with_superclasses(open_source(root), str(root.parent / "gone.yaml"))
    assert source.read("vehicle/car/4.png") == (root / "vehicle/car/4.png").read_bytes()


@pytest.mark.parametrize("rule", ["foldes", "folder", "", "column:", "columns:x", "s.json"])
def test_what_is_no_rule_is_refused(rule: str, make_folder: MakeFolder) -> None:
    with pytest.raises(UsageError, match="says nothing about superclasses"):
        with_superclasses(open_source(make_folder(NESTED)), rule)
    with pytest.raises(UsageError):
        absolute_rule(rule)


def test_a_rule_means_the_same_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_rule("s.yaml") == str(tmp_path / "s.yaml")
    assert absolute_rule("folders") == "folders"
    assert absolute_rule("column:coarse.yaml") == "column:coarse.yaml"
    assert absolute_rule(None) is None


def test_nothing_is_given_out_before_all_was_checked(make_folder: MakeFolder) -> None:
    source = with_superclasses(open_source(make_folder({**NESTED, "vehicle/dog/6.png": 6})), "folders")
    given: list[Item] = []
    with pytest.raises(DataError):
        given.extend(source.items())
    assert given == []
