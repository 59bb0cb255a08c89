"""The hierarchy of a manifest: which superclass every class has."""

from __future__ import annotations

from eyebright.data.manifest import Manifest
from eyebright.errors import DataError


def superclasses_of(manifest: Manifest) -> dict[str, str]:
    """The superclass of every class, in the order of the classes; empty when there is no hierarchy.

    Raises:
        DataError: among the used images a class has two superclasses, or only some classes have one.
    """
    rows = manifest.ok.group_by(["label", "superclass"]).aggregate([]).to_pylist()
    found: dict[str, str] = {}
    several: set[str] = set()
    without: set[str] = set()
    for row in rows:
        label, superclass = row["label"], row["superclass"]
        if superclass is None:
            without.add(label)
        elif found.setdefault(label, superclass) != superclass:
            several.add(label)
    if not found:
        return {}
    if several or without:
        said = [f"{name!r} has more than one" for name in sorted(several)]
        said += [f"images of {name!r} have none" for name in sorted(without)]
        raise DataError(
            f"the superclasses of the images contradict each other: {', '.join(said)}",
            expected="one superclass for every class",
            remedy="say the superclass of every class in a YAML file (--superclass FILE.yaml), or correct the plan "
            "that relabelled images",
        )
    return {name: found[name] for name in manifest.classes if name in found}
