"""One call of an aten op, as its rules see it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from eyebright.models.graph.positions import Dependence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """A call of an aten op.

    Attributes:
        name: the op without overload and without the underscore of those that work in place, such as `convolution`.
        in_place: it changes its first operand.
        pointwise: torch says that each element of the result depends on the same element of the operands alone.
        arguments: by the name in the op's schema, defaults filled in.
        results: the tensors that came back.
        known: what a tensor reads of the image; None where it reads nothing of it, as weights and constants.
    """

    name: str
    in_place: bool
    pointwise: bool
    arguments: Mapping[str, Any]
    results: tuple[torch.Tensor, ...]
    known: Callable[[torch.Tensor], Dependence | None]

    @classmethod
    def of(cls, op: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any, known: Callable[..., Any]) -> Call:
        """The call of an op with these arguments and this result."""
        schema = op._schema
        name = schema.name.split("::")[1]
        in_place = name.endswith("_") and not name.endswith("__")
        arguments = {
            argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()
        }
        arguments |= {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)}
        return cls(
            name=name[:-1] if in_place else name,
            in_place=in_place,
            pointwise=torch.Tag.pointwise in op.tags,
            arguments={**arguments, **kwargs},
            results=tuple(tensors(out)),
            known=known,
        )

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def operands(self) -> list[torch.Tensor]:
        """All tensors among the arguments."""
        return list(tensors(list(self.arguments.values())))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first result."""
        return tuple(self.results[0].shape)

    def source(self) -> Dependence:
        """What the first operand that reads of the image reads; there is one, or the op would not be looked at."""
        found = next((known for known in map(self.known, self.operands) if known is not None), None)
        assert found is not None, f"{self.name} reads nothing of the image"
        return found


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a value, lists and tuples opened."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part)
