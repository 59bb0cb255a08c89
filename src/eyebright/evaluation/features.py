"""What the network saw in images, as vectors: of the scored images and of a sample of those it learnt from."""

from __future__ import annotations

import dataclasses
import os
import zipfile

import numpy as np
import numpy.typing as npt

from eyebright.atomic import replacing_file
from eyebright.errors import CorruptBundleError, ForeignBundleError

FEATURES_FILE = "features.npz"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Vectors of N images.

    Attributes:
        ids: content ids, (N,) text.
        splits: `train`, `val` or `test`, (N,) text; training images are an even sample of all.
        labels: index of the class, int64 (N,); -1 where there is no label.
        values: what goes into the network's classifier, float32 (N, F).
    """

    ids: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, split: str) -> Features:
        """The images of one split, in the same order."""
        kept = self.splits == split
        return Features(
            ids=self.ids[kept], splits=self.splits[kept], labels=self.labels[kept], values=self.values[kept]
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file without pickles, whole or not at all; values are kept as float16."""
        largest = float(np.finfo(np.float16).max)
        values = np.clip(self.values, -largest, largest).astype(np.float16)
        with replacing_file(path) as temporary, open(temporary, "wb") as handle:
            np.savez(handle, ids=self.ids, splits=self.splits, labels=self.labels, values=values)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Features:
        """Read what `write` wrote.

        Raises:
            ForeignBundleError: there is no such file.
            CorruptBundleError: it is damaged.
        """
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as arrays:
                values = arrays["values"].astype(np.float32)
                return cls(ids=arrays["ids"], splits=arrays["splits"], labels=arrays["labels"], values=values)
        except FileNotFoundError:
            raise ForeignBundleError(
                f"{os.fspath(path)} does not exist",
                expected=f"a run with {FEATURES_FILE}",
                remedy="train again: runs of former versions have none",
            ) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptBundleError(
                f"{os.fspath(path)} cannot be read: {error}", expected="an .npz archive of features"
            ) from error
