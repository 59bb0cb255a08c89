"""From logits to probabilities that can be taken at their word."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Method = Literal["none", "temperature", "vector", "isotonic"]
METHODS: tuple[str, ...] = get_args(Method)

Floats = npt.NDArray[np.float64]


def softmax(logits: npt.ArrayLike, temperature: float = 1.0) -> Floats:
    """Probabilities (N, K) float64 of logits (N, K) divided by a temperature; finite for any finite logits."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities.

    All methods begin with `logits / temperature`. `vector` then multiplies each class's logit by its `scale` and adds
    its `bias` (Guo et al., On Calibration of Modern Neural Networks, 2017). `isotonic` passes the softmax of each
    class through a rising broken line and normalises (Zadrozny and Elkan, Transforming classifier scores into accurate
    multiclass probability estimates, 2002).

    Attributes:
        method: `none` is the plain softmax.
        temperature: above zero; one for `none`.
        scale, bias: (K,) each, for `vector`; empty otherwise.
        knots: for `isotonic`, for each class the corners of its line as (softmax, probability), the former strictly
            rising, the latter never falling and above zero; outside the line its ends go on. Empty otherwise.
    """

    method: Method = "temperature"
    temperature: float = 1.0
    scale: tuple[float, ...] = ()
    bias: tuple[float, ...] = ()
    knots: tuple[tuple[tuple[float, float], ...], ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown calibration {self.method!r}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature {self.temperature!r} is not above zero")
        if (self.method == "vector") != bool(self.scale) or len(self.scale) != len(self.bias):
            raise ValueError(f"{len(self.scale)} scales and {len(self.bias)} biases for {self.method}")
        if not np.isfinite([*self.scale, *self.bias]).all():
            raise ValueError("a scale or bias that is not finite")
        if (self.method == "isotonic") != bool(self.knots):
            raise ValueError(f"{len(self.knots)} lines for {self.method}")
        for line in self.knots:
            x, y = np.array(line, dtype=np.float64).T
            if len(x) < 2 or (np.diff(x) <= 0).any() or (np.diff(y) < 0).any() or not (y > 0).all():
                raise ValueError("a line of the isotonic calibration that does not rise")

    def probabilities(self, logits: npt.ArrayLike) -> Floats:
        """Calibrated probabilities, float64 (N, K), of logits (N, K); each row sums to one."""
        values = np.asarray(logits, dtype=np.float64) / self.temperature
        if self.method == "vector":
            values = values * np.asarray(self.scale) + np.asarray(self.bias)
        probabilities = softmax(values)
        if self.method == "isotonic":
            columns = [np.interp(probabilities[:, index], *np.array(line).T) for index, line in enumerate(self.knots)]
            mapped = np.column_stack(columns)
            probabilities = mapped / mapped.sum(axis=1, keepdims=True)
        return np.asarray(probabilities, dtype=np.float64)

    def describe(self) -> str:
        """A few words for people, such as "temperature 1.234"."""
        if self.method == "none":
            return "none"
        return f"temperature {self.temperature:.3f}" if self.method == "temperature" else f"{self.method} calibration"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if value != ()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what `as_dict` wrote.

        Raises:
            ValueError, TypeError, KeyError: it is no such record.
        """
        plain = dict(values)
        if "knots" in plain:
            plain["knots"] = tuple(tuple((float(x), float(y)) for x, y in line) for line in plain["knots"])
        for name in ("scale", "bias"):
            if name in plain:
                plain[name] = tuple(float(value) for value in plain[name])
        return cls(**plain)
