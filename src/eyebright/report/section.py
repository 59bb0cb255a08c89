"""One section of a page: a title, a template and what the template shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        anchor: its id in the page.
        title: its heading and its name in the table of contents.
        template: a file in `report/templates`.
        context: what the template may use.
    """

    anchor: str
    title: str
    template: str
    context: Mapping[str, Any]
