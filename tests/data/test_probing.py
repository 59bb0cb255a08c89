"""Reading in threads and in worker processes: the same facts, errors that come through, nobody left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eyebright.data import probing
from eyebright.data.manifest import Manifest
from eyebright.data.sources import Item, open_source
from eyebright.errors import DataError, EyebrightError

# A worker imports it by its name: what it reads with must lie in a module.
MODULE = """
import functools, os, time
from pathlib import Path

from eyebright.data.sources import Item
from eyebright.errors import DataError


class Source:
    kind, spec, class_names = "folder", "somewhere", None

    def __init__(self, read, images=200):
        self.read, self.images = read, images

    def items(self):
        return (Item(source=f"{number}.jpg", label="ab"[number % 2]) for number in range(self.images))

    def strays(self):
        return []

    def reader(self):
        return self.read


def in_whose_process(source):
    print("a library that talks on the standard output")
    return f"{os.getpid()}".encode()


def slowly(folder, source):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(0.02)
    return b""


def refusing(source):
    if source == "77.jpg":
        raise DataError("the archive is locked", expected="a key", remedy="ask for it")
    return b""


def broken(source):
    if source == "77.jpg":
        class Local(Exception):
            pass
        raise Local("cannot be sent to another process")
    return b""


def dying(source):
    if source == "77.jpg":
        os._exit(9)
    return b""
"""


@pytest.fixture
def odd_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module above; every source is large enough for processes."""
    (tmp_path / "odd_sources.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(probing, "PROCESSES_FROM_IMAGES", 0)
    monkeypatch.setattr(probing, "_PROCESS_CHUNK_IMAGES", 16)
    import odd_sources

    yield odd_sources
    del sys.modules["odd_sources"]


def probed(source: Any, workers: int = 2) -> list[tuple[Item, Any]]:
    rows = []
    for items, facts in probing.probe(source, max_pixels=10**6, workers=workers):
        rows += list(zip(items, zip(*facts, strict=True), strict=True))
    return rows


def running(process: int) -> bool:
    """Whether it runs; one that ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone_within(processes: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(running(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_processes_and_threads_tell_the_same(
    flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(flowers_sample, tmp_path / "flowers"))
    (root / "rose" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    source = open_source(root)
    in_threads = Manifest.scan(source, workers=1)
    started = []
    start = probing._start_workers
    monkeypatch.setattr(probing, "PROCESSES_FROM_IMAGES", 100)
    monkeypatch.setattr(probing, "_PROCESS_CHUNK_IMAGES", 7)
    monkeypatch.setattr(probing, "_start_workers", lambda *given: started.append(start(*given)) or started[-1])
    in_processes = Manifest.scan(source, workers=2)
    assert len(started[0]) == 2
    assert in_processes.table.equals(in_threads.table)
    assert [row["source"] for row in in_processes.ledger()] == ["rose/broken.jpg"]


def test_worker_processes_read_and_end_with_the_work(odd_sources: Any) -> None:
    seen: list[str] = []

    def items(source: Any) -> Iterator[Item]:
        for image in odd_sources.Source.items(source):
            seen.append(image.source)
            yield image

    source = odd_sources.Source(odd_sources.in_whose_process, images=2000)
    source.items = lambda: items(source)
    chunks = probing.probe(source, max_pixels=10**6, workers=2)
    next(chunks)
    # The first 2000 were counted; of the second round only what keeps the workers busy is listed ahead.
    assert 2000 < len(seen) < 2000 + 16 * 2 * probing._CHUNKS_AHEAD + 16
    before = threading.active_count()
    chunks.close()
    assert threading.active_count() < before
    readers = {facts[0] for _, facts in probed(odd_sources.Source(odd_sources.in_whose_process))}
    own = {facts[0] for _, facts in probed(odd_sources.Source(odd_sources.in_whose_process), workers=1)}
    # The bytes, and so the id, are those of the reading process.
    assert 1 <= len(readers) <= 2
    assert len(own) == 1
    assert not own & readers


def test_rows_stay_in_order(odd_sources: Any) -> None:
    rows = probed(odd_sources.Source(odd_sources.in_whose_process, images=333))
    assert [item.source for item, _ in rows] == [f"{number}.jpg" for number in range(333)]


def test_errors_of_a_reader_come_through(odd_sources: Any) -> None:
    with pytest.raises(DataError, match="the archive is locked") as caught:
        probed(odd_sources.Source(odd_sources.refusing))
    assert (caught.value.expected, caught.value.remedy) == ("a key", "ask for it")
    with pytest.raises(RuntimeError, match="Local: cannot be sent"):
        probed(odd_sources.Source(odd_sources.broken))


def test_a_worker_that_dies_is_reported(odd_sources: Any) -> None:
    with pytest.raises(EyebrightError, match=r"ended early \(exit status 9\)"):
        probed(odd_sources.Source(odd_sources.dying))


@pytest.mark.parametrize("kept", [threading.Lock(), lambda source: b""])
def test_what_cannot_be_sent_to_a_process_is_read_in_threads(
    memory_source: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, kept: Any
) -> None:
    monkeypatch.setattr(probing, "PROCESSES_FROM_IMAGES", 0)
    source = memory_source(20)
    source.kept = kept
    assert len(probed(source)) == 20
    assert len(source.reads) == 20  # in this process


def test_a_source_of_the_main_script_is_read_in_threads(
    memory_source: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probing, "PROCESSES_FROM_IMAGES", 0)
    source = memory_source(20)
    # A worker knows another main module, as with a class that a notebook defines.
    monkeypatch.setattr(type(source), "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], type(source).__name__, type(source), raising=False)
    assert len(probed(source)) == 20
    assert len(source.reads) == 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_a_caller_that_is_stopped(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "odd_sources.py").write_text(MODULE)
    (tmp_path / "pids").mkdir()
    # Without `if __name__ == "__main__"`: a worker must not run the script again.
    (tmp_path / "script.py").write_text(f"""
import functools
from eyebright.data import probing
from eyebright.data.manifest import Manifest
import odd_sources
probing.PROCESSES_FROM_IMAGES, probing._PROCESS_CHUNK_IMAGES = 0, 16
Manifest.scan(odd_sources.Source(functools.partial(odd_sources.slowly, {str(tmp_path / "pids")!r}), 10**5), workers=2)
""")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    caller = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")], stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "pids").iterdir())) < 2:
            assert caller.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        processes = [int(path.name) for path in (tmp_path / "pids").iterdir()]
        assert caller.pid not in processes
        caller.send_signal(how)
        _, errors = caller.communicate(timeout=30)
    finally:
        caller.kill()
    assert caller.returncode == -how
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    assert gone_within(processes, seconds=30)
