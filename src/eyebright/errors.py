"""Every error that a user can meet, and the exit code that the command line gives for it.

    EyebrightError                       1   anything not named below
    ├── UsageError (ValueError)          2   a wrong option, value or combination
    │   └── ConfigError                  2   an unknown or invalid key of the configuration
    ├── DataError (ValueError)           3   the images, labels or tables cannot be used
    │   └── BadImagesError               3   more unreadable images than was allowed
    ├── BundleError                      4   a bundle or run cannot be read
    │   ├── CorruptBundleError           4   truncated, altered or incomplete
    │   ├── ForeignBundleError           4   not made by Eyebright
    │   └── NewerBundleError             4   made by a later version
    ├── VerificationError                5   golden samples gave other probabilities than recorded
    ├── TrainingError                    6   training cannot go on
    │   ├── NonFiniteLossError           6   the loss became NaN or infinite
    │   └── TeamError                    6   another process of the same training ended
    ├── StorageError (OSError)           7   a folder cannot be written, a disk is full
    ├── MissingDependencyError           8   an optional package or offline file is absent
    ├── RequirementsError                9   a network does not satisfy what was required of it
    ├── Interrupted                    130   stopped by the user; what was finished is kept
    └── Preempted                      143   stopped by the machine (SIGTERM); a checkpoint was saved

A message has up to three parts, each a full sentence or clause: what happened (with what was received),
what was expected, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class EyebrightError(Exception):
    """Base of all errors meant for a user.

    Args:
        problem: what happened, naming the value, path or row received.
        expected: what would have been accepted.
        remedy: what to do next.
    """

    exit_code = 1

    def __init__(self, problem: str, *, expected: str | None = None, remedy: str | None = None) -> None:
        self.problem = problem
        self.expected = expected
        self.remedy = remedy
        lines = [problem]
        if expected:
            lines.append(f"expected: {expected}")
        if remedy:
            lines.append(f"to fix it: {remedy}")
        super().__init__("\n".join(lines))

    def as_dict(self) -> dict[str, str | int | None]:
        """The same facts for `--json`."""
        return {
            "error": type(self).__name__,
            "problem": self.problem,
            "expected": self.expected,
            "remedy": self.remedy,
            "exit_code": self.exit_code,
        }


class UsageError(EyebrightError, ValueError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class DataError(EyebrightError, ValueError):
    exit_code = 3


class BadImagesError(DataError):
    pass


class BundleError(EyebrightError):
    exit_code = 4


class CorruptBundleError(BundleError):
    pass


class ForeignBundleError(BundleError):
    pass


class NewerBundleError(BundleError):
    pass


class VerificationError(EyebrightError):
    exit_code = 5


class TrainingError(EyebrightError):
    exit_code = 6


class NonFiniteLossError(TrainingError):
    pass


class TeamError(TrainingError):
    pass


class StorageError(EyebrightError, OSError):
    exit_code = 7


class MissingDependencyError(EyebrightError):
    exit_code = 8


class RequirementsError(EyebrightError):
    exit_code = 9


class Interrupted(EyebrightError):
    exit_code = 130


class Preempted(EyebrightError):
    exit_code = 143


def did_you_mean(received: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, or an empty string when nothing is close."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    matches = difflib.get_close_matches(received.lower(), list(lowered), n=1, cutoff=0.6)
    return f" (did you mean {lowered[matches[0]]!r}?)" if matches else ""


def did_you_mean_beside(path: Path) -> str:
    """The same for a path that does not exist, from what lies beside it."""
    try:
        return did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""
