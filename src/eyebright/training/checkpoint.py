"""Checkpoints: all that a loop needs to go on as if nothing had happened, without pickles.

A folder of checkpoints holds the last two, `step-000000123/` each, with

- `tensors.safetensors`: weights, moving average, optimiser moments, best weights, random states;
- `state.json`: counters and other plain values, and how the tensors belong together;
- `manifest.json`: size and hash of the two, so that a damaged file is noticed.

A checkpoint is written under another name and renamed once, so it is whole or absent whenever the process is killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from eyebright.atomic import TEMPORARY_SUFFIX, replacing_folder, write_json
from eyebright.errors import CorruptBundleError, UsageError
from eyebright.training import random_state

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
MANIFEST_FILE = "manifest.json"
KEPT = 2
_FORMAT = 1
# A second checkpoint of the same step gets `.1`: nothing is ever replaced, so nothing is lost half-way.
_NAME = re.compile(r"step-(\d{9,})(?:\.(\d+))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a checkpoint held besides the modules, the optimiser, the scaler and the random states.

    Attributes:
        step: the step that it was written after.
        state: the plain values that were saved.
        tensors: the groups of tensors that were saved, on the CPU.
        damaged: names of newer checkpoints that are damaged; this one is the newest whole one.
        not_restored: what could not be put back in this process, such as `random state torch-cuda-1`.
    """

    step: int
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    damaged: tuple[str, ...] = ()
    not_restored: tuple[str, ...] = ()


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    modules: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    tensors: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint, with the random states of this process, and remove all but the last two.

    Args:
        folder: of the checkpoints of one training; a single process writes there.
        step: steps done. Checkpoints of later steps are removed: what is saved now is the newest.
        modules: networks by name, as plain modules (not wrapped for several devices or compiled).
        optimiser: its state is kept by the number of the parameter; its rates and other settings are not kept.
        scaler: of mixed precision, if any.
        tensors: further groups of tensors by name (such as the best weights); a group may be empty.
        state: plain values for JSON.

    Raises:
        StorageError: it could not be written; the former checkpoints are still there.
    """
    flat: dict[str, Tensor] = {}
    for name, module in modules.items():
        flat |= {f"modules/{name}/{key}": value for key, value in module.state_dict().items()}
    for name, group in tensors.items():
        flat |= {f"tensors/{name}/{key}": value for key, value in group.items()}
    plain: dict[str, dict[str, Any]] = {}  # entries of the optimiser that are no tensors keep their type in JSON
    for number, entries in optimiser.state_dict()["state"].items():
        plain[str(number)] = {}
        for key, value in entries.items():
            if isinstance(value, Tensor):
                flat[f"optimiser/{number}/{key}"] = value
            else:
                plain[str(number)][key] = value
    random_tensors, random_values = random_state.capture()
    flat |= {f"random/{key}": value for key, value in random_tensors.items()}
    document = {
        "format": _FORMAT,
        "step": step,
        "state": state,
        "modules": list(modules),
        "tensors": list(tensors),
        "optimiser": {"kind": type(optimiser).__name__, "shapes": _shapes(optimiser), "state": plain},
        "scaler": scaler.state_dict() if scaler else {},
        "random": random_values,
    }
    # Clones, because safetensors refuses tensors that share memory (and channels-last ones that are not contiguous).
    ready = {key: value.detach().cpu().contiguous().clone() for key, value in flat.items()}
    _remove(folder.glob(f".step-*{TEMPORARY_SUFFIX}"))  # what killed processes left half done fills the disk
    target = _free_name(folder, step)
    with replacing_folder(target) as temporary:
        _write_tensors(ready, temporary / TENSORS_FILE)
        write_json(temporary / STATE_FILE, document)
        files = {name: _size_and_hash(temporary / name) for name in (TENSORS_FILE, STATE_FILE)}
        write_json(temporary / MANIFEST_FILE, {"format": _FORMAT, "files": files})
    newest_first = _names(folder)
    current = newest_first.index(target.name)
    _remove(folder / name for name in newest_first[:current] + newest_first[current + KEPT :])


def load_checkpoint(
    folder: Path,
    *,
    modules: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
) -> Loaded | None:
    """Put the newest whole checkpoint back into modules, optimiser, scaler and the random states of this process.

    Nothing is changed when it does not fit. The devices may be others than those it was written from.

    Returns:
        What else it held; None when there is no checkpoint.

    Raises:
        CorruptBundleError: there are checkpoints, and all are damaged.
        UsageError: it belongs to another network or optimiser.
    """
    names = _names(folder)
    if not names:
        return None
    problems: dict[str, str] = {}
    for name in names:
        try:
            document, flat = _read(folder / name)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            problems[name] = str(error)
            continue
        return _put_back(folder / name, document, flat, modules, optimiser, scaler, damaged=tuple(problems))
    raise CorruptBundleError(
        f"no checkpoint in {folder} can be used: " + "; ".join(f"{name}: {text}" for name, text in problems.items()),
        expected="files as they were written",
        remedy="remove that folder and resume again: training starts over with the same split",
    )


def _put_back(
    place: Path,
    document: dict[str, Any],
    flat: dict[str, Tensor],
    modules: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None,
    *,
    damaged: tuple[str, ...],
) -> Loaded:
    weights = {name: _group(flat, f"modules/{name}/") for name in document["modules"]}
    misfits = [*_module_misfits(weights, modules), *_optimiser_misfits(document["optimiser"], optimiser)]
    if misfits:
        raise UsageError(
            f"the checkpoint {place} belongs to another training: {'; '.join(misfits)}",
            expected="the network, the trained part of it and the optimiser that it was written with",
            remedy="resume with the configuration of that run, or start a new run",
        )
    for name, module in modules.items():
        module.load_state_dict(weights[name])
    parameters = _parameters(optimiser)
    moments: dict[int, dict[str, Any]] = {
        int(number): dict(entries) for number, entries in document["optimiser"]["state"].items()
    }
    for key, value in _group(flat, "optimiser/").items():
        number, _, moment = key.partition("/")
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:  # fused steps walk memory: a moment needs the order of its parameter
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        moments[int(number)][moment] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    not_restored = []
    if scaler is not None and scaler.is_enabled():
        if document["scaler"]:
            scaler.load_state_dict(document["scaler"])
        else:
            not_restored.append("scale of the gradients")
    absent = random_state.restore(_group(flat, "random/"), document["random"])
    not_restored += [f"random state {name}" for name in absent]
    return Loaded(
        step=document["step"],
        state=document["state"],
        tensors={name: _group(flat, f"tensors/{name}/") for name in document["tensors"]},
        damaged=damaged,
        not_restored=tuple(not_restored),
    )


def _read(place: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """State and tensors, once size and hash of both files were found right; ValueError or OSError otherwise."""
    files = json.loads((place / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
    content = {}
    for name in (TENSORS_FILE, STATE_FILE):
        content[name] = (place / name).read_bytes()
        if {"bytes": len(content[name]), "blake2b": _digest(content[name])} != files[name]:
            raise ValueError(f"{name} is not as it was written")
    document: dict[str, Any] = json.loads(content[STATE_FILE])
    if document["format"] != _FORMAT:
        raise ValueError(f"its format is {document['format']}, and this version reads format {_FORMAT}")
    return document, safetensors.torch.load(content[TENSORS_FILE])


def _module_misfits(weights: dict[str, dict[str, Tensor]], modules: dict[str, nn.Module]) -> list[str]:
    if set(weights) != set(modules):
        return [f"it holds {', '.join(sorted(weights))}, and {', '.join(sorted(modules))} was asked for"]
    misfits = []
    for name, module in modules.items():
        here, there = module.state_dict(), weights[name]
        differing = [
            f"{key} is {_shape(there[key])} there and {_shape(value)} here"
            for key, value in here.items()
            if key in there and there[key].shape != value.shape
        ]
        missing = [f"{key} is only here" for key in here if key not in there]
        unknown = [f"{key} is only there" for key in there if key not in here]
        found = missing + unknown + differing
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            misfits.append(f"weights of the {name}: {', '.join(found[:3])}{more}")
    return misfits


def _optimiser_misfits(saved: dict[str, Any], optimiser: torch.optim.Optimizer) -> list[str]:
    kind = type(optimiser).__name__
    if saved["kind"] != kind:
        return [f"its optimiser is {saved['kind']}, and {kind} was asked for"]
    here, there = _shapes(optimiser), saved["shapes"]
    if len(here) != len(there):
        return [f"its optimiser trains {len(there)} tensors, and {len(here)} are to be trained here"]
    for number, (mine, other) in enumerate(zip(here, there, strict=True)):
        if mine != other:
            return [f"tensor {number} of its optimiser has shape {other}, and {mine} here"]
    return []


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """In the order in which `optimiser.state_dict()` numbers them."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _shapes(optimiser: torch.optim.Optimizer) -> list[list[int]]:
    return [list(parameter.shape) for parameter in _parameters(optimiser)]


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"


def _group(flat: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        safetensors.torch.save_file(tensors, path)
    except SafetensorError as error:  # it tells of a full disk in words only
        found = re.search(r"os error (\d+)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number)) from error


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _size_and_hash(path: Path) -> dict[str, Any]:
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.blake2b(digest_size=16))
    return {"bytes": path.stat().st_size, "blake2b": digest.hexdigest()}


def _names(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder, newest first."""
    found = []
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(entry.name)
        if match is not None:
            found.append((int(match[1]), int(match[2] or 0), entry.name))
    return [name for *_, name in sorted(found, reverse=True)]


def _free_name(folder: Path, step: int) -> Path:
    name = f"step-{step:09d}"
    # One more than the highest there is, never a gap: the newest must sort last.
    numbers = [int(match[2] or 0) for match in map(_NAME.fullmatch, _names(folder)) if match and int(match[1]) == step]
    return folder / (f"{name}.{max(numbers) + 1}" if numbers else name)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
