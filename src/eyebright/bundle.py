"""The artefact: a folder that holds a whole classifier, how it was measured, and the means to check it.

    bundle.json         what it is (`BundleRecord`) and the SHA-256 of every other file
    model.safetensors   the weights
    config.json         the same network as timm describes it (`timm.create_model("local-dir:...")` reads it)
    model.onnx          uint8 (N, H, W, C) pixels to calibrated probabilities (N, K), logits (N, K) and, where the
                        network has such, features (N, F)
    decisions.npz       arrays of the outlier score, where there is one
    golden.npz          a few images as bytes and as pixels, and what must be said of them
    README.md           the model card

Reading needs no torch and executes nothing. Hashes are checked whenever a bundle is opened.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eyebright.atomic import replacing_folder, write_json
from eyebright.decisions import Calibration, Decisions
from eyebright.errors import (
    BundleError,
    ConfigError,
    CorruptBundleError,
    ForeignBundleError,
    NewerBundleError,
    did_you_mean_beside,
)
from eyebright.preprocess import Preprocess

FORMAT_NAME = "eyebright-bundle"
FORMAT_VERSION = 2
RECORD_FILE = "bundle.json"
WEIGHTS_FILE = "model.safetensors"
TIMM_CONFIG_FILE = "config.json"
ONNX_FILE = "model.onnx"
GOLDEN_FILE = "golden.npz"
DECISIONS_FILE = "decisions.npz"
CARD_FILE = "README.md"
REQUIRED_FILES = (WEIGHTS_FILE, TIMM_CONFIG_FILE, ONNX_FILE, GOLDEN_FILE, CARD_FILE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BundleRecord:
    """What `bundle.json` says.

    Attributes:
        name: the run's name.
        architecture: timm name of the network.
        architecture_arguments: keyword arguments for `timm.create_model` beside the number of classes.
        classes: class names in the order of the network's outputs.
        preprocess: how images become input.
        decisions: how the network's output becomes answers; fitted on the validation split.
        data_fingerprint: fingerprint of the manifest that the classifier was trained on.
        metrics: metrics of the test split with their intervals.
        licence: licence of the weights that training began from.
        versions: versions of the libraries that made the bundle.
        created: time of writing, ISO 8601, UTC.
        superclasses: the class above every class; empty when the data has one level of classes.
        files: SHA-256 of every other file of the bundle; filled while writing.
        format, format_version: what kind of record this is.
    """

    name: str
    architecture: str
    architecture_arguments: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    decisions: Decisions
    data_fingerprint: str
    metrics: dict[str, Any]
    licence: str
    versions: dict[str, str]
    created: str
    superclasses: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    format: str = FORMAT_NAME
    format_version: int = FORMAT_VERSION

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **values,
            "classes": list(self.classes),
            "preprocess": self.preprocess.as_dict(),
            "decisions": self.decisions.as_dict(),
        }


_CONCLUDED = ("sets", "outlier_scores")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GoldenSamples:
    """A few images and what the classifier must say of them.

    Attributes:
        ids: content ids, one for each sample.
        images: the image files as bytes; None where the source has arrays instead of files or the file is large.
        pixels: uint8 (K, size, size, channels), what `Preprocess.pixels` gave for them.
        probabilities: float32 (K, classes), calibrated.
        sets: bool (K, classes), the prediction sets; None without such.
        outlier_scores: float32 (K,), of the score in use; None without one.
    """

    ids: tuple[str, ...]
    images: tuple[bytes | None, ...]
    pixels: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    sets: npt.NDArray[np.bool_] | None = None
    outlier_scores: npt.NDArray[np.float32] | None = None

    def write(self, path: Path) -> None:
        """Write to an .npz file without pickles."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "ids": np.array(self.ids, dtype=np.str_),
            "pixels": self.pixels,
            "probabilities": self.probabilities.astype(np.float32),
        }
        arrays |= {name: value for name in _CONCLUDED if (value := getattr(self, name)) is not None}
        for index, image in enumerate(self.images):
            if image is not None:
                arrays[f"image_{index}"] = np.frombuffer(image, dtype=np.uint8)
        with path.open("wb") as handle:
            np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> GoldenSamples:
        """Read what `write` wrote.

        Raises:
            CorruptBundleError: the file is not such an archive.
        """
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                ids = tuple(str(name) for name in arrays["ids"])
                images = tuple(
                    arrays[f"image_{index}"].tobytes() if f"image_{index}" in arrays else None
                    for index in range(len(ids))
                )
                concluded = {name: arrays[name] for name in _CONCLUDED if name in arrays}
                return cls(
                    ids=ids, images=images, pixels=arrays["pixels"], probabilities=arrays["probabilities"], **concluded
                )
        except Exception as error:  # a damaged archive raises what zipfile, zlib, struct or NumPy happen to
            raise CorruptBundleError(
                f"{path} cannot be read: {error}", expected="an .npz archive of golden samples", remedy=_COPY_AGAIN
            ) from error


_COPY_AGAIN = "copy the bundle again from where it was made, or train again"
_WHOLE = f"every file that {RECORD_FILE} lists, with the hash that it lists"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose record was read and whose files were checked against their hashes."""

    path: Path
    record: BundleRecord

    def file(self, name: str) -> Path:
        """Path of one of the bundle's files."""
        return self.path / name

    def golden(self) -> GoldenSamples:
        """The golden samples."""
        return GoldenSamples.read(self.file(GOLDEN_FILE))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_bundle(
    folder: Path,
    record: BundleRecord,
    *,
    files: Mapping[str, bytes],
    golden: GoldenSamples,
) -> Bundle:
    """Write a whole bundle or nothing.

    Args:
        folder: where it goes; a former bundle there is replaced in one step.
        record: what it is; `files` in it is filled here.
        files: content of every file but `bundle.json`, `golden.npz` and `decisions.npz`.
        golden: the golden samples.
    """
    with replacing_folder(folder) as temporary:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        golden.write(temporary / GOLDEN_FILE)
        arrays = record.decisions.arrays()
        if arrays:
            with (temporary / DECISIONS_FILE).open("wb") as handle:
                np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]
        missing = [name for name in REQUIRED_FILES if not (temporary / name).is_file()]
        assert not missing, f"a bundle needs {missing}"
        hashes = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        record = dataclasses.replace(record, files=hashes)
        write_json(temporary / RECORD_FILE, record.as_dict())
    return Bundle(folder, record)


def read_bundle(folder: str | Path) -> Bundle:
    """Open a bundle, or the bundle of a run, and check every file against its hash.

    Raises:
        BundleError: there is no bundle there.
        ForeignBundleError: the folder holds something else.
        NewerBundleError: a later Eyebright wrote it.
        CorruptBundleError: a file is missing, truncated or altered.
    """
    path = Path(folder)
    if not path.exists():
        raise BundleError(
            f"{path} does not exist{did_you_mean_beside(path)}",
            expected="the folder of a run (runs/NAME) or of a bundle",
            remedy="check the path; `ls runs` shows the runs of this folder",
        )
    if not (path / RECORD_FILE).exists() and (path / "bundle").is_dir():
        path = path / "bundle"
    record_path = path / RECORD_FILE
    if not record_path.is_file():
        if (path / "config.yaml").is_file() and (path / "state.json").is_file():
            raise BundleError(
                f"the run {path} has no bundle: it did not finish",
                expected="a run that finished",
                remedy=f"continue it with `eyebright resume {path}`",
            )
        raise ForeignBundleError(
            f"{path} is not a bundle: it has no {RECORD_FILE}",
            expected=f"a folder with {RECORD_FILE}, {', '.join(REQUIRED_FILES)}",
            remedy="give the folder of a run that finished, or its folder `bundle`",
        )
    record = _read_record(record_path)
    for name in sorted({*REQUIRED_FILES, *record.files}):
        file = path / name
        if name not in record.files or Path(name).name != name:
            raise CorruptBundleError(f"{record_path} lists no hash for {name}", expected=_WHOLE, remedy=_COPY_AGAIN)
        if not file.is_file():
            raise CorruptBundleError(f"{file} is missing", expected=_WHOLE, remedy=_COPY_AGAIN)
        if sha256_of(file) != record.files[name]:
            raise CorruptBundleError(
                f"{file} is not what was written: its SHA-256 differs from the one in {RECORD_FILE}",
                expected=_WHOLE,
                remedy=_COPY_AGAIN,
            )
    return Bundle(path, record)


def _read_record(path: Path) -> BundleRecord:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptBundleError(
            f"{path} cannot be read: {error}", expected="the JSON record of a bundle", remedy=_COPY_AGAIN
        ) from error
    if not isinstance(values, dict) or values.get("format") != FORMAT_NAME:
        raise ForeignBundleError(
            f"{path} was not written by Eyebright",
            expected=f'a record with "format": "{FORMAT_NAME}"',
            remedy="give the folder of a run that finished, or its folder `bundle`",
        )
    version = values.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise CorruptBundleError(
            f"{path} has format_version {version!r}", expected="a whole number from 1", remedy=_COPY_AGAIN
        )
    if version > FORMAT_VERSION:
        raise NewerBundleError(
            f"{path} has bundle format {version}",
            expected=f"at most {FORMAT_VERSION}, which is the latest that this Eyebright reads",
            remedy="upgrade: pip install --upgrade eyebright",
        )
    known = {field.name for field in dataclasses.fields(BundleRecord)}
    try:
        fields = {key: value for key, value in values.items() if key in known}
        fields["classes"] = tuple(_strings(fields["classes"]))
        fields["preprocess"] = Preprocess.from_dict(fields["preprocess"])
        fields["decisions"] = _read_decisions(values, path.parent)
        _check_superclasses(fields.get("superclasses", {}), fields["classes"])
        record = BundleRecord(**fields)
        if not isinstance(record.files, dict) or not isinstance(record.architecture_arguments, dict):
            raise TypeError("files and architecture_arguments are not JSON objects")
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise CorruptBundleError(
            f"{path} lacks or misstates a field: {error}", expected="every field of a record", remedy=_COPY_AGAIN
        ) from error
    if len(set(record.classes)) != len(record.classes) or len(record.classes) < 2:
        raise CorruptBundleError(
            f"{path} has the classes {list(record.classes)!r}",
            expected="two or more different class names",
            remedy=_COPY_AGAIN,
        )
    return record


def _read_decisions(values: Mapping[str, Any], folder: Path) -> Decisions:
    if values["format_version"] == 1:  # which knew a temperature and nothing else
        return Decisions(calibration=Calibration(temperature=float(values["temperature"])))
    arrays = {}
    if DECISIONS_FILE in values["files"]:
        file = folder / DECISIONS_FILE
        try:
            with file.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except Exception as error:  # a damaged archive raises what zipfile, zlib, struct or NumPy happen to
            raise CorruptBundleError(f"{file} cannot be read: {error}", expected=_WHOLE, remedy=_COPY_AGAIN) from error
    decisions = Decisions.from_dict(values["decisions"], arrays)
    decisions.check(len(values["classes"]))
    return decisions


def _check_superclasses(values: Any, classes: Sequence[str]) -> None:
    if not isinstance(values, dict) or not all(isinstance(name, str) and name for name in values.values()):
        raise TypeError(f"superclasses are {values!r}")
    if values and set(values) != set(classes):
        odd = sorted(set(values) ^ set(classes))
        raise ValueError(f"superclasses and classes differ in {', '.join(map(repr, odd[:5]))}")


def _strings(values: Sequence[Any]) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"class names are {values!r}")
    return values
