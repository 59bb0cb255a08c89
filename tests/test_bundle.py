"""A bundle comes back as it was written, or says what is wrong with it; nothing in it can execute."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch

import eyebright.models.small  # noqa: F401  (timm must know the network)
from eyebright.bundle import (
    CARD_FILE,
    DECISIONS_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    ONNX_FILE,
    RECORD_FILE,
    REQUIRED_FILES,
    TIMM_CONFIG_FILE,
    WEIGHTS_FILE,
    Bundle,
    GoldenSamples,
    read_bundle,
    sha256_of,
    write_bundle,
)
from eyebright.classifier import Classifier, load
from eyebright.errors import BundleError, CorruptBundleError, ForeignBundleError, NewerBundleError
from eyebright.models.catalog import restore_network

ALL_FILES = (*REQUIRED_FILES, DECISIONS_FILE)


@pytest.fixture
def bundle(trained_run: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(trained_run / "bundle", tmp_path / "bundle"))


def record_of(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / RECORD_FILE).read_text(encoding="utf-8")))


def change_record(bundle: Path, **values: Any) -> None:
    (bundle / RECORD_FILE).write_text(json.dumps(record_of(bundle) | values), encoding="utf-8")


def reseal(bundle: Path) -> None:
    """Write the hashes anew, as somebody would who alters a bundle on purpose."""
    change_record(bundle, files={name: sha256_of(bundle / name) for name in ALL_FILES})


def test_a_bundle_written_again_is_the_same(trained_run: Path, tmp_path: Path) -> None:
    first = read_bundle(trained_run)
    assert first.path == trained_run / "bundle"
    files = {name: first.file(name).read_bytes() for name in REQUIRED_FILES if name != GOLDEN_FILE}
    second = write_bundle(
        tmp_path / "again", dataclasses.replace(first.record, files={}), files=files, golden=first.golden()
    )
    assert read_bundle(tmp_path / "again") == second
    assert {**second.record.as_dict(), "files": {}} == {**first.record.as_dict(), "files": {}}
    assert second.golden().ids == first.golden().ids
    assert second.golden().images == first.golden().images
    assert np.array_equal(second.golden().pixels, first.golden().pixels)
    assert np.array_equal(second.golden().probabilities, first.golden().probabilities)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_a_run_and_its_bundle_are_the_same_to_the_reader(trained_run: Path) -> None:
    assert read_bundle(trained_run) == read_bundle(str(trained_run / "bundle"))


def test_a_bundle_works_where_it_was_copied_to(bundle: Path, trained_run: Path) -> None:
    golden = read_bundle(bundle).golden()
    expected = load(trained_run).probabilities_of_pixels(golden.pixels)
    assert np.array_equal(load(bundle).probabilities_of_pixels(golden.pixels), expected)
    np.testing.assert_allclose(expected, golden.probabilities, atol=1e-6)


def test_a_bundle_of_before_superclasses_has_none(bundle: Path) -> None:
    values = record_of(bundle)
    assert values.pop("superclasses") == {}
    (bundle / RECORD_FILE).write_text(json.dumps(values), encoding="utf-8")
    assert read_bundle(bundle).record.superclasses == {}


def with_flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": with_flipped_bit,
    "cut off": lambda content: content[:-1],
    "something behind it": lambda content: content + b"\n",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("name", REQUIRED_FILES)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_every_damage_to_every_file_is_found(name: str, damage: Any, bundle: Path) -> None:
    (bundle / name).write_bytes(damage((bundle / name).read_bytes()))
    with pytest.raises(CorruptBundleError, match=f"{name} is not what was written"):
        read_bundle(bundle)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_every_missing_file_is_named(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    with pytest.raises(CorruptBundleError, match=f"{name} is missing"):
        read_bundle(bundle)


@pytest.mark.parametrize(
    "values",
    [
        {"classes": ["a"]}, {"classes": ["a", "a", "b"]}, {"classes": [1, 2, 3]}, {"classes": "abc"}, {"classes": None},
        *({"decisions": {"calibration": {"temperature": wrong}}} for wrong in (0, -1.0, "hot", np.nan, np.inf)),
        {"decisions": {"calibration": {"method": "magic"}}}, {"decisions": []}, {"decisions": None}, {"decisions": {}},
        {"decisions": {"calibration": {"method": "vector", "scale": [1.0], "bias": [0.0]}}},
        {"files": None}, {"files": []}, {"files": {}}, {"files": {"../x": "0"}},
        {"architecture_arguments": "none"}, {"preprocess": None}, {"preprocess": {}}, {"preprocess": {"size": 8}},
        {"format_version": 0}, {"format_version": "1"}, {"format_version": None},
        {"superclasses": None}, {"superclasses": []}, {"superclasses": {"angle-0": "a", "angle-1": "b"}},
        {"superclasses": {f"angle-{n}": "a" for n in range(4)}}, {"superclasses": {f"angle-{n}": n for n in range(3)}},
        {"superclasses": {f"angle-{n}": "" for n in range(3)}},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_cannot_be_is_refused(values: dict[str, Any], bundle: Path) -> None:
    change_record(bundle, **values)
    with pytest.raises(CorruptBundleError):
        read_bundle(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 5000], ids=["empty", "cut off", "no text", "deep"])
def test_a_record_that_is_no_json_is_refused(content: bytes, bundle: Path) -> None:
    (bundle / RECORD_FILE).write_bytes(content)
    with pytest.raises(CorruptBundleError, match="cannot be read"):
        read_bundle(bundle)


@pytest.mark.parametrize("content", ["null", "[]", '"eyebright-bundle"', "{}", '{"format": "other"}'])
def test_json_of_somebody_else_is_foreign(content: str, bundle: Path) -> None:
    (bundle / RECORD_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ForeignBundleError, match="not written by Eyebright"):
        read_bundle(bundle)


def test_a_later_format_asks_for_an_upgrade(bundle: Path) -> None:
    change_record(bundle, format_version=FORMAT_VERSION + 1, a_field_of_the_future=1)
    with pytest.raises(NewerBundleError, match="pip install --upgrade eyebright"):
        read_bundle(bundle)


def test_a_field_that_is_not_known_is_passed_over(bundle: Path) -> None:
    change_record(bundle, remark="made on a Sunday")
    assert read_bundle(bundle).record.name == "stripes"


def test_a_folder_without_a_bundle_says_what_it_is(tmp_path: Path, trained_run: Path) -> None:
    with pytest.raises(BundleError, match=r"strips does not exist \(did you mean 'stripes'\?\)"):
        read_bundle(trained_run.parent / "strips")
    with pytest.raises(ForeignBundleError, match=r"has no bundle\.json"):
        read_bundle(tmp_path)
    for name in ("config.yaml", "state.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match="did not finish"):
        read_bundle(tmp_path)


def test_damaged_golden_samples_never_give_anything_but_an_error_or_themselves(bundle: Path) -> None:
    """The archive's own checks, for whoever passes the hashes: a flipped byte at forty places."""
    path = bundle / GOLDEN_FILE
    content, whole = path.read_bytes(), GoldenSamples.read(path)
    refused = 0
    for place in np.linspace(0, len(content) - 1, 40, dtype=int):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            damaged = GoldenSamples.read(path)
        except CorruptBundleError:
            refused += 1
        else:
            assert np.array_equal(damaged.pixels, whole.pixels)
            assert np.array_equal(damaged.probabilities, whole.probabilities)
    assert refused > 20


class Bomb:
    """What a stranger might put into a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def test_a_pickle_in_the_golden_samples_is_refused(bundle: Path) -> None:
    golden = read_bundle(bundle).golden()
    bombs = np.array([Bomb()], dtype=object)
    np.savez(bundle / GOLDEN_FILE, ids=bombs, pixels=golden.pixels, probabilities=golden.probabilities)
    reseal(bundle)
    with pytest.raises(CorruptBundleError, match="allow_pickle=False"):
        read_bundle(bundle).golden()


def test_reading_a_bundle_unpickles_nothing(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    read = read_bundle(bundle)
    Classifier(read).probabilities_of_pixels(read.golden().pixels)
    restore_network(read)
    assert not [path for path in bundle.iterdir() if path.read_bytes()[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x05")]


def test_weights_or_a_graph_that_make_no_sense_are_corrupt(bundle: Path) -> None:
    for name in (WEIGHTS_FILE, ONNX_FILE):
        (bundle / name).write_bytes(b"no such thing" * 10)
    reseal(bundle)
    read = read_bundle(bundle)
    with pytest.raises(CorruptBundleError, match="not a graph that runs here"):
        Classifier(read)
    with pytest.raises(CorruptBundleError, match="not those of smallnet"):
        restore_network(read)


def test_weights_of_another_network_are_corrupt(bundle: Path) -> None:
    change_record(bundle, architecture="resnet10t")
    with pytest.raises(CorruptBundleError, match="not those of resnet10t"):
        restore_network(read_bundle(bundle))


def normalised(bundle: Bundle) -> torch.Tensor:
    """The golden pixels as a user of timm would prepare them, by the numbers in `config.json`: float32 (K, C, H, W)."""
    facts = json.loads(bundle.file(TIMM_CONFIG_FILE).read_text(encoding="utf-8"))["pretrained_cfg"]
    pixels = torch.from_numpy(bundle.golden().pixels).float() / 255
    mean, std = (torch.tensor(facts[name]) for name in ("mean", "std"))
    return ((pixels - mean) / std).permute(0, 3, 1, 2)


def test_timm_loads_the_bundle_and_gives_the_logits_of_the_classifier(bundle: Path) -> None:
    read = read_bundle(bundle)
    network = timm.create_model(f"local-dir:{bundle}", pretrained=True).eval()
    with torch.inference_mode():
        logits = network(normalised(read)).numpy()
    expected = Classifier(read).run_pixels(read.golden().pixels)[1]
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert len(np.unique(expected.round(3), axis=0)) > 1


def test_timms_description_says_what_the_record_says(bundle: Path) -> None:
    record = read_bundle(bundle).record
    config = json.loads((bundle / TIMM_CONFIG_FILE).read_text(encoding="utf-8"))
    assert config["architecture"] == record.architecture == "smallnet"
    assert config["label_names"] == list(record.classes)
    assert config["num_classes"] == len(record.classes) == 3
    assert config["pretrained_cfg"]["input_size"] == [record.preprocess.channels, *[record.preprocess.size] * 2]
    assert config["pretrained_cfg"]["interpolation"] == record.preprocess.interpolation


def test_the_graph_alone_tells_its_classes_and_its_preprocessing(bundle: Path) -> None:
    record = read_bundle(bundle).record
    graph = onnx.load(bundle / ONNX_FILE)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession((bundle / ONNX_FILE).read_bytes(), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["classes"]) == list(record.classes)
    assert json.loads(told["preprocess"]) == json.loads(json.dumps(record.preprocess.as_dict()))
    assert json.loads(told["calibration"]) == record.decisions.calibration.as_dict()
    assert told["name"] == record.name
    (pixels,) = session.get_inputs()
    side, channels = record.preprocess.size, record.preprocess.channels
    assert (pixels.name, pixels.type, pixels.shape[1:]) == ("pixels", "tensor(uint8)", [side, side, channels])
    assert [output.name for output in session.get_outputs()] == ["probabilities", "logits", "features"]
    assert {opset.domain for opset in graph.opset_import} <= {"", "ai.onnx"}


def test_the_card_names_the_classes_and_the_score(bundle: Path) -> None:
    record = read_bundle(bundle).record
    card = (bundle / CARD_FILE).read_text(encoding="utf-8")
    assert all(name in card for name in record.classes)
    assert f"| accuracy | {record.metrics['accuracy']['value']:.4f} |" in card


def test_a_killed_writer_leaves_the_former_bundle(bundle: Path, tmp_path: Path) -> None:
    """Killed by the kernel between the files and the rename: the old bundle is whole, whatever lies beside it."""
    before = read_bundle(bundle)
    script = (
        "import os, signal, sys\nfrom eyebright import atomic, bundle\n"
        "read = bundle.read_bundle(sys.argv[1])\n"
        "files = {n: read.file(n).read_bytes() for n in bundle.REQUIRED_FILES if n != bundle.GOLDEN_FILE}\n"
        "atomic.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "bundle.write_bundle(read.path, read.record, files=files, golden=read.golden())\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(bundle)], check=False)
    assert killed.returncode == -9
    assert read_bundle(bundle) == before
    left = [path for path in tmp_path.iterdir() if path != bundle]
    assert all(path.name.startswith(".") and path.name.endswith(".partial") for path in left)
