"""`python -m eyebright` is the command `eyebright`."""

from __future__ import annotations

from eyebright.cli.main import entry

entry()
