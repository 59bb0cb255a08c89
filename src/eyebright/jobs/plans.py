"""Plans: written from an audit and what a person decided in its review, and carried out on a fresh scan."""

from __future__ import annotations

from pathlib import Path

from eyebright.config import DataConfig
from eyebright.data.audit.applying import apply_plan
from eyebright.data.audit.corrections import read_corrections, with_corrections
from eyebright.data.audit.plan import plan_of
from eyebright.data.audit.plan_file import read_plan, write_plan
from eyebright.data.audit.properties import probe_images
from eyebright.data.cache import default_cache
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Source
from eyebright.data.sources.manifest_file import ManifestSource
from eyebright.errors import UsageError
from eyebright.jobs.audit import AuditFolder
from eyebright.jobs.prepare import resolve_source
from eyebright.progress import Progress


def write_audit_plan(done: AuditFolder, path: Path) -> None:
    """Write the suggestions of an audit as a plan; what was decided in its review is brought in.

    Raises:
        UsageError: the file exists and is no plan, so that it is not ours to replace.
        StorageError: it cannot be written.
    """
    if path.exists():
        _refuse_foreign(path)
    plan = with_corrections(plan_of(done.audit), read_corrections(done.corrections))
    write_plan(path, plan)


def apply_audit_plan(source: Source, plan: Path, target: Path, *, progress: Progress) -> tuple[Manifest, Manifest]:
    """Scan the source and write the manifest that the plan makes of it; returns the one before and the one after.

    Raises:
        DataError: the plan is none, contradicts itself, or is for other images.
        UsageError: the target is not a Parquet file's name.
        StorageError: the manifest cannot be written.
    """
    if target.suffix != ".parquet":
        raise UsageError(f"--manifest {target}", expected="the name of a Parquet file, as clean.parquet")
    changes = read_plan(plan)
    before = Manifest.scan(source, max_pixels=DataConfig().max_pixels, progress=progress)
    _, failures = probe_images(before, source, progress=progress, cache=default_cache())
    before = before.mark(failures)
    # The new manifest names the images themselves, and from anywhere: not another manifest, nor a relative path.
    origin = source.origin if isinstance(source, ManifestSource) else source
    before = Manifest(before.table, classes=before.classes, spec=resolve_source(origin.spec), kind=origin.kind)
    after = apply_plan(before, changes)
    after.write(target)
    return before, after


def _refuse_foreign(path: Path) -> None:
    try:
        head = path.read_text(encoding="utf-8", errors="replace")[:4000]
    except OSError:
        head = ""
    if "fingerprint:" not in head:
        raise UsageError(
            f"{path} exists and is no plan",
            expected="a new name, or a plan to be replaced",
            remedy="choose another name",
        )
