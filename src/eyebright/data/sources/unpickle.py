"""A reader of pickles that executes nothing: it knows lists, numbers, text, bytes and arrays of numbers.

The published CIFAR files are pickles of Python 2. Python's own `pickle` imports what a file names and calls it, which
is how a pickle runs commands; and even a subclass with a closed `find_class` hands a stranger's arguments to NumPy's
constructors, and takes gigabytes for nine bytes (a memo index of 2**28). Here no name is ever imported. The standard
library's `pickletools.genops` takes the stream apart, a small stack machine of our own keeps what it is told to keep,
and the five names that stand in pickled arrays are marks whose meaning is written down below. Every other name, and
every opcode that would call, import or refer to anything else, is refused.

Source: the comments of the standard library's `pickletools`, which define all opcodes; PEP 3154 for protocol 4.
"""

from __future__ import annotations

import enum
import io
import math
import pickletools
import re
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from eyebright.errors import DataError


class _Name(enum.Enum):
    """What the names in a pickled array stand for."""

    RECONSTRUCT = "an array to be filled"
    ARRAY = "the type of arrays"
    TYPE = "the type of elements"
    ENCODE = "bytes that were written as text"


# NumPy 2 moved `numpy.core` to `numpy._core`; Python 3 writes bytes by way of `_codecs.encode` up to protocol 2.
_NAMES = {
    "numpy.core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy ndarray": _Name.ARRAY,
    "numpy dtype": _Name.TYPE,
    "_codecs encode": _Name.ENCODE,
}
# Opcodes whose argument is the value itself.
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    }
)
# Text of Python 2, which is bytes; `genops` gives it as Latin-1.
_BYTE_STRINGS = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_WITHOUT_EFFECT = frozenset({"PROTO", "FRAME", "STOP"})
_NUMBER_TYPE = re.compile(r"b1|[iu][1248]|f[248]")
_BYTE_ORDERS = ("|", "<", ">", "=")
_PROTOCOLS = range(6)
_MAX_DIMENSIONS = 8


class _ElementType:
    """A pickled `numpy.dtype`: its code, and the byte order that its state gives."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "="


class _UnfilledArray:
    """A pickled `numpy.ndarray` between its making and its state; `array` is set by the latter."""

    def __init__(self) -> None:
        self.array: npt.NDArray[np.generic] | None = None


def read_pickle(content: bytes, name: str) -> object:
    """The value in a pickle of any protocol, made of dict, list, tuple, bytes, str, numbers, None and number arrays.

    Args:
        content: the whole file. Text written by Python 2 is given as bytes, as by `pickle.loads(encoding="bytes")`.
        name: the file, for messages.

    Raises:
        DataError: it is no whole pickle, or it asks for something other than the above; nothing was executed.
    """
    machine = _Machine(name)
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(content)):
            machine.step(opcode.name, argument)
    except DataError:
        raise
    except Exception as error:  # `genops` and NumPy raise whatever damaged bytes lead them to
        raise DataError(
            f"{name} is no whole pickle: {str(error)[:200] or type(error).__name__}",
            expected="the file as it was published",
            remedy="fetch it again: it is cut off or damaged",
        ) from error
    return machine.result()


class _Machine:
    """The stack and memo that opcodes work on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stack: list[object] = []
        self._outer: list[list[object]] = []  # stacks set aside by MARK
        self._memo: dict[int, object] = {}
        self._actions: dict[str, Callable[[], None]] = {
            "MARK": self._mark,
            "POP": self._drop,
            "POP_MARK": self._drop_to_mark,
            "DUP": lambda: self._push(self._top()),
            "EMPTY_LIST": lambda: self._push([]),
            "EMPTY_DICT": lambda: self._push({}),
            "LIST": lambda: self._push(self._items_since_mark()),
            "TUPLE": lambda: self._push(tuple(self._items_since_mark())),
            "DICT": lambda: self._push(self._filled({}, self._items_since_mark())),
            "APPEND": lambda: self._append(self._pop(1)),
            "APPENDS": lambda: self._append(self._items_since_mark()),
            "SETITEM": lambda: self._set_items(self._pop(2)),
            "SETITEMS": lambda: self._set_items(self._items_since_mark()),
            "MEMOIZE": lambda: self._memo.__setitem__(len(self._memo), self._top()),
            "STACK_GLOBAL": self._name_on_stack,
            "REDUCE": self._reduce,
            "BUILD": self._build,
        }

    def step(self, opcode: str, argument: object) -> None:
        """Carry out one opcode, or refuse it."""
        if opcode in _VALUES:
            self._push(argument)
        elif opcode in _BYTE_STRINGS:
            self._push(str(argument).encode("latin-1"))
        elif opcode in _CONSTANTS:
            self._push(_CONSTANTS[opcode])
        elif opcode in _TUPLE_LENGTHS:
            self._push(tuple(self._pop(_TUPLE_LENGTHS[opcode])))
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int):
            self._memo[argument] = self._top()
        elif opcode in ("GET", "BINGET", "LONG_BINGET") and isinstance(argument, int):
            self._recall(argument)
        elif opcode == "GLOBAL":
            self._push(self._named(str(argument)))
        elif opcode == "INST":
            self._named(str(argument))
            self._refuse_opcode(opcode)
        elif opcode in self._actions:
            self._actions[opcode]()
        elif opcode not in _WITHOUT_EFFECT or (opcode == "PROTO" and argument not in _PROTOCOLS):
            self._refuse_opcode(opcode)

    def result(self) -> object:
        """What is left when the stream has ended."""
        if len(self._stack) != 1 or self._outer:
            raise self._malformed(f"it leaves {len(self._stack)} values")
        return self._stack[0]

    def _named(self, name: str) -> _Name:
        if name not in _NAMES:
            raise DataError(
                f"{self._name} asks for {name.replace(' ', '.')[:200]!r}, which is refused: a pickle that names other "
                "things than arrays could run commands, and nothing of it was executed",
                expected="lists, numbers, text and NumPy arrays, as in the published files",
                remedy="do not open this file with `pickle`; fetch the data set from its publisher",
            )
        return _NAMES[name]

    def _name_on_stack(self) -> None:
        module, attribute = self._pop(2)
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise self._malformed("a name that is no text")
        self._push(self._named(f"{module} {attribute}"))

    def _refuse_opcode(self, opcode: str) -> NoReturn:
        raise DataError(
            f"{self._name} holds the pickle instruction {opcode}, which is refused; nothing of it was executed",
            expected="lists, numbers, text and NumPy arrays, as in the published files",
            remedy="do not open this file with `pickle`; fetch the data set from its publisher",
        )

    def _malformed(self, what: str) -> DataError:
        return DataError(
            f"{self._name} is no valid pickle of lists and arrays: {what[:200]}",
            expected="the file as it was published",
            remedy="fetch it again: it is damaged",
        )

    def _push(self, value: object) -> None:
        # A method of its own: the stack may become another one while the value is made.
        self._stack.append(value)

    def _top(self) -> object:
        if not self._stack:
            raise self._malformed("it takes a value where there is none")
        return self._stack[-1]

    def _pop(self, count: int) -> list[object]:
        if len(self._stack) < count:
            raise self._malformed(f"it takes {count} values where there are {len(self._stack)}")
        taken = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return taken

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _items_since_mark(self) -> list[object]:
        if not self._outer:
            raise self._malformed("it ends a list that was not begun")
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _drop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:  # POP on a mark removes the mark
            self._items_since_mark()

    def _drop_to_mark(self) -> None:
        self._items_since_mark()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise self._malformed(f"it refers to value {index}, which was not stored")
        value = self._memo[index]
        filled = value.array if isinstance(value, _UnfilledArray) else None
        self._push(value if filled is None else filled)

    def _append(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise self._malformed(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise self._malformed(f"it sets keys of a {type(target).__name__}")
        self._filled(target, items)

    def _filled(self, target: dict[object, object], items: list[object]) -> dict[object, object]:
        if len(items) % 2:
            raise self._malformed("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Nested tuples as keys could take for ever to hash; no published file has any.
            if not isinstance(key, bytes | str | int):
                raise self._malformed(f"a key of the type {type(key).__name__}")
            target[key] = value
        return target

    def _reduce(self) -> None:
        """What `pickle` would call: an empty array, a type of elements, or bytes written as text."""
        function, arguments = self._pop(2)
        made: object
        match arguments:
            case (_Name() as made_of, tuple(), bytes() | str()) if (
                function is _Name.RECONSTRUCT and made_of is _Name.ARRAY
            ):
                made = _UnfilledArray()
            case (bytes() | str() as code, *_) if function is _Name.TYPE:
                made = self._element_type(code.decode("latin-1") if isinstance(code, bytes) else code)
            case (str() as text, str() as encoding) if function is _Name.ENCODE and encoding in ("latin1", "latin-1"):
                made = text.encode("latin-1")
            case _:
                raise self._malformed("a call that makes no array")
        self._push(made)

    def _element_type(self, code: str) -> _ElementType:
        if not _NUMBER_TYPE.fullmatch(code):
            raise self._malformed(f"an array of the type {code!r}, where only numbers are read")
        return _ElementType(code)

    def _build(self) -> None:
        """What `pickle` would set as state: the byte order of a type, or shape, type and bytes of an array."""
        target, state = self._pop(2)
        match target, state:
            case _ElementType(), (int(), bytes() | str() as order, None, None, None, *_):
                target.order = order.decode("latin-1") if isinstance(order, bytes) else order
                if target.order not in _BYTE_ORDERS:
                    raise self._malformed(f"the byte order {target.order!r}")
                self._push(target)
            case _UnfilledArray(), (
                int(),
                tuple() as shape,
                _ElementType() as kind,
                bool() as by_columns,
                bytes() as raw,
            ):
                target.array = self._array(shape, kind, by_columns, raw)
                self._push(target.array)
            case _:
                raise self._malformed("a state that belongs to no array")

    def _array(
        self, shape: tuple[object, ...], kind: _ElementType, by_columns: bool, raw: bytes
    ) -> npt.NDArray[np.generic]:
        """The array in `raw`, read-only and without a copy."""
        sizes = [size for size in shape if isinstance(size, int) and size >= 0]
        element = np.dtype(kind.order + kind.code)
        if len(sizes) != len(shape) or len(sizes) > _MAX_DIMENSIONS:
            raise self._malformed("an array of an impossible shape")
        if math.prod(sizes) * element.itemsize != len(raw):
            raise self._malformed(f"an array of shape {tuple(sizes)} and type {kind.code} in {len(raw)} bytes")
        flat = np.frombuffer(raw, dtype=element) if raw else np.empty(0, dtype=element)
        return flat.reshape(sizes, order="F" if by_columns else "C")
