"""`eyebright audit`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eyebright.cli.shell import print_json, progress_on_screen

if TYPE_CHECKING:
    from eyebright.data.sources import Source
    from eyebright.jobs.audit import AuditFolder

_MARKS = {"critical": "✖", "warning": "▲", "note": "●", "passed": "✔"}


def command(
    data: Annotated[
        str,
        typer.Argument(
            help="Your images: a folder, a table, an archive, a name, ... as for train.", show_default=False
        ),
    ],
    fix: Annotated[
        Path | None, typer.Option(help="Write a plan of what to change, for you to edit.", show_default=False)
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(help="Carry out an edited plan: a new manifest, no file is touched.", show_default=False),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="With --apply: where the new manifest goes. Default: beside the plan.", show_default=False),
    ] = None,
    review: Annotated[
        bool, typer.Option("--review", help="Open a page to accept or reject labels and duplicates by keyboard.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for audits.")] = Path("audits"),
    name: Annotated[str | None, typer.Option(help="Name of the audit. Default: made from the data.")] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit with 3 when a finding is as grave as this: critical, warning or note.")
    ] = None,
    superclass: Annotated[
        str | None, typer.Option(help="Where superclasses come from: folders, column:NAME, or a YAML file.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    download: Annotated[bool, typer.Option("--download", help="Allow a named data set to be downloaded.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print everything as JSON, and nothing else.")] = False,
) -> None:
    """Look at your images before anything is learnt from them.

    Finds broken files, duplicates and leaks, wrong labels, shortcuts, imbalance and drift between splits, and writes a
    page with pictures. Nothing on the disk is moved or deleted.

    \b
    Examples:
      eyebright audit photos/
      eyebright audit photos/ --fix plan.yaml
      eyebright audit photos/ --apply plan.yaml --manifest clean.parquet
      eyebright train clean.parquet
      eyebright audit photos/ --review
    """
    from eyebright.data.audit.findings import SEVERITIES
    from eyebright.errors import UsageError, did_you_mean
    from eyebright.jobs.audit import audit, open_audited
    from eyebright.jobs.plans import write_audit_plan

    grave = SEVERITIES[:-1]
    if fail_on is not None and fail_on not in grave:
        raise UsageError(f"--fail-on {fail_on!r}{did_you_mean(fail_on, grave)}", expected=f"one of {', '.join(grave)}")
    if manifest is not None and apply is None:
        raise UsageError("--manifest was given without --apply", expected="both, or neither")
    if apply is not None and (fix is not None or review):
        raise UsageError(
            "--apply was given with --fix or --review", expected="one of them: a plan is written, edited, then applied"
        )
    source = open_audited(data, superclass=superclass, consent_download=download)
    if apply is not None:
        _apply(source, apply, manifest or apply.with_suffix(".parquet"), json_)
        return
    with progress_on_screen(quiet=json_) as progress:
        done = audit(source, output=output, name=name, device=device, seed=seed, progress=progress)
    if review:
        _review(done)
    if fix is not None:
        write_audit_plan(done, fix)
    if json_:
        print_json({**done.audit.as_dict(), "page": str(done.page)})
    else:
        print(describe_audit(done, fix))
    if fail_on is not None and grave.index(fail_on) >= SEVERITIES.index(done.audit.worst()):
        raise typer.Exit(3)


def _apply(source: Source, plan: Path, target: Path, json_: bool) -> None:
    from eyebright.jobs.plans import apply_audit_plan

    with progress_on_screen(quiet=json_) as progress:
        before, after = apply_audit_plan(source, plan, target, progress=progress)
    facts = {
        "manifest": str(target),
        "images_used_before": before.ok.num_rows,
        "images_used": after.ok.num_rows,
        "classes": list(after.classes),
        "fingerprint": after.fingerprint(),
    }
    if json_:
        print_json(facts)
    else:
        print(
            f"{target}: {after.ok.num_rows:,} images used, {before.ok.num_rows:,} before; nothing on disk was changed"
        )
        print(f"next: eyebright train {shlex.quote(str(target))}")


def _review(done: AuditFolder) -> None:
    from eyebright.review.server import serve_review

    if not done.audit.suggestions:
        print("there is nothing to review: the audit suggests no change", file=sys.stderr)
        return
    serve_review(
        done.audit,
        images=done.picture,
        corrections=done.corrections,
        announce=lambda text: print(text, file=sys.stderr, flush=True),
    )


def describe_audit(done: AuditFolder, plan: Path | None) -> str:
    """What the audit found, gravest first, and where to go from here: lines for a terminal."""
    from eyebright.data.audit.findings import SEVERITIES

    found = sorted(done.audit.findings, key=lambda finding: SEVERITIES.index(finding.severity))
    passed = sum(finding.severity == "passed" for finding in found)
    manifest = done.audit.manifest
    lines = [f"{manifest.spec}: {manifest.ok.num_rows:,} usable images in {len(manifest.classes)} classes", ""]
    for finding in found:
        if finding.severity != "passed":
            lines.append(f"{_MARKS[finding.severity]} {finding.severity:<9} {finding.title}")
            lines.append(f"{'':<12} {finding.remedy}")
    lines.append(f"{_MARKS['passed']} {passed} checks passed")
    lines += [f"  not checked: {text}" for text in done.audit.not_checked]
    lines += ["", f"with pictures: {done.page}"]
    if plan is not None:
        lines.append(f"plan: {plan}; edit it, then `eyebright audit {shlex.quote(manifest.spec)} --apply {plan}`")
    elif done.audit.suggestions:
        count = len(done.audit.suggestions)
        lines.append(f"{count:,} suggestions: `--fix plan.yaml` writes them down, `--review` shows them one by one")
    return "\n".join(lines)
