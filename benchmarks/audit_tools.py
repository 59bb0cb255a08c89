"""One audit tool on one folder of images, in a process of its own: what it says, and what that takes.

    PYTHON benchmarks/audit_tools.py TOOL FOLDER ANSWER.json

FOLDER has class folders, or `train`, `val` and `test` with class folders inside. A peer runs as its documentation tells
a user who wants that answer; PYTHON is the interpreter of an environment that has it. TOOL is one of:

    ours              `eyebright audit`, its page and its files included
    cleanvision       `Imagelab(data_path=FOLDER).find_issues()`. It stops at the first file that is no image; then it
                      is started again with the list of those that are, and the second run is the one timed.
    imagededup-phash  `PHash`, pairs up to its default of 10 bits
    imagededup-cnn    `CNN`, pairs from its default cosine of 0.9. Its default network needs a download; where the
                      weights are not in torch's cache, `CustomModel` with the network that we use (EfficientNet-Lite0,
                      from a package) and its own transforms takes the place.
    cleanlab          features of EfficientNet-Lite0 under timm's default transforms (224 pixels), and on these
                      (a) `Datalab.find_issues(features=...)`, (b) `cross_val_predict(LogisticRegression(), cv=5)` and
                      `find_label_issues`, (c) `Datalab(image_key=...)` for its check of spurious correlations.
                      The seconds of each include those of the features.

Only ours and imagededup say which files cannot be read; for cleanlab the readable ones are picked out beforehand.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOOLS = ("ours", "cleanvision", "imagededup-phash", "imagededup-cnn", "cleanlab")
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
MOBILENET_WEIGHTS = "mobilenet_v3_small-047dcff4.pth"
SPURIOUS_BELOW = 0.3  # cleanlab's own limit: its score falls as the correlation rises

Part = dict[str, Any]


class Clock:
    """Seconds since the process began its work, imports included."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._began


def part(what: str, clock: Clock, *, before: float = 0.0, shared: float = 0.0, **said: Any) -> Part:
    """What one tool says. Its seconds begin at `before`; `shared` seconds from earlier count all the same."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "what": what,
        "seconds": round(clock.seconds() - before + shared, 2),
        "peak_gib": round(peak / 2**20, 3),  # of the largest process; Linux counts in KiB
        "packages": versions(what),
        **said,
    }


def versions(what: str) -> str:
    names = {"ours": "eyebright", "cleanvision": "cleanvision", "imagededup": "imagededup", "cleanlab": "cleanlab"}
    package = names[what.split("-")[0]]
    return f"{package} {importlib.metadata.version(package)}"


def labelled_files(root: Path) -> list[str]:
    """Every file that lies where an image of a class would, relative to `root`; nothing hidden."""
    found = []
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        hidden = any(piece.startswith(".") for piece in place.parts)
        deep = 3 if place.parts[0] in ("train", "val", "test") else 2
        if path.is_file() and not hidden and len(place.parts) == deep and path.suffix.lower() in IMAGE_SUFFIXES:
            found.append(str(place))
    return found


def readable(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def ours(root: Path, clock: Clock) -> list[Part]:
    from eyebright.data.sources import open_source
    from eyebright.decode import STATUSES
    from eyebright.jobs import audit as job

    # The pairs and the groups are not in what the audit gives back: they are caught on their way.
    caught: dict[str, Any] = {}

    def catching(name: str) -> None:
        function: Callable[..., Any] = getattr(job, name)

        def caught_call(*given: Any, **named: Any) -> Any:
            outcome = function(*given, **named)
            caught[name] = (given, outcome)
            return outcome

        setattr(job, name, caught_call)

    catching("find_near_duplicates")
    catching("check_labels")
    with tempfile.TemporaryDirectory() as output:
        audit = job.audit(open_source(str(root)), output=output, name="audit").audit
    said = part("ours", clock)
    (evidence, *_), links = caught["find_near_duplicates"]
    of_labels = _suspicion(evidence, caught["check_labels"][0][1]) if "check_labels" in caught else {}
    table = audit.manifest.table
    rows = list(zip(*(table[name].to_pylist() for name in ("source", "id", "label", "status")), strict=True))
    places = defaultdict(list)  # copies with the same bytes share an id
    for source, image, _, status in rows:
        if status not in STATUSES and status != "stray":
            places[image].append(source)
    pairs = {
        tuple(sorted((one, other)))
        for link in links
        for one in places[evidence.ids[link.one]]
        for other in places[evidence.ids[link.other]]
    }
    for copies in places.values():
        pairs |= set(itertools.combinations(sorted(copies), 2))
    strongest: dict[tuple[str, str], float] = {
        (evidence.sources[link.one], evidence.sources[link.other]): round(link.placement.correlation, 4)
        for link in links
    }
    relabels = [suggestion for suggestion in audit.suggestions if suggestion.action == "relabel"]
    said |= {
        "pairs": sorted(pairs),
        "links": [[*pair, value] for pair, value in sorted(strongest.items(), key=lambda item: -item[1])],
        "flagged": [suggestion.sources[0] for suggestion in relabels],
        "relabels": [
            [s.sources[0], s.label, s.to, s.confidence] for s in sorted(relabels, key=lambda s: -s.confidence)
        ],
        # A repeat with the same bytes and label is not looked at: it is as suspect as its twin.
        "scores": {source: of_labels[image, label] for source, image, label, _ in rows if (image, label) in of_labels},
        "unreadable": [source for source, _, _, status in rows if status in STATUSES],
        "strays": [source for source, _, _, status in rows if status == "stray"],
        "shortcuts": [
            {
                "code": finding.code,
                "severity": finding.severity,
                "classes": [row["class"] for row in finding.details.get("classes", ())],
            }
            for finding in audit.findings
            if finding.code.startswith("shortcut-")
        ],
        "findings": [[f.code, f.severity, f.count, f.title] for f in audit.findings],
        "stages": dict(audit.facts["seconds"]),
        "settings": f"{audit.facts['network']} at {audit.facts['embedding_size']} pixels",
        "not_checked": list(audit.not_checked),
    }
    return [said]


def _suspicion(evidence: Any, groups: Any) -> dict[tuple[str, str], float]:
    """One less the out-of-fold probability of the given label, by content id and label: what the audit ranks by.

    The audit keeps the probabilities to itself, so they are computed a second time (not timed) by the same function
    with the same seed.
    """
    import numpy as np

    from eyebright.data.audit.labels import out_of_fold_probabilities

    index = evidence.label_index()
    known = np.flatnonzero(index >= 0)
    probabilities = out_of_fold_probabilities(
        evidence.embeddings[known], index[known], groups[known], classes=len(evidence.manifest.classes), seed=0
    )
    given = probabilities[np.arange(len(known)), index[known]]
    return {
        (evidence.ids[row], evidence.labels[row]): 1 - float(value)
        for row, value in zip(known.tolist(), given, strict=True)
    }


def cleanvision(root: Path, clock: Clock) -> list[Part]:
    from cleanvision import Imagelab

    note, lost, began = None, 0.0, clock.seconds()
    try:
        lab = Imagelab(data_path=str(root))
        lab.find_issues(verbose=False)
    except OSError as error:
        note = f"stops at a file that is no image ({type(error).__name__}: {error}); run again on the readable ones"
        files = [str(path) for path in sorted(root.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
        files = [path for path in files if readable(Path(path))]
        lost = clock.seconds() - began
        lab = Imagelab(filepaths=files)
        lab.find_issues(verbose=False)
    said = part("cleanvision", clock, before=lost)

    def inside(path: str) -> str:
        return str(Path(path).relative_to(root.absolute()))

    pairs = set()
    for kind in ("exact_duplicates", "near_duplicates"):
        for copies in lab.info[kind]["sets"]:
            pairs |= set(itertools.combinations(sorted(map(inside, copies)), 2))
    counts = {row["issue_type"]: int(row["num_images"]) for row in lab.issue_summary.to_dict("records")}
    return [said | {"pairs": sorted(pairs), "counts": counts, "note": note, "settings": "defaults"}]


def imagededup_phash(root: Path, clock: Clock) -> list[Part]:
    _without_download()
    from imagededup.methods import PHash

    encoder = PHash(verbose=False)
    encodings = encoder.encode_images(image_dir=str(root), recursive=True)
    found = encoder.find_duplicates(encoding_map=encodings)
    said = part("imagededup-phash", clock)
    return [said | _deduplicated(root, encodings, found) | {"settings": "defaults (10 bits)"}]


def imagededup_cnn(root: Path, clock: Clock) -> list[Part]:
    default = _without_download()
    from imagededup.methods import CNN

    if default:
        encoder, settings = CNN(verbose=False), "defaults (MobileNetV3 small, cosine 0.9)"
    else:
        from imagededup.utils import CustomModel

        network, transform = default_lite0()
        model = CustomModel(name="tf_efficientnet_lite0", model=network, transform=transform)
        encoder, settings = CNN(verbose=False, model_config=model), "EfficientNet-Lite0 as CustomModel, cosine 0.9"
    encodings = encoder.encode_images(image_dir=str(root), recursive=True, num_enc_workers=os.cpu_count() or 1)
    found = encoder.find_duplicates(encoding_map=encodings)
    said = part("imagededup-cnn", clock)
    return [said | _deduplicated(root, encodings, found) | {"settings": settings}]


def _without_download() -> bool:
    """Whether the weights of imagededup's default network are here; if not, its import shall not ask for them."""
    import torch
    import torchvision

    if (Path(torch.hub.get_dir()) / "checkpoints" / MOBILENET_WEIGHTS).is_file():
        return True
    plain = torchvision.models.mobilenet_v3_small
    # `import imagededup.methods` builds the network, even for those who only want hashes.
    torchvision.models.mobilenet_v3_small = lambda **_: plain()
    return False


def _deduplicated(root: Path, encodings: dict[str, Any], found: dict[str, list[str]]) -> Part:
    listed = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name[0] != "."}
    return {
        "pairs": sorted({tuple(sorted((one, str(other)))) for one, others in found.items() for other in others}),
        "unreadable": sorted(listed - set(encodings)),  # it warns of each: `Invalid image file`
    }


def default_lite0() -> tuple[Any, Any]:
    """EfficientNet-Lite0 that gives its features, and the transforms that timm has for it."""
    import timm

    from main_job import lite0

    network = lite0(0).eval()
    return network, timm.data.create_transform(**timm.data.resolve_model_data_config(network))


def cleanlab(root: Path, clock: Clock) -> list[Part]:
    import numpy as np
    from cleanlab import Datalab
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    files = [place for place in labelled_files(root) if readable(root / place)]
    names = sorted({Path(place).parent.name for place in files})
    labels = np.array([names.index(Path(place).parent.name) for place in files])
    features = lite0_features([root / place for place in files])
    shared = clock.seconds()

    lab = Datalab(data={"features": features, "label": labels}, label_name="label", verbosity=0)
    lab.find_issues(features=features)
    found = lab.get_issues("label")
    sets = lab.get_issues("near_duplicate")
    parts = [
        part("cleanlab-datalab", clock)
        | {
            "flagged": [files[row] for row in np.flatnonzero(found["is_label_issue"])],
            "scores": dict(zip(files, (1 - found["label_score"]).astype(float).tolist(), strict=True)),
            "pairs": sorted(
                {
                    tuple(sorted((files[one], files[int(other)])))
                    for one, others in enumerate(sets["near_duplicate_sets"])
                    for other in others
                    if sets["is_near_duplicate_issue"].iloc[one] and int(other) != one
                }
            ),
            "settings": "Datalab on EfficientNet-Lite0 features, defaults (10 nearest neighbours)",
        }
    ]

    began = clock.seconds()
    probabilities = cross_val_predict(LogisticRegression(), features, labels, cv=5, method="predict_proba")
    ranked = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    quality = get_label_quality_scores(labels, probabilities, method="self_confidence")
    parts.append(
        part("cleanlab-logistic", clock, before=began, shared=shared)
        | {
            "flagged": [files[row] for row in ranked],
            "scores": dict(zip(files, (1 - quality).astype(float).tolist(), strict=True)),
            "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
            "settings": "LogisticRegression() on EfficientNet-Lite0 features, cv=5, self-confidence",
        }
    )

    began = clock.seconds()
    try:
        from datasets import Dataset, Image
    except ImportError:
        return parts
    table = {"image": [str(root / place) for place in files], "label": labels.tolist()}
    lab = Datalab(
        Dataset.from_dict(table).cast_column("image", Image()), label_name="label", image_key="image", verbosity=0
    )
    lab.find_issues(issue_types={"image_issue_types": _image_issues(), "spurious_correlations": {}})
    correlations = lab.get_info("spurious_correlations")["correlations_df"].to_dict("records")
    parts.append(
        part("cleanlab-images", clock, before=began)
        | {
            "shortcuts": [
                {
                    "code": str(row["property"]).removesuffix("_score"),
                    "severity": "warning" if row["score"] < SPURIOUS_BELOW else "passed",
                    "classes": [],  # it does not say which class a property goes with
                    "score": round(float(row["score"]), 3),
                }
                for row in correlations
            ],
            "settings": "Datalab(image_key=...), spurious correlations below 0.3",
        }
    )
    return parts


def _image_issues() -> dict[str, dict[str, Any]]:
    from cleanlab.datalab.internal.adapter.constants import DEFAULT_CLEANVISION_ISSUES

    return dict(DEFAULT_CLEANVISION_ISSUES)


class Pictures:
    """The images at these paths, as torch's loader wants them."""

    def __init__(self, paths: list[Path], transform: Any) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB"))


def lite0_features(paths: list[Path]) -> Any:
    """Float32 (N, 1280)."""
    import torch
    from torch.utils.data import DataLoader

    network, transform = default_lite0()
    loader = DataLoader(Pictures(paths, transform), batch_size=64, num_workers=os.cpu_count() or 1)
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in loader]).numpy()


RUNNERS: dict[str, Callable[[Path, Clock], list[Part]]] = {
    "ours": ours,
    "cleanvision": cleanvision,
    "imagededup-phash": imagededup_phash,
    "imagededup-cnn": imagededup_cnn,
    "cleanlab": cleanlab,
}


def main() -> None:
    """Run one tool and write what it says."""
    clock = Clock()
    tool, folder, answer = sys.argv[1:]
    parts = RUNNERS[tool](Path(folder).resolve(), clock)
    Path(answer).write_text(json.dumps(parts))


if __name__ == "__main__":
    main()
