"""Where the positions of the image lie in a tensor, and what each of them reads.

A tensor of a network has dimensions such as batch, channels, rows and columns, and networks move these about: rows and
columns become one dimension of tokens, channels become positions, windows become batches. So each dimension is a row
of atoms: `Plain` (batch, channels, whatever), `Along` (positions of the image along one axis, with what each reads),
`Inside` (places within a block, where an axis was split into blocks) and `Tokens` (positions among others, as beside a
class token).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from eyebright.models.graph.reach import Reach, repeat, window

HEIGHT, WIDTH = 0, 1
REARRANGED = "rearranged positions"
CLASS_TOKEN = "class token"


@dataclasses.dataclass(frozen=True)
class Plain:
    """Indices that are no positions of the image."""

    length: int


@dataclasses.dataclass(frozen=True)
class Along:
    """Positions of the image along one axis (0 height, 1 width); `whole` where they are blocks of an axis."""

    axis: int
    length: int
    reach: Reach
    whole: Reach | None = None


@dataclasses.dataclass(frozen=True)
class Inside:
    """Places within a block of positions. Behind their blocks again they are the axis as it was, `whole`."""

    axis: int
    length: int
    whole: Reach


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Positions of a grid in one row with others; which index is which position is not known."""

    length: int
    grid: tuple[Along, ...]


Atom = Plain | Along | Inside | Tokens
Dim = tuple[Atom, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastMap:
    """The feature map whose positions were given up, by pooling, flattening or attention.

    Attributes:
        axes: what its positions read, height then width.
        through: what in front of it looked at the whole image.
        by: how its positions were given up.
    """

    axes: tuple[Along, Along]
    through: tuple[str, ...]
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dependence:
    """What a tensor reads of the image.

    Attributes:
        dims: its dimensions.
        through: kinds of layers that let each of its positions depend on the whole image, in order of appearance.
        last: where positions were given up, the feature map that had them.
        origins: how they were given up.
        dense: the map before a window that covers it whole; such a window is a dense layer, unless windows follow it.
    """

    dims: tuple[Dim, ...]
    through: tuple[str, ...] = ()
    last: LastMap | None = None
    origins: tuple[str, ...] = ()
    dense: LastMap | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return tuple(math.prod(atom.length for atom in dim) for dim in self.dims)

    def axes(self) -> dict[int, Along]:
        """The positions that the tensor still has, by axis."""
        return {along.axis: along for dim in self.dims for along in positions(dim)}

    def with_dims(self, dims: Iterable[Dim]) -> Dependence:
        """The same with other dimensions."""
        return dataclasses.replace(self, dims=tuple(dims))

    def with_dim(self, index: int, dim: Dim) -> Dependence:
        """The same with one dimension replaced."""
        dims = list(self.dims)
        dims[index] = dim
        return self.with_dims(dims)

    def also_through(self, *names: str) -> Dependence:
        """The same, looking at the whole image through more layers."""
        return dataclasses.replace(self, through=ordered((*self.through, *names)))


def image(shape: Sequence[int]) -> Dependence:
    """The input itself, (B, C, H, W)."""
    batch, channels, height, width = shape
    rows, columns = Along(HEIGHT, height, Reach()), Along(WIDTH, width, Reach())
    return Dependence(dims=((Plain(batch),), (Plain(channels),), (rows,), (columns,)))


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in order of appearance."""
    return tuple(dict.fromkeys(names))


def positions(dim: Dim) -> tuple[Along, ...]:
    """The positions that a dimension holds, a row of tokens opened."""
    return tuple(
        along
        for atom in dim
        for along in (atom.grid if isinstance(atom, Tokens) else (atom,))
        if isinstance(along, Along)
    )


def placed(dim: Dim) -> bool:
    """Whether the dimension says anything of where in the image."""
    return any(not isinstance(atom, Plain) for atom in dim)


def single(dim: Dim) -> Along | None:
    """The dimension as positions along one axis, where it is one; None where it is anything else.

    Positions followed by plain indices (each position repeated, as after a pixel shuffle) are positions too.
    """
    atoms = [atom for atom in dim if atom.length > 1 or isinstance(atom, Along)]
    if not atoms or not isinstance(atoms[0], Along) or any(isinstance(atom, (Along, Tokens)) for atom in atoms[1:]):
        return None
    blocks, times = atoms[0], math.prod(atom.length for atom in atoms[1:])
    if times == 1:
        return blocks
    inside = atoms[1]
    if len(atoms) == 2 and isinstance(inside, Inside) and (inside.axis, inside.whole) == (blocks.axis, blocks.whole):
        return Along(blocks.axis, blocks.length * times, inside.whole)
    return Along(blocks.axis, blocks.length * times, blocks.reach.after(repeat(times)))


def last_map(dependence: Dependence, by: str) -> LastMap | None:
    """The feature map that would be given up now: the present one, and what was given up before along an axis."""
    if dependence.dense is not None:
        return dependence.dense
    now, before = dependence.axes(), dependence.last
    if not now:
        return before
    rows, columns = (now.get(axis) or (before.axes[axis] if before else None) for axis in (HEIGHT, WIDTH))
    if rows is None or columns is None:
        return before
    return LastMap(axes=(rows, columns), through=dependence.through, by=by)


def give_up(dependence: Dependence, dims: Iterable[int], origin: str) -> Dependence:
    """Every position of these dimensions is mixed: they become plain. Nothing changes where they held none."""
    chosen = [index for index in dims if positions(dependence.dims[index])]
    if not chosen:
        return dependence
    shape = dependence.shape
    return dataclasses.replace(
        dependence,
        dims=tuple((Plain(shape[i]),) if i in chosen else dim for i, dim in enumerate(dependence.dims)),
        last=last_map(dependence, origin),
        origins=ordered((*dependence.origins, origin)),
        dense=None,
    )


def give_up_all(dependence: Dependence, shape: Sequence[int], origin: str) -> Dependence:
    """No position is known any more; the tensor has this shape."""
    given = give_up(dependence, range(len(dependence.dims)), origin)
    return given.with_dims((Plain(length),) for length in shape)


def view(dependence: Dependence, shape: Sequence[int]) -> Dependence:
    """The same elements in row-major order under another shape."""
    atoms = [atom for dim in dependence.dims for atom in dim]
    long = [atom for atom in atoms if atom.length > 1]
    dims = _cut(long, shape) or _cut([Plain(a.length) if isinstance(a, Inside) else a for a in long], shape)
    if dims is None:
        return give_up_all(dependence.also_through(REARRANGED), shape, REARRANGED)
    lost = _place_units(atoms, dims, shape)
    result = dependence.with_dims(tuple(dim) or (Plain(1),) for dim in dims)
    # One position is all there is of an axis; leaving its dimension out is how a map of 1x1 is flattened.
    last, origins = result.last, result.origins
    if lost:
        last, origins = last_map(dependence, "flatten"), ordered((*origins, "flatten"))
    return dataclasses.replace(result, last=last, origins=origins, dense=None if lost else result.dense)


def _cut(atoms: list[Atom], shape: Sequence[int]) -> list[list[Atom]] | None:
    """Deal the atoms out to dimensions of these lengths, splitting where need be; None where they do not fit."""
    queue = _merge_plain(atoms)
    dims: list[list[Atom]] = []
    for length in shape:
        dim: list[Atom] = []
        while length > 1:
            atom = queue.pop(0)
            whole = math.prod(along.length for along in atom.grid) if isinstance(atom, Tokens) else 0
            if length % atom.length == 0:
                dim.append(atom)
                length //= atom.length
            elif isinstance(atom, Tokens) and atom.length == whole:
                queue[:0] = atom.grid
            elif atom.length % length == 0 and not isinstance(atom, Tokens):
                rest = atom.length // length
                blocks, inside = _split(atom, rest)
                dim.append(blocks)
                queue.insert(0, inside)
                length = 1
            else:
                return None
        dims.append(dim)
    return dims


def _merge_plain(atoms: list[Atom]) -> list[Atom]:
    merged: list[Atom] = []
    for atom in atoms:
        if isinstance(atom, Plain) and merged and isinstance(merged[-1], Plain):
            merged[-1] = Plain(merged[-1].length * atom.length)
        else:
            merged.append(atom)
    return merged


def _split(atom: Plain | Along | Inside, rest: int) -> tuple[Atom, Atom]:
    """An atom as blocks of `rest` and the places in them; a block of positions reads what any of them reads."""
    length = atom.length // rest
    if not isinstance(atom, Along):
        return Plain(length), Plain(rest)
    reach = atom.reach.after(window(kernel=rest, stride=rest))
    return Along(atom.axis, length, reach, whole=atom.reach), Inside(atom.axis, rest, atom.reach)


def _place_units(atoms: list[Atom], dims: list[list[Atom]], shape: Sequence[int]) -> bool:
    """Put axes of one position into the dimensions of length 1 between the same neighbours; True when one is lost."""
    lost = False
    before = 1
    waiting: dict[int, list[Along]] = {}
    for atom in atoms:
        if atom.length == 1 and isinstance(atom, Along):
            waiting.setdefault(before, []).append(atom)
        before *= atom.length
    for place, units in waiting.items():
        free = [index for index, length in enumerate(shape) if length == 1 and math.prod(shape[:index]) == place]
        if not free:
            # A row of tokens keeps the axis of one position beside that of many.
            free = [i for i, dim in enumerate(dims) if math.prod(shape[: i + 1]) == place and positions(tuple(dim))]
        lost = lost or not free
        for unit, index in zip(units, free[-len(units) :] * len(units), strict=False):
            dims[index].append(unit)
    return lost


def join(operands: Sequence[Dependence], shape: Sequence[int], *, multiplied: bool) -> Dependence:
    """The result of combining tensors element by element, after broadcasting to `shape`.

    What has positions keeps them. What has given them up, such as the gate of a squeeze-excitation, lets every
    position depend on the whole image.
    """
    through = [name for operand in operands for name in operand.through]
    dims: list[Dim] = []
    for index, length in enumerate(shape):
        back = index - len(shape)
        candidates = [o.dims[back] for o in operands if len(o.dims) >= -back and o.shape[back] == length]
        spatial = [dim for dim in candidates if placed(dim)]
        dim: Dim = spatial[0] if spatial else (Plain(length),)
        for other in spatial[1:]:
            merged = _hull(dim, other)
            if merged is None:
                through.append(REARRANGED)
            dim = merged or dim
        dims.append(dim)
    carried = {along.axis for dim in dims for along in positions(dim)}
    for operand in operands:
        if operand.last is not None and carried - set(operand.axes()):
            through.append(gate_name(operand.origins, multiplied))
    pooled = [operand for operand in operands if operand.last is not None]
    maps = [operand.dense for operand in operands if operand.axes()]
    return Dependence(
        dims=tuple(dims),
        through=ordered(through),
        last=None if len(carried) == 2 else choose_map(operand.last for operand in pooled),
        origins=() if len(carried) == 2 else ordered(name for operand in pooled for name in operand.origins),
        dense=choose_map(maps) if all(maps) else None,
    )


def gate_name(origins: Sequence[str], multiplied: bool) -> str:
    """What to call a layer that brings something of the whole image back to every position."""
    if "attention" in origins or CLASS_TOKEN in origins:
        return "attention"
    if all(origin.endswith("pooling") or origin == "flatten" for origin in origins):
        return "squeeze-excitation" if multiplied else "global pooling"
    return "linear over positions" if origins[0] == "linear" else origins[0]


def choose_map(maps: Iterable[LastMap | None]) -> LastMap | None:
    """Of several maps that were pooled into one vector: the one that looked least at the whole image, then farthest."""
    known = [found for found in maps if found is not None]
    return min(known, key=lambda found: (len(found.through), -found.axes[HEIGHT].reach.size), default=None)


def _hull(one: Dim, other: Dim) -> Dim | None:
    """Both dimensions at once, where their positions correspond."""
    first, second = single(one), single(other)
    if first is not None and second is not None:
        return (_wider(first, second),) if _alike(first, second) else None
    if [type(atom) for atom in one] == [type(atom) for atom in other]:
        atoms: list[Atom] = []
        for left, right in zip(one, other, strict=True):
            if left == right:
                atoms.append(left)
            elif not isinstance(left, (Along, Tokens)) and left.length == right.length:
                atoms.append(Plain(left.length))
            elif isinstance(left, Along) and isinstance(right, Along) and _alike(left, right):
                atoms.append(_wider(left, right))
            elif isinstance(left, Tokens) and isinstance(right, Tokens) and left.length == right.length:
                grid = _wider_grid(left.grid, right.grid)
                if grid is None:
                    return None
                atoms.append(Tokens(left.length, grid))
            else:
                return None
        return tuple(atoms)
    grid = _wider_grid(positions(one), positions(other))
    return None if grid is None else (Tokens(math.prod(atom.length for atom in one), grid),)


def _wider_grid(one: tuple[Along, ...], other: tuple[Along, ...]) -> tuple[Along, ...] | None:
    if len(one) != len(other) or not all(_alike(a, b) for a, b in zip(one, other, strict=True)):
        return None
    return tuple(_wider(a, b) for a, b in zip(one, other, strict=True))


def _alike(one: Along, other: Along) -> bool:
    return (one.axis, one.length) == (other.axis, other.length)


def _wider(one: Along, other: Along) -> Along:
    return Along(one.axis, one.length, one.reach.hull(other.reach, one.length))
