"""Training in stages, from images to a bundle: what is frozen stays, sizes and levels follow each other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

import eyebright
from eyebright.bundle import read_bundle
from eyebright.errors import BundleError, RequirementsError, UsageError
from eyebright.models.catalog import create_network
from eyebright.run import Run
from eyebright.training.teacher import make_teacher

SETTINGS = ("optim.batch_size=16", "data.audit=off", "augment.flip=false")


def train(data: Path, folder: Path, stages: list[dict[str, Any]], *settings: str, **options: Any) -> Run:
    """Train `smallnet` from random weights through these stages."""
    folder.mkdir(exist_ok=True)
    file = folder / "stages.yaml"
    file.write_text(yaml.safe_dump({"stages": stages}))
    return eyebright.train(
        data, output=folder, name="run", recipe="scratch", size=16, no_budget=True, file=file,
        settings=[*SETTINGS, *settings], **options,
    )  # fmt: skip


def weights_of(run: Run) -> dict[str, Any]:
    return dict(load_file(run.path / "bundle" / "model.safetensors"))


def begun(classes: int = 2) -> dict[str, Any]:
    """The weights that every run of this seed begins with."""
    torch.manual_seed(0)
    network = create_network("smallnet", classes=classes, pretrained=False)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def test_a_frozen_body_keeps_weights_and_statistics_to_the_bit(shared_stripes: Path, tmp_path: Path) -> None:
    run = train(shared_stripes, tmp_path, [{"name": "head", "epochs": 2, "frozen": "body"}], "optim.ema_decay=0")
    first, last = begun(), weights_of(run)
    for name, value in last.items():
        same = np.array_equal(first[name], value)
        assert same != name.startswith("classifier"), name


def test_after_the_head_everything_moves_and_the_stages_follow_each_other(shared_stripes: Path, tmp_path: Path) -> None:
    stages: list[dict[str, Any]] = [
        {"name": "head", "epochs": 1, "frozen": "body", "learning_rate": 0.01},
        {"name": "all", "epochs": 2, "learning_rate": 0.002, "layer_decay": 0.5},
    ]
    run = train(shared_stripes, tmp_path, stages, epochs=3)
    assert [(line["stage"], line["epoch"]) for line in run.history()] == [
        ("head", 1), ("all", 1), ("all", 2), ("all", 3),
    ]  # fmt: skip
    first, last = begun(), weights_of(run)
    assert not any(np.array_equal(first[name], value) for name, value in last.items() if name.endswith(".weight"))


def test_images_grow_from_stage_to_stage(shared_stripes: Path, tmp_path: Path) -> None:
    stages = [{"name": "small", "epochs": 1, "size": 8}, {"name": "large", "epochs": 1}]
    run = train(shared_stripes, tmp_path, stages)
    assert [line["size"] for line in run.history()] == [8, 16]
    assert run.bundle.record.preprocess.size == 16


def test_a_stage_larger_than_the_prepared_images_is_refused(shared_stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wants 32 px"):
        train(shared_stripes, tmp_path, [{"name": "large", "epochs": 1, "size": 32}])


def test_a_coarse_stage_comes_before_a_fine_one(tmp_path: Path, shared_stripes: Path) -> None:
    """Two looks of one superclass: the coarse stage learns the superclass, the fine one tells the looks apart."""
    for name, above in (("angle-0", "lying"), ("angle-1", "upright")):
        for number, image in enumerate(sorted((shared_stripes / name).iterdir())):
            folder = tmp_path / "images" / above / (f"{name}-even" if number % 2 else f"{name}-odd")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, folder / f"{number}.png")
    stages = [{"name": "coarse", "epochs": 4, "level": "superclass"}, {"name": "fine", "epochs": 1}]
    run = train(tmp_path / "images", tmp_path / "out", stages, superclass="folders")
    coarse = [line["val_accuracy"] for line in run.history() if line["stage"] == "coarse"]
    assert max(coarse) > 0.9  # of superclasses; the four classes cannot be told so well
    assert len(run.bundle.record.classes) == 4


def test_a_coarse_stage_without_superclasses_is_refused(shared_stripes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="superclasses, and these images have none"):
        train(shared_stripes, tmp_path, [{"name": "coarse", "epochs": 1, "level": "superclass"}])


def test_a_network_that_breaks_a_requirement_is_refused_before_any_training(
    shared_stripes: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequirementsError, match="1,000"):
        train(shared_stripes, tmp_path, [{"name": "a", "epochs": 1}], "requirements.max_parameters=1000")
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_a_budget_shortens_all_stages_alike(shared_stripes: Path, tmp_path: Path) -> None:
    file = tmp_path / "stages.yaml"
    stages = [{"name": "one", "epochs": 4000}, {"name": "two", "epochs": 4000}]
    file.write_text(yaml.safe_dump({"stages": stages}))
    run = eyebright.train(
        shared_stripes, output=tmp_path, name="run", recipe="scratch", size=16, budget="40s", file=file,
        settings=SETTINGS,
    )  # fmt: skip
    lines = run.history()
    assert {line["stage"] for line in lines} == {"one", "two"}
    assert all(line["epoch"] < 4000 for line in lines)


def test_a_teacher_must_know_the_same_classes(shared_stripes: Path, trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"knows other classes.*angle-2"):
        train(shared_stripes, tmp_path, [{"name": "a", "epochs": 1}], f"distil.teacher={trained_run}")
    with pytest.raises(BundleError, match="nowhere"):
        train(shared_stripes, tmp_path, [{"name": "a", "epochs": 1}], f"distil.teacher={tmp_path / 'nowhere'}")


def test_a_teachers_classes_are_matched_by_name(trained_run: Path) -> None:
    bundle = read_bundle(trained_run)
    names = bundle.record.classes
    images = torch.rand(4, 3, 24, 24)
    straight = make_teacher(bundle, names, torch.device("cpu"))(images)
    turned = make_teacher(bundle, names[::-1], torch.device("cpu"))(images)
    assert torch.equal(straight, turned.flip(1))
    assert straight.std() > 0


def test_a_pupil_of_another_size_and_network_learns_from_a_run(trained_run: Path, tmp_path: Path) -> None:
    from eyebright.data.manifest import Manifest

    data = Path(Manifest.read(trained_run / "manifest.parquet").spec)
    run = train(
        data, tmp_path, [{"name": "a", "epochs": 6}], f"distil.teacher={trained_run}", "distil.weight=1.0",
        "model.arguments={width: 16}", allow_bad="5%",
    )  # fmt: skip
    assert run.metrics["val"]["accuracy"]["value"] > 0.5  # chance is a third


def test_albumentations_and_workers_give_the_same_bits(shared_stripes: Path, tmp_path: Path) -> None:
    pytest.importorskip("albumentations")
    pipeline = "augment.albumentations=[{HorizontalFlip: {p: 0.5}}, {RandomBrightnessContrast: {p: 1.0}}]"
    runs = [
        train(shared_stripes, tmp_path / name, [{"name": "a", "epochs": 2}], *settings)
        for name, settings in (
            ("one", (pipeline, "compute.workers=1")),
            ("three", (pipeline, "compute.workers=3")),
            ("none", ()),
        )
    ]
    one, three, none = map(weights_of, runs)
    assert all(np.array_equal(one[name], three[name]) for name in one)
    assert not all(np.array_equal(one[name], none[name]) for name in one)
