"""The section about where the run comes from and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from eyebright.report.content import ReportContent
from eyebright.report.section import Section


def provenance_section(content: ReportContent) -> Section | None:
    """None when nothing of it is known."""
    if not (content.config or content.environment or content.preprocess or content.provenance):
        return None
    settings = [("Configuration", _dotted(content.config)), ("Environment", _dotted(content.environment))]
    context = {
        "tables": [table for table in settings if table[1]],
        "preprocess": content.preprocess,
        "command": command_line(content.environment.get("command")),
        "traces": list(content.provenance.items()),
        "again": f"eyebright train {shlex.quote(content.data)} --config {shlex.quote(content.path + '/config.yaml')}",
    }
    return Section("settings", "Where it comes from", "provenance.html", context)


def command_line(arguments: Any) -> str:
    """The words of a command as they would be typed; empty when they are not known."""
    if not isinstance(arguments, (list, tuple)) or not arguments:
        return ""
    program, *rest = (str(argument) for argument in arguments)
    path = PurePath(program)
    known = path.stem == "eyebright" or (path.name == "__main__.py" and path.parent.name == "eyebright")
    return shlex.join(["eyebright" if known else program, *rest])


def _dotted(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _dotted(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{key}", ", ".join(str(item) for item in value)))
        else:
            rows.append((f"{prefix}{key}", "none" if value is None else str(value)))
    return rows
