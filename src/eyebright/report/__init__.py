"""The report of a run: one self-contained page, and the same figures as PNG files. No torch."""

from __future__ import annotations

from eyebright.report.content import DataFacts, ReportContent
from eyebright.report.page import write_report
from eyebright.report.section import Section

__all__ = ["DataFacts", "ReportContent", "Section", "write_report"]
