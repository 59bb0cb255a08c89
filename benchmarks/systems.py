"""The recipes that were made for other data, on the nearest real sets: accuracy with intervals, parameters, seconds.

    python benchmarks/systems.py --data ../shared/data/flowers ../shared/data/trashnet
    python benchmarks/systems.py --data ../shared/data/trashnet --ablation --epochs 12
    python benchmarks/systems.py --runs runs/systems

`animals-transfer` was published with EfficientNet-B0; here it has EfficientNet-Lite0, whose weights install without a
hub. The runs are trained by the command line, one after another; one that is complete in the output folder is not
trained again, so give another folder for other settings. `--runs` prints the table of complete runs: of folders that
hold runs, or of runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from machine import describe
from turns import Ledger, Measurement, eyebright, facts_of_run, markdown, median_and_range, with_interval

RECIPES = ("deep-v1", "animals-cnn", "animals-transfer")
OFFLINE_NETWORK = {"animals-transfer": "tf_efficientnet_lite0"}
ABLATION_RECIPE = "cnn-224"
# In the order of the published ablation: each adds one part to the network before it.
ABLATION_NETWORKS = ("cnn224_baseline", "cnn224_bn", "cnn224_dropout", "cnn224")


def complete_runs(folder: Path) -> list[Path]:
    """The run in this folder, or the runs below it, that are complete."""
    from eyebright.run import open_run

    candidates = [folder] if (folder / "state.json").is_file() else sorted(folder.glob("*/state.json"))
    runs = [path if path.is_dir() else path.parent for path in candidates]
    return [run for run in runs if open_run(run).state["state"] == "complete"]


def row_of(facts: Measurement) -> list[str]:
    """One line of the table."""
    stages = facts["stage_seconds"]
    epochs = " + ".join(str(len(seconds)) for seconds in stages.values())
    seconds = "; ".join(
        (f"{stage} " if len(stages) > 1 else "") + median_and_range(values) for stage, values in stages.items()
    )
    return [
        facts["data"],
        f"`{facts['recipe']}`, {facts['network']}, {facts['size']} px",
        with_interval(facts["accuracy"], facts["interval"]),
        with_interval(facts["macro_f1"], facts["macro_f1_interval"]),
        f"{facts['parameters']:,}",
        epochs or "0",
        seconds or "-",
        f"{facts['wall_seconds']:.0f} s",
        f"{facts['peak_gib']:.2f} GiB",
    ]


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[], help="folders of images, or whatever `train` takes")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--ablation", action="store_true", help=f"the four networks of {ABLATION_RECIPE} instead")
    parser.add_argument("--epochs", type=int, help="instead of those of the recipe")
    parser.add_argument("--size", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", help="network, in place of the recipe's own")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path, default=Path("runs/systems"))
    parser.add_argument("--runs", nargs="+", type=Path, default=[])
    given = parser.parse_args()

    print(describe())
    ledger = Ledger(None)
    for folder in given.runs:
        for run in complete_runs(folder):
            ledger.add(facts_of_run(run))
    if given.ablation:
        asked = [(ABLATION_RECIPE, network) for network in ABLATION_NETWORKS]
    else:
        asked = [(recipe, given.model or OFFLINE_NETWORK.get(recipe)) for recipe in given.recipes]
    options = [word for setting in given.settings for word in ("--set", setting)]
    options += ["--epochs", str(given.epochs)] if given.epochs is not None else ["--no-budget"]
    options += ["--size", str(given.size)] if given.size is not None else []
    for data in given.data:
        for recipe, network in asked:
            for seed in given.seeds:
                length = f"{given.epochs}-epochs" if given.epochs is not None else None
                name = "-".join(filter(None, (Path(data).name, recipe, network, length, f"seed-{seed}")))
                if done := complete_runs(given.output / name):
                    ledger.add(facts_of_run(done[0]))
                    continue
                choice = ["--recipe", recipe, "--seed", str(seed), "--device", given.device]
                choice += ["--model", network] if network else []
                ledger.add(eyebright(data, *choice, *options, output=given.output, name=name))
    columns = (
        "set", "recipe, network, input", "test accuracy (95 %)", "macro F1 (95 %)", "parameters", "epochs",
        "seconds an epoch", "wall time", "peak memory",
    )  # fmt: skip
    print("\n".join(markdown(columns, [row_of(facts) for facts in ledger.measurements])))


if __name__ == "__main__":
    main()
