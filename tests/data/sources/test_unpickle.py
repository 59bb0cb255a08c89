from __future__ import annotations

import builtins
import contextlib
import copyreg
import os
import pickle
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import python2_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from eyebright.data.sources.unpickle import read_pickle
from eyebright.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 7), dtype=np.uint8)
BATCH = {
    b"batch_label": b"training batch 1 of 5",
    b"labels": [6, 9, 4],
    b"data": PIXELS,
    b"filenames": [b"leptodactylus_s_000004.png", b"camion_s_000148.png", b"tipper_truck_s_001250.png"],
}


def load_by_python(content: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the name numpy.core
        return pickle.loads(content, encoding="bytes")


def assert_same(received: Any, expected: Any) -> None:
    assert type(received) is type(expected)
    if isinstance(expected, np.ndarray):
        assert received.dtype == expected.dtype
        np.testing.assert_array_equal(received, expected)
    elif isinstance(expected, dict):
        assert list(received) == list(expected)
        for key in expected:
            assert_same(received[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(received) == len(expected)
        for one, other in zip(received, expected, strict=True):
            assert_same(one, other)
    else:
        assert received == expected


# What is read is what Python reads.


def test_a_pickle_of_python_2_is_read_as_python_reads_it() -> None:
    content = python2_pickle.dumps(BATCH)
    assert b"numpy.core.multiarray" in content
    assert_same(load_by_python(content), BATCH)
    assert_same(read_pickle(content, "data_batch_1"), BATCH)


def test_protocol_0_of_python_2_is_read_too() -> None:
    content = b"(dp1\nS'num'\np2\nI10000\nsS'names'\np3\n(lp4\nS'it\\'s'\np5\naV\\u00e9\np6\nag5\nasS'yes'\nI01\ns."
    assert load_by_python(content) == {b"num": 10000, b"names": [b"it's", "é", b"it's"], b"yes": True}
    assert_same(read_pickle(content, "meta"), load_by_python(content))


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(min_size=1),  # Python 3 writes empty bytes as a call, up to protocol 2
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.integers() | st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(plain_values, st.integers(0, 5))
def test_plain_values_of_every_protocol(value: Any, protocol: int) -> None:
    assert_same(read_pickle(pickle.dumps(value, protocol), "file"), value)


@given(
    st.sampled_from(["|b1", "|u1", "|i1", "<i2", ">i4", "<i8", ">u8", "<f4", ">f8"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.booleans(),
    st.integers(0, 4),
)
def test_arrays_of_numbers_of_protocols_0_to_4(kind: str, shape: list[int], by_columns: bool, protocol: int) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    array = np.asfortranarray(array) if by_columns else array
    # Written twice, so that the second one is a reference to the first.
    if array.size or protocol > 2:  # as above: empty bytes
        first, second = read_pickle(pickle.dumps([array, array], protocol), "file")
        assert_same(first, array)
        assert_same(second, array)


def test_many_values_that_refer_to_each_other() -> None:
    shared = ["x"]
    loop: list[Any] = [shared, shared]
    loop.append(loop)
    received: Any = read_pickle(pickle.dumps(loop, 2), "file")
    assert received[0] is received[1]
    assert received[2] is received


# What could run is refused, and does not run.


class Calls:
    """Pickled as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def touching(path: Path, protocol: int) -> dict[str, tuple[Any, str]]:
    """Objects that make a file when Python unpickles them, with the name that must be refused."""
    return {
        "os.system": (Calls(os.system, f"touch {path}"), "system"),
        "eval": (Calls(eval, f"open({str(path)!r}, 'w')"), "eval"),
        "exec": (Calls(exec, f"open({str(path)!r}, 'w').close()"), "exec"),
        "a subprocess": (Calls(subprocess.check_output, ["touch", str(path)]), "check_output"),
        "a method of a path": (Calls(Path.touch, path), "getattr" if protocol < 4 else "Path.touch"),
        "hidden in a batch": ({**BATCH, b"labels": [6, 9, Calls(os.system, f"touch {path}")]}, "system"),
        "as a key": ([{1: [({"x": Calls(os.system, f"touch {path}")},)]}], "system"),
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the file that the reference leaves open
@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", list(touching(Path("x"), 4)))
def test_what_python_would_run_is_named_and_does_not_run(tmp_path: Path, name: str, protocol: int) -> None:
    made = tmp_path / "made"
    value, forbidden = touching(made, protocol)[name]
    content = pickle.dumps(value, protocol)
    with pytest.raises(DataError, match="nothing of it was executed") as caught:
        read_pickle(content, "data_batch_1")
    assert not made.exists()
    # Bytes that Python 3 writes as a call come before what is hidden behind them.
    assert forbidden in caught.value.problem or "_frombuffer" in caught.value.problem
    load_by_python(content)
    assert made.exists()  # or the test would show nothing


OPCODES = {
    "INST": b"(S'touch made'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch made'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n(S'touch made'\nt\x81.",
    "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x92.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch made\x85R.",
    "STACK_GLOBAL of other things": b"\x80\x04]]\x93.",
    "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
    "a reduce on top of an allowed name": b"\x80\x02cnumpy\nndarray\nK\x05\x85R.",
    "a build on an allowed name": b"\x80\x02cnumpy\ndtype\n}(U\x01xK\x01ub.",
    "a call of an array": b"\x80\x02cnumpy\nndarray\ncnumpy\nndarray\n\x85R.",
    "numpy's own way to run code": b'cnumpy.testing._private.utils\nrunstring\n(S\'open("made","w")\'\n(dtR.',
    "numpy.load": b"cnumpy\nload\n(S'x.npy'\ntR.",
    "decoding": b"c_codecs\ndecode\n(S'x'\nS'hex'\ntR.",
    "encoding by another codec": b"c_codecs\nencode\n(Vx\nVzlib\ntR.",
    "a module that acts when imported": b"cantigravity\nfly\n.",
    "objects in an array": b"\x80\x02cnumpy\ndtype\n(U\x02O8\x89\x88tR.",
    "fields in a type": b"\x80\x02cnumpy\ndtype\n(U\x02V8\x89\x88tR.",
    "PERSID": b"Psomewhere\n.",
    "BINPERSID": b"\x80\x02K\x01Q.",
    "EXT1": b"\x80\x02\x82\xf0.",
    "EXT4": b"\x80\x02\x84\xf0\x00\x00\x00.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "BYTEARRAY8": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.",
    "EMPTY_SET": b"\x80\x04\x8f.",
}


@pytest.mark.parametrize("content", OPCODES.values(), ids=OPCODES)
def test_opcodes_by_hand_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("os", "system", 0xF0)
    imports: list[str] = []
    original = builtins.__import__

    def recording(name: str, *arguments: Any, **options: Any) -> Any:
        imports.append(name)
        return original(name, *arguments, **options)

    try:
        monkeypatch.setattr(builtins, "__import__", recording)
        with pytest.raises(DataError):
            read_pickle(content, "meta")
    finally:
        monkeypatch.undo()
        copyreg.remove_extension("os", "system", 0xF0)
    assert not set(imports) & {"os", "antigravity", "numpy.testing._private.utils"}
    assert "antigravity" not in sys.modules
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\xff.",  # Python's unpickler makes a memo of 64 GB for this one
        b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", 2**28 + n) for n in range(50)) + b".",
    ],
)
def test_a_huge_memo_index_takes_no_memory(content: bytes) -> None:
    assert read_pickle(content, "file") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html>404</html>",
        b"\x80\x02T\xff\xff\xff\x7fabc.",  # a string of 2 GB
        b"\x80\x02T\xff\xff\xff\xffabc.",  # of -1 byte
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",  # bytes of 8 EB
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",  # a number of 2 GB
        b"L" + b"9" * 10_000 + b"L\n.",  # a number that would take long to read
        b"\x80\xffN.",
        b"(" * 100_000 + b".",
        b"]" * 100_000 + b".",
        b".",
        b"K\x01K\x02.",
        b"a.",
        b"Na.",
        b"NNa.",
        b"e.",
        b"(e.",
        b"u.",
        b"](K\x01K\x02u.",
        b"}(K\x01u.",
        b"0.",
        b"2.",
        b"h\x07.",
        b"q\x07.",
        b"\x85.",
        b"R.",
        b"b.",
        b"Vx\nVy\nR.",
        b"I1x\n.",
        b"Fx\n.",
        b"S'\\xff'\n.",
        b"Sx\n.",
        b"\x80\x04\x8c\x01\xff.",
        b"\xff.",
    ],
)
def test_what_is_no_pickle_is_a_data_error(content: bytes) -> None:
    with pytest.raises(DataError, match="file"):
        read_pickle(content, "file")


def test_deep_nesting_neither_crashes_nor_takes_long() -> None:
    received: Any = read_pickle(b"]" * 100_000 + b"a" * 99_999 + b".", "file")
    depth = 0
    while received:
        (received,) = received
        depth += 1
    assert depth == 99_999


def test_keys_whose_hash_would_never_end_are_refused() -> None:
    # A pair of the tuple before, 60 times over: 2**60 steps to hash.
    tuples = b"\x80\x02}K\x01\x85" + b"2\x86" * 60
    with pytest.raises(DataError, match="a key of the type tuple"):
        read_pickle(tuples + b"Ns.", "file")


def state(shape: bytes, raw: bytes, kind: bytes = b"u1", order: bytes = b"|") -> bytes:
    written = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01" + shape
    written += (
        b"cnumpy\ndtype\n(U\x02" + kind + b"K\x00K\x01tR(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
    )
    return written + b"\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tb."


def test_the_array_by_hand_is_right() -> None:
    assert_same(read_pickle(state(b"K\x02\x85", b"\x01\x02"), "file"), np.array([1, 2], np.uint8))


@pytest.mark.parametrize(
    "content",
    [
        state(b"K\x03\x85", b"\x01\x02"),
        state(b"J\xff\xff\xff\xff\x85", b""),
        state(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"\x01"),
        state(b"U\x01x\x85", b"\x01"),
        state(b"K\x00\x8a\x20" + b"\xff" * 31 + b"\x7f\x86", b""),  # (0, 2**255)
        state(b"(" + b"K\x01" * 70 + b"t", b"\x01"),
        state(b"K\x01\x85", b"AAAAAAAA", kind=b"O8"),
        state(b"K\x01\x85", b"AAAAAAAA", kind=b"V8"),
        state(b"K\x01\x85", b"A", order=b"!"),
        state(b"K\x01", b"A"),
    ],
)
def test_impossible_arrays_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        read_pickle(content, "file")


@pytest.mark.parametrize("content", [python2_pickle.dumps(BATCH), pickle.dumps(BATCH, 2), pickle.dumps(BATCH, 4)])
def test_every_truncation_is_a_data_error(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(DataError):
            read_pickle(content[:length], "file")


WHOLE = python2_pickle.dumps(BATCH)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damaged_bytes_give_a_data_error_or_plain_values(changes: list[tuple[int, int]]) -> None:
    content = bytearray(WHOLE)
    for position, value in changes:
        content[position] = value
    try:
        received = read_pickle(bytes(content), "file")
    except DataError:
        return
    # Where only pixels changed, they are what is read.
    start = WHOLE.index(PIXELS.tobytes())
    if all(start <= position < start + PIXELS.size for position, _ in changes):
        expected = np.frombuffer(content, np.uint8, PIXELS.size, start).reshape(PIXELS.shape)
        assert_same(received, {**BATCH, b"data": expected})


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(b"()]}NK\x01aesu\x85\x86\x8702qhRbtldcn.\n"), max_size=60))
def test_any_bytes_give_a_data_error_or_a_value(content: bytes | list[int]) -> None:
    with contextlib.suppress(DataError):
        read_pickle(bytes(content), "file")
