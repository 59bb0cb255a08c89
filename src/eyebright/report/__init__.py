"""The report of a run: one self-contained page, and the same figures as PNG files. No torch."""

from __future__ import annotations

from eyebright.report.content import DataFacts, ReportContent
from eyebright.report.page import Section, write_report

__all__ = ["DataFacts", "ReportContent", "Section", "write_report"]
