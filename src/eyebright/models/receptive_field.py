"""The receptive field of a network, computed exactly from the ops that it calls.

The figure is that of the field: the pixels that one position of the last feature map reads, the last one before global
pooling, flattening or a class token gives positions up; not clipped at the borders of the image. Gates of
squeeze-excitation and attention, through which every position depends on the whole image, are left out of the size and
named beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from torch import nn

from eyebright.models.graph.positions import last_map
from eyebright.models.graph.trace import Watcher, follow


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    """What one position of the last feature map sees of the image.

    Attributes:
        height, width: size in pixels, from the first to the last that is read; of the widest position where
            up-sampling makes them differ. Gates and attention are left out.
        jump: pixels from one position to the next, by height and width; a fraction after up-sampling.
        start: first row and column that position 0 reads; negative where it reads padding.
        map_size: height and width of that feature map for the input that was given.
        whole_image: something in front of the map lets each position depend on the whole image.
        through: kinds of layers by which it does, such as `squeeze-excitation` and `attention`.
        ended_by: what comes after the map, such as `average pooling`, `linear` (over all of it, flattened) or
            `attention`; None where the map is the result.
    """

    height: int
    width: int
    jump: tuple[Fraction, Fraction]
    start: tuple[int, int]
    map_size: tuple[int, int]
    whole_image: bool
    through: tuple[str, ...]
    ended_by: str | None

    @property
    def size(self) -> int:
        """The smaller of height and width."""
        return min(self.height, self.width)

    def describe(self) -> str:
        """A phrase for people, such as `81 px`."""
        size = f"{self.height} px" if self.height == self.width else f"{self.height} x {self.width} px"
        if self.whole_image and (self.height, self.width) == self.map_size:
            return f"the whole image, {size}, mixed at once"
        whole = f", and the whole image by {' and '.join(self.through)}" if self.through else ""
        return f"{size}{whole}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **dataclasses.asdict(self),
            "jump": [float(jump) for jump in self.jump],
        }


def receptive_field(
    network: nn.Module, input_size: Sequence[int], watchers: Sequence[Watcher] = ()
) -> ReceptiveField | None:
    """The receptive field of a network.

    The stride, dilation, padding and kernel of every layer, branches, and up-sampling are taken into account, along
    each axis for itself. A network that flattens the image at once, as a multilayer perceptron, sees all of it.

    Args:
        network: any feed-forward network for (B, C, H, W); it runs once and is left as it was.
        input_size: (C, H, W).
        watchers: told of every op, for those who look for something else in the same run.

    Returns:
        The field; None when the result does not depend on the image.
    """
    result = follow(network, input_size, watchers)
    if result is None:
        return None
    found = last_map(result, "")
    assert found is not None, "an image goes in"
    rows, columns = found.axes
    _, height, width = input_size
    reaches = (rows.reach, columns.reach)
    flat = all(reach.size == 1 and reach.step == 1 for reach in reaches) and found.by != ""
    through = found.through
    if flat:  # no window ever gathered neighbours: what mixes positions sees single pixels
        through = (*through, found.by)
    return ReceptiveField(
        height=height if flat else rows.reach.size,
        width=width if flat else columns.reach.size,
        jump=(rows.reach.step, columns.reach.step),
        start=(rows.reach.low(0), columns.reach.low(0)),
        map_size=(rows.length, columns.length),
        whole_image=bool(through),
        through=through,
        ended_by=found.by or None,
    )
