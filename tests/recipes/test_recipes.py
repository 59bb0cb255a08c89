"""Every recipe: what it says is what its system says, and nothing of ours stands in it unsaid."""

from __future__ import annotations

import copy
import importlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml

from eyebright.config import HeadConfig, TrainConfig, build_config, parse_assignment, read_yaml
from eyebright.errors import RequirementsError, UsageError
from eyebright.models.catalog import count_parameters, create_network
from eyebright.preprocess import Preprocess
from eyebright.progress import Silent
from eyebright.recipes import BY_SYSTEM, SUMMARIES, SYSTEMS, get_recipe, settings_of
from eyebright.recipes.base import Context, DataFacts, Plan, Recipe
from eyebright.recipes.plain import PLAIN, over_plain
from eyebright.training.freezing import freeze
from eyebright.training.hooks import StopSignal

GENERAL = ["auto", "scratch", "fine-tune", "fast", "shallow"]
NAMES = list(SUMMARIES)
OF_A_SYSTEM = [name for name in NAMES if name not in GENERAL]
REPRODUCING = [name for name in OF_A_SYSTEM if name != "cifar10net-v3"]

# Read from SYSTEMS.md a second time, value by value, without a look at the recipes.
PATIENT = {"stop.metric": "val_loss", "stop.patience": 5, "stop.keep": "val_accuracy"}
ADAM = {"optim.optimiser": "adam", "optim.learning_rate": 1e-3}
WITHIN_LIMITS = {
    "requirements.max_parameters": 199_999,
    "requirements.min_receptive_field": 45,
    "requirements.forbid": ("max-pool",),
    "requirements.require": ("depthwise-separable", "dilated", "gap"),
}
CIFAR10_NORM = {"image.mean": (0.4914, 0.4822, 0.4465), "image.std": (0.2023, 0.1994, 0.2010)}
STATED: dict[str, dict[str, Any]] = {
    "deep-v1": {
        **ADAM, "model.name": "deep_v1", "image.size": 128, "image.channels": 3,
        "image.mean": (0.485, 0.456, 0.406), "image.std": (0.229, 0.224, 0.225), "optim.batch_size": 8,
        "schedule.name": "step", "epochs": 30, "stop.metric": "val_accuracy", "stop.patience": 5,
        "stop.keep": "val_accuracy", "augment.flip": True, "seed": 42,
    },
    "cnn-224": {
        "model.name": "cnn224", "image.size": 224, "image.channels": 3, "data.split.train": 0.7, "data.split.val": 0.2,
        "data.split.test": 0.1, "augment.flip": True, "augment.rotation": 72.0, "augment.scale": 0.2,
        "augment.contrast": 0.2, "optim.optimiser": "adam", "schedule.name": "cosine", "optim.batch_size": 32,
        "compute.precision": "auto",
    },
    "animals-cnn": {
        "optim.optimiser": "adam", "model.name": "animals_cnn", "image.size": 128, "data.split.train": 0.85,
        "loss.name": "cross-entropy", "stop.metric": "val_loss", "stop.patience": 5, "stop.keep": "val_loss",
        "epochs": 12, "optim.batch_size": 12,
    },
    "animals-transfer": {
        "optim.optimiser": "adam", "model.pretrained": True, "model.head.hidden": (128,), "model.head.dropout": 0.5,
        "model.head.batch_norm": False, "data.split.train": 0.8, "loss.class_weights": "balanced",
        "augment.flip": True, "image.mean": None, "image.std": None,
    },
    "cifar10net-v2": {
        **ADAM, **WITHIN_LIMITS, **CIFAR10_NORM, "model.name": "cifar10net_v2", "image.size": 32, "image.channels": 3,
        "optim.weight_decay": 1e-4, "optim.batch_size": 128, "epochs": 50, "schedule.name": "plateau",
        "schedule.metric": "val_accuracy", "schedule.factor": 0.5, "schedule.patience": 2, "schedule.floor": 1e-6,
        "stop.target_accuracy": 0.85, "stop.keep": "val_accuracy", "augment.flip": True, "augment.shift": 0.1,
        "augment.scale": 0.1, "augment.rotation": 15.0, "augment.erasing": 0.3, "augment.erasing_side": 16,
    },
    "cifar10net-v3": {
        **WITHIN_LIMITS, **CIFAR10_NORM, "model.name": "cifar10net_v3", "image.size": 32, "stop.target_accuracy": None,
        "augment.flip": True, "augment.albumentations": (),
    },
    "fashion-ann": {**ADAM, **PATIENT, "model.name": "fashion_ann", "image.size": 28, "image.channels": 1},
    "fashion-cnn": {**ADAM, **PATIENT, "model.name": "fashion_cnn", "image.size": 28, "image.channels": 1},
    "fashion-deep-cnn": {
        **PATIENT, "optim.optimiser": "adam", "optim.learning_rate": 5e-4, "model.name": "fashion_deep_cnn",
        "image.size": 28, "image.channels": 1,
    },
    "cifar100-ann": {**ADAM, **PATIENT, "model.name": "cifar100_ann", "image.size": 32, "image.channels": 3},
    "cifar100-cnn": {**ADAM, **PATIENT, "model.name": "cifar100_cnn", "image.size": 32, "image.channels": 3},
    "cifar100-resnet50": {
        **PATIENT, "optim.optimiser": "adam", "optim.learning_rate": 1e-4, "model.pretrained": True,
        "image.size": 32, "image.channels": 3, "model.head.hidden": (512, 256), "model.head.dropout": 0.5,
        "model.head.batch_norm": True, "image.mean": None, "image.std": None,
    },
}  # fmt: skip
STATED_STAGES = {
    "animals-transfer": [("body", 1e-3, None), (0.0, 1e-4, 5)],  # frozen, learning rate, epochs
    "cifar100-resnet50": [("body", 1e-4, None), (0.5, 1e-5, None)],
}
# Named by the source without a value, and chosen by us: the recipe's `choices` say so.
CHOSEN = {
    "deep-v1": {
        "optim.weight_decay", "optim.decay_all", "stop.min_delta", "augment.rotation", "augment.brightness",
        "augment.contrast", "augment.saturation",
    },
    "cnn-224": {"optim.weight_decay", "loss.label_smoothing", "stop.patience", "stop.keep"},
    "animals-transfer": {"augment.rotation", "augment.shift", "augment.zoom", "augment.shear"},
    "cifar10net-v2": {"optim.decay_all", "augment.albumentations"},
}  # fmt: skip
# Every setting whose default in the tree is not what a plain loop does, or that would change a plain loop, and what a
# plain loop has in its place.
NEUTRAL: dict[str, Any] = {
    "budget_seconds": None,
    "data.sampling": "shuffle",
    "data.drop_last": False,
    "image.resize": "squash",
    "image.interpolation": "bilinear",
    "model.pretrained": False,
    "model.dropout": None,
    "model.drop_path": 0.0,
    "optim.accumulate": 1,
    "optim.layer_decay": 1.0,
    "optim.weight_decay": 0.0,
    "optim.decay_all": False,
    "optim.momentum": 0.9,
    "optim.clip_norm": None,
    "optim.ema_decay": 0.0,
    "schedule.name": "constant",
    "schedule.warmup_share": 0.0,
    "schedule.final_share": 0.0,
    "loss.name": "cross-entropy",
    "loss.label_smoothing": 0.0,
    "loss.class_weights": "none",
    "loss.logit_adjustment": 0.0,
    "stop.patience": None,
    "stop.min_delta": 0.0,
    "stop.target_accuracy": None,
    "stop.keep": "last",
    "augment.flip": False,
    "augment.vertical_flip": False,
    "augment.min_area": 1.0,
    "augment.aspect": 0.0,
    "augment.rotation": 0.0,
    "augment.shift": 0.0,
    "augment.scale": 0.0,
    "augment.zoom": 0.0,
    "augment.shear": 0.0,
    "augment.brightness": 0.0,
    "augment.contrast": 0.0,
    "augment.saturation": 0.0,
    "augment.hue": 0.0,
    "augment.policy": "none",
    "augment.erasing": 0.0,
    "augment.mixup": 0.0,
    "augment.cutmix": 0.0,
    "augment.albumentations": (),
    "compute.precision": "float32",
}
# Said by every recipe of a system, each with a value of its own.
OWN = (
    "data.split.train", "data.split.val", "data.split.test", "image.size", "image.channels", "image.mean", "image.std",
    "model.name", "optim.optimiser", "optim.batch_size", "optim.learning_rate",
)  # fmt: skip
OFFLINE = {"tf_efficientnet_b0.aa_in1k": "tf_efficientnet_lite0", "resnet50.tv_in1k": "tf_efficientnet_lite0"}


def value_at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree[name] if isinstance(tree, Mapping) else getattr(tree, name)
    return tree


def is_said(defaults: Mapping[str, Any], key: str) -> bool:
    tree: Any = defaults
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True


def configured(name: str, *settings: Mapping[str, Any]) -> TrainConfig:
    return build_config(get_recipe(name).defaults, {"recipe": name}, *settings)


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in tree.items():
        found.update(leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_and_the_recipe_agree(name: str) -> None:
    recipe = get_recipe(name)
    assert isinstance(recipe, Recipe)
    assert (recipe.name, recipe.summary) == (name, SUMMARIES[name])
    assert name in BY_SYSTEM[recipe.system]
    module = importlib.import_module(f"eyebright.recipes.{name.replace('-', '_')}")
    assert module.RECIPE is recipe
    assert f"--recipe {name}" in (module.__doc__ or "") or name == "auto"


def test_every_system_has_recipes_and_a_title() -> None:
    assert list(SYSTEMS) == list(BY_SYSTEM)
    assert len(SYSTEMS) == 6
    assert all(BY_SYSTEM.values())
    assert list(BY_SYSTEM[""]) == GENERAL


def test_an_unknown_recipe_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'cnn224' \\(did you mean 'cnn-224'") as caught:
        get_recipe("cnn224")
    assert "deep-v1" in str(caught.value.expected)


def test_importing_the_recipes_loads_no_torch() -> None:
    code = "import eyebright.recipes, sys; eyebright.recipes.SUMMARIES; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_a_valid_configuration(name: str) -> None:
    assert configured(name).recipe == name


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, values in STATED.items() for key in values])
def test_a_value_is_that_of_the_system(name: str, key: str) -> None:
    value, stated = value_at(configured(name), key), STATED[name][key]
    assert value == (pytest.approx(stated) if isinstance(stated, float) else stated)
    assert is_said(get_recipe(name).defaults, key)


@pytest.mark.parametrize("name", STATED_STAGES)
def test_stages_are_those_of_the_system(name: str) -> None:
    stages = configured(name).stages
    for stage, (frozen, rate, epochs) in zip(stages, STATED_STAGES[name], strict=True):
        assert (stage.frozen, stage.learning_rate) == (frozen, rate)
        assert epochs in (None, stage.epochs)
    assert len({stage.name for stage in stages}) == 2


def test_the_table_covers_every_recipe_of_a_system() -> None:
    assert sorted(STATED) == sorted(OF_A_SYSTEM)


@pytest.mark.parametrize("name", OF_A_SYSTEM)
def test_no_default_of_ours_stands_in_a_published_recipe_unsaid(name: str) -> None:
    defaults = get_recipe(name).defaults
    assert [key for key in (*NEUTRAL, *OWN) if not is_said(defaults, key)] == []
    assert is_said(defaults, "epochs") != is_said(defaults, "stages")


@pytest.mark.parametrize("name", REPRODUCING)
def test_what_is_not_neutral_is_stated_by_the_source_or_named_as_a_choice(name: str) -> None:
    config = configured(name)
    explained = STATED[name].keys() | CHOSEN.get(name, set())
    strange = {key for key, neutral in NEUTRAL.items() if value_at(config, key) != neutral}
    assert strange - explained == set()
    recipe = get_recipe(name)
    assert recipe.source
    assert recipe.choices
    assert recipe.published or name == "deep-v1"  # its source states no figure


def test_plain_is_neutral_in_every_setting_of_training() -> None:
    assert {key: value for key, value in leaves(PLAIN).items() if key in NEUTRAL} == NEUTRAL
    trained = {key for key in leaves(TrainConfig().model_dump()) if key.split(".")[0] in ("optim", "loss", "augment")}
    # Settings that do nothing while what they belong to is off, or that every recipe says for itself.
    idle = {
        "optim.batch_size", "optim.nesterov", "loss.focal_gamma", "loss.effective_beta", "augment.fill",
        "augment.flip_schedule", "augment.whole_pixels",
        "augment.policy_operations", "augment.policy_magnitude", "augment.erasing_area", "augment.erasing_side",
    }  # fmt: skip
    assert trained - leaves(PLAIN).keys() == idle


def test_a_recipe_changes_single_settings_of_plain_and_adds_others() -> None:
    before = copy.deepcopy(PLAIN)
    made = over_plain(epochs=3, optim={"learning_rate": 0.5}, budget_seconds=9.0, requirements={"forbid": ("x",)})
    assert (made["epochs"], made["budget_seconds"], made["requirements"]) == (3, 9.0, {"forbid": ("x",)})
    assert made["optim"] == {**PLAIN["optim"], "learning_rate": 0.5}
    assert made["augment"] == PLAIN["augment"]
    assert before == PLAIN


@pytest.mark.parametrize("name", OF_A_SYSTEM)
def test_the_network_exists(name: str) -> None:
    network = configured(name).model.name
    assert network is not None
    assert timm.is_model(network.split(".")[0])
    if "." in network:
        assert network in timm.list_pretrained(network.split(".")[0] + ".*")


def as_settings(options: str) -> list[dict[str, Any]]:
    """What the command line makes of the options of a variant."""
    keys = {"--model": "model.name", "--size": "image.size", "--epochs": "epochs", "--superclass": "data.superclass"}
    words = shlex.split(options)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return [parse_assignment(value if option == "--set" else f"{keys[option]}={value}") for option, value in pairs]


VARIANTS = [(name, variant) for name in NAMES for variant in get_recipe(name).variants]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_a_variant_is_a_valid_change_of_the_recipe(name: str, variant: str) -> None:
    config = configured(name, *as_settings(get_recipe(name).variants[variant]))
    assert config != configured(name)
    assert config.model.name is None or timm.is_model(config.model.name.split(".")[0])


def test_the_ablation_of_cnn_224_has_its_three_other_networks() -> None:
    options = [value for value in get_recipe("cnn-224").variants.values() if value.startswith("--model")]
    assert options == ["--model cnn224_baseline", "--model cnn224_bn", "--model cnn224_dropout"]


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_as_a_file_ask_for_the_same_run(name: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings_of(get_recipe(name)), sort_keys=False), encoding="utf-8")
    content = read_yaml(file)
    assert content["recipe"] == name
    assert build_config(content) == configured(name)
    assert build_config(get_recipe(name).defaults, content) == configured(name)


def test_only_what_differs_from_the_defaults_is_among_the_settings() -> None:
    settings = settings_of(get_recipe("fashion-ann"))
    usual = leaves(TrainConfig().model_dump(mode="json"))
    assert all(usual[key] != value for key, value in leaves(settings).items())
    assert settings_of(get_recipe("auto")) == {"recipe": "auto"}


def test_settings_of_a_user_leave_the_recipe_as_it_was() -> None:
    defaults = copy.deepcopy(dict(get_recipe("cifar100-resnet50").defaults))
    settings = {"data": {"split": {"train": 0.5, "val": 0.4, "test": 0.1}}, "model": {"head": {"dropout": 0.1}}}
    assert build_config(defaults, settings).model.head.hidden == (512, 256)
    assert defaults == get_recipe("cifar100-resnet50").defaults


def test_the_documentation_page_is_made_from_the_recipes() -> None:
    path = Path(__file__).resolve().parents[2] / "packaging" / "recipes_page.py"
    names: dict[str, Any] = {"__name__": "page", "__file__": str(path)}
    exec(path.read_text(encoding="utf-8"), names)
    assert names["PAGE"].read_text(encoding="utf-8") == names["page"](), "run python packaging/recipes_page.py"


def test_the_albumentations_pipeline_is_taken_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks a server for news
    library = pytest.importorskip("albumentations")
    # As the run's config.yaml gives it back: lists, not tuples.
    steps = settings_of(get_recipe("cifar10net-v2"))["augment"]["albumentations"]
    flip, affine, hole = (getattr(library, name)(**arguments) for step in steps for name, arguments in step.items())
    assert (flip.p, affine.p, hole.p) == (0.5, 0.5, 0.3)
    white = np.full((32, 32, 3), 255, dtype=np.uint8)
    hole.p = 1.0
    assert {int((hole(image=white)["image"] == 0).all(axis=2).sum()) for _ in range(20)} == {16 * 16}
    drawn = [affine.get_params_dependent_on_data({"shape": white.shape}, {}) for _ in range(300)]
    angles, scales = [one["rotate"] for one in drawn], [one["scale"] for one in drawn]
    assert -15 <= min(angles) < -12
    assert 12 < max(angles) <= 15
    assert all(scale["x"] == scale["y"] for scale in scales)
    assert 0.9 <= min(scale["x"] for scale in scales) < 0.92
    assert max(scale["x"] for scale in scales) <= 1.1


def test_fine_tuning_of_resnet50_begins_with_its_third_stage() -> None:
    network = create_network(
        "resnet50", classes=100, pretrained=False, head=HeadConfig(hidden=(512, 256), dropout=0.5, batch_norm=True)
    )
    count = freeze(network, configured("cifar100-resnet50").stages[1].frozen)
    plain = timm.create_model("resnet50", num_classes=0)
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in plain.named_children()}
    assert count == parts["conv1"] + parts["bn1"] + parts["layer1"] + parts["layer2"]
    assert count_parameters(network) > sum(parts.values())


FACTS = DataFacts(images={"train": 24, "val": 12, "test": 12}, names=("daisy", "rose", "tulip"), side=128, grey=False)


def context_for(name: str, folder: Path, *settings: Mapping[str, Any], records: list[dict[str, Any]]) -> Context:
    config = configured(name)
    offline = OFFLINE.get(str(config.model.name), config.model.name)
    return Context(
        config=configured(name, {"model": {"name": offline}, "compute": {"workers": 1}}, *settings),
        facts=FACTS, device=torch.device("cpu"), deadline=None, checkpoint=folder, progress=Silent(),
        stop=StopSignal(), record=records.append,
    )  # fmt: skip


@pytest.mark.parametrize("name", OF_A_SYSTEM)
def test_the_plan_keeps_to_the_recipe(name: str, tmp_path: Path) -> None:
    context = context_for(name, tmp_path, records=[])
    plan, config = get_recipe(name).plan(context), context.config
    assert (plan.preprocess.size, plan.preprocess.channels) == (config.image.size, config.image.channels)
    assert plan.preprocess.resize == "squash"
    if config.image.mean is None:  # of the weights, and not of ImageNet: FINDINGS.md says what that costs
        assert (plan.preprocess.mean, plan.preprocess.std) == ((0.5,) * 3, (0.5,) * 3)
    else:
        assert set(plan.preprocess.mean) == set(config.image.mean)
    batch = min(config.optim.batch_size, 24)
    epochs = [stage.epochs for stage in config.stages] or [config.epochs]
    assert [stage.steps for stage in plan.stages] == [number * -(-24 // batch) for number in epochs]
    assert Plan.from_dict(plan.as_dict()) == plan


def test_requirements_stand_before_training(tmp_path: Path) -> None:
    context = context_for("cifar10net-v2", tmp_path, {"model": {"name": "cnn224"}}, records=[])
    with pytest.raises(RequirementsError, match="max-pool"):
        get_recipe("cifar10net-v2").plan(context)


@pytest.mark.parametrize("name", OF_A_SYSTEM)
def test_every_recipe_trains_on_photos_of_any_size(name: str, tmp_path: Path, flowers_sample: Path) -> None:
    from eyebright.data.batches import PixelSet

    records: list[dict[str, Any]] = []
    config = configured(name)
    short = {
        "epochs": 1, "stages": [{**stage.model_dump(), "epochs": 1} for stage in config.stages],
        "image": {"size": min(64, config.image.size or 64)}, "augment": {"albumentations": []},
    }  # fmt: skip
    context = context_for(name, tmp_path, short, records=records)
    recipe = get_recipe(name)
    plan = recipe.plan(context)
    pixels, targets = photos(flowers_sample, plan.preprocess)
    sets = [
        PixelSet(pixels, rows, targets[rows], preprocess=plan.preprocess, device=context.device)
        for rows in (np.arange(24), np.arange(24, 36))
    ]
    outcome = recipe.fit(plan, context, *sets)
    assert [record["stage"] for record in records] == [stage.name for stage in plan.stages]
    assert all(np.isfinite(record["train_loss"]) for record in records)
    with torch.inference_mode():
        images = torch.from_numpy(plan.preprocess.normalise(pixels[:5]))
        assert outcome.network(images).shape == (5, 3)


def photos(folder: Path, preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """12 photos of each class, the classes taking turns."""
    by_class = [sorted((folder / name).iterdir())[:12] for name in FACTS.names]
    files = [file for group in zip(*by_class, strict=True) for file in group]
    return np.stack([preprocess.margin_pixels(file) for file in files]), np.arange(36, dtype=np.int64) % 3
