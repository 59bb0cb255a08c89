"""The review: a local page where a person accepts or rejects what an audit suggests, with the keyboard."""

from __future__ import annotations

from eyebright.review.server import ReviewOutcome, ReviewServer, serve_review
from eyebright.review.session import ReviewSession

__all__ = ["ReviewOutcome", "ReviewServer", "ReviewSession", "serve_review"]
