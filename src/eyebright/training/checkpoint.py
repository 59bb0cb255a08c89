"""Checkpoints: all that a loop needs to go on as if nothing had happened, without pickles.

A checkpoint is a folder with `tensors.safetensors` (weights, moving average, optimiser moments, best weights) and
`state.json` (counters, and how the optimiser's tensors belong to its parameters). The folder is written under another
name and renamed, so it is whole or absent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from eyebright.atomic import replacing_folder, write_json
from eyebright.errors import CorruptBundleError

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"


def save_checkpoint(
    folder: Path,
    *,
    modules: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    tensors: dict[str, dict[str, torch.Tensor]],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint, replacing the former one in one step.

    Args:
        folder: where it goes.
        modules: networks by name.
        optimiser: its moments are kept by the number of the parameter.
        tensors: further groups of tensors by name (such as the best weights).
        state: plain values for JSON.
    """
    flat: dict[str, torch.Tensor] = {}
    for name, module in modules.items():
        flat.update({f"{name}/{key}": value for key, value in module.state_dict().items()})
    for name, group in tensors.items():
        flat.update({f"{name}/{key}": value for key, value in group.items()})
    moments = optimiser.state_dict()["state"]
    for number, entry in moments.items():
        flat.update({f"optimiser/{number}/{key}": torch.as_tensor(value) for key, value in entry.items()})
    # Clones, because safetensors refuses tensors that share memory (and channels-last ones that are not contiguous).
    ready = {key: value.detach().cpu().contiguous().clone() for key, value in flat.items()}
    with replacing_folder(folder) as temporary:
        save_file(ready, temporary / TENSORS_FILE)
        write_json(temporary / STATE_FILE, state)


def load_checkpoint(
    folder: Path,
    *,
    modules: dict[str, nn.Module],
    optimiser: torch.optim.Optimizer,
) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]] | None:
    """Put a checkpoint back into `modules` and `optimiser`.

    Returns:
        Its plain values and its further groups of tensors; None when there is no checkpoint.

    Raises:
        CorruptBundleError: it does not fit, or a file is damaged.
    """
    if not (folder / STATE_FILE).is_file():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        flat = load_file(folder / TENSORS_FILE)
        groups: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in flat.items():
            name, _, rest = key.partition("/")
            groups.setdefault(name, {})[rest] = value
        for name, module in modules.items():
            module.load_state_dict(groups.pop(name))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in groups.pop("optimiser", {}).items():
            number, _, moment = key.partition("/")
            moments.setdefault(int(number), {})[moment] = value
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        for number_, entry in moments.items():
            for moment, value in entry.items():
                if value.ndim:  # the fused step walks memory: moments need the memory order of their parameter
                    entry[moment] = torch.empty_like(parameters[number_]).copy_(value)
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CorruptBundleError(
            f"the checkpoint {folder} cannot be used: {error}",
            remedy="remove that folder and resume again: training starts over with the same split",
        ) from error
    return state, groups
