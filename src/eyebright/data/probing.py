"""What one pass over the bytes of every image tells: its id, size and format, or why it cannot be used. On all cores.

Small files keep the interpreter busy, not the disk, and threads together are then no faster than one. A large set
therefore goes to worker processes, which get names and read the files themselves. A worker is a fresh interpreter that
talks over two pipes: it never runs the caller's main script, and it ends when its input does, so that none outlives a
caller that was killed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import operator
import os
import pickle
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from eyebright.cores import available_cores as available_cores
from eyebright.data.sources.base import Item, Source
from eyebright.decode import UndecodableImage, inspect_image
from eyebright.errors import EyebrightError
from eyebright.identity import content_id
from eyebright.progress import Progress, Silent

_T = TypeVar("_T")
Read = Callable[[str], bytes | npt.NDArray[np.uint8]]

# Starting the processes takes as long as reading about this many small images on two cores.
PROCESSES_FROM_IMAGES = 20_000

_THREAD_CHUNK_IMAGES = 64
_PROCESS_CHUNK_IMAGES = 512
_CHUNKS_AHEAD = 4  # for each reader: enough to keep it busy, few enough to hold little
# Reading waits for the disk when the files are not in memory: more threads than cores keep the cores busy meanwhile.
_THREADS_PER_CORE = 4
_MAX_THREADS = 32
_WORKER_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from eyebright.data.probing import serve; serve()"
)


class Facts(NamedTuple):
    """Columns of equal length, one value an image; `reason` is empty where `status` is ok."""

    id: list[str | None]
    width: list[int | None]
    height: list[int | None]
    format: list[str | None]
    bytes: list[int | None]
    status: list[str]
    reason: list[str]


def probe(
    source: Source, *, max_pixels: int, workers: int | None = None, progress: Progress | None = None
) -> Generator[tuple[list[Item], Facts], None, None]:
    """Read every image once, in the order of `source.items()`, and give chunks of items with their facts.

    Processes read a large source that can be pickled, or that has a method `reader()`: it returns a picklable function
    that reads like `source.read` and holds no list of items. Threads read every other source.

    Args:
        source: asked for its items twice when it cannot tell their number: to count them, and to read them.
        max_pixels: larger images get the status `too-large`.
        workers: cores to use; those that this process may use when None.
        progress: told how many images were read.

    Raises:
        EyebrightError: a worker process was killed from outside.
    """
    cores = workers or available_cores()
    count = _count(source)
    # Callbacks run in reverse: drop the waiting chunks, kill the processes, join the threads, close the pipes.
    with contextlib.ExitStack() as stack:
        task = stack.enter_context((progress or Silent()).task("reading images", count))
        processes = _start_workers(source, max_pixels, cores) if cores > 1 and count >= PROCESSES_FROM_IMAGES else []
        for process in processes:
            stack.callback(process.close)
        look: Callable[[list[str]], Facts]
        if processes:
            look, readers, chunk_images = _ask_idle(processes), len(processes), _PROCESS_CHUNK_IMAGES
        else:
            look = functools.partial(look_at, source.read, max_pixels)
            readers, chunk_images = min(_MAX_THREADS, _THREADS_PER_CORE * cores), _THREAD_CHUNK_IMAGES
        pool = ThreadPoolExecutor(max_workers=readers, thread_name_prefix="probe")
        stack.callback(pool.shutdown)
        for process in processes:
            stack.callback(process.kill)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        pending: deque[tuple[list[Item], Future[Facts]]] = deque()
        for chunk in _chunks(source.items(), chunk_images):
            pending.append((chunk, pool.submit(look, [item.source for item in chunk])))
            if len(pending) >= readers * _CHUNKS_AHEAD:
                items, facts = pending.popleft()
                yield items, facts.result()
                task.advance(len(items))
        for items, facts in pending:
            yield items, facts.result()
            task.advance(len(items))


def look_at(read: Read, max_pixels: int, sources: Sequence[str]) -> Facts:
    """The facts of these images, read one after the other."""
    rows = [_look_at_one(read, max_pixels, source) for source in sources]
    return Facts(*(list(column) for column in zip(*rows, strict=True)))


def serve() -> None:
    """Be a worker process: answer lists of sources on the standard input with facts on the standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    try:
        read, max_pixels = pickle.load(sys.stdin.buffer)
        _send(answers, "ready")
    except Exception as error:  # a class that only the caller's main script knows, say: threads will do
        _send(answers, _portable(error))
        return
    with ThreadPoolExecutor(max_workers=_THREADS_PER_CORE) as pool:
        while True:
            try:
                sources = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                parts = pool.map(functools.partial(look_at, read, max_pixels), _chunks(sources, _THREAD_CHUNK_IMAGES))
                answer: object = Facts(*(list(itertools.chain(*columns)) for columns in zip(*parts, strict=True)))
            except Exception as error:
                answer = _portable(error)
            _send(answers, answer)


class _Worker:
    """A process that reads images."""

    def __init__(self, greeting: bytes) -> None:
        # In a session of its own: Ctrl-C is for the caller, who ends the workers.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER_CODE, json.dumps([path for path in sys.path if isinstance(path, str)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        with contextlib.suppress(OSError):  # it has ended already: `is_ready` will tell
            self._requests.write(greeting)
            self._requests.flush()

    def is_ready(self) -> bool:
        try:
            return bool(pickle.load(self._answers) == "ready")
        except (EOFError, OSError, pickle.UnpicklingError):
            return False

    def ask(self, sources: list[str]) -> Facts:
        try:
            pickle.dump(sources, self._requests)
            self._requests.flush()
            answer = pickle.load(self._answers)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise EyebrightError(
                f"a process that was reading images ended early (exit status {self._process.wait()})",
                remedy="if the machine ran out of memory, free some and try again",
            ) from error
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, Facts)
        return answer

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()


def _start_workers(source: Source, max_pixels: int, count: int) -> list[_Worker]:
    """Processes that are ready to read `source`; none when it cannot be sent to them."""
    if not sys.executable or getattr(sys, "frozen", False):  # no interpreter that could be started by itself
        return []
    reader = source.reader() if hasattr(source, "reader") else source.read
    try:
        greeting = pickle.dumps((reader, max_pixels), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:  # an open file, a lock, a lambda: pickle raises several kinds of errors
        return []
    workers: list[_Worker] = []
    try:
        for _ in range(count):
            workers.append(_Worker(greeting))
        ready = [worker.is_ready() for worker in workers]
    except BaseException:
        for worker in workers:
            worker.close()
        raise
    if not all(ready):
        for worker in workers:
            worker.close()
        return []
    return workers


def _ask_idle(workers: Sequence[_Worker]) -> Callable[[list[str]], Facts]:
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def ask(sources: list[str]) -> Facts:
        worker = idle.get()
        try:
            return worker.ask(sources)
        finally:
            idle.put(worker)

    return ask


def _look_at_one(read: Read, max_pixels: int, source: str) -> tuple[Any, ...]:
    image, size = None, None
    try:
        content = read(source)
        image, size = content_id(content), content.nbytes if isinstance(content, np.ndarray) else len(content)
        header = inspect_image(content, max_pixels)
    except UndecodableImage as error:
        return image, None, None, None, size, error.status, error.problem
    return image, header.width, header.height, header.format, size, "ok", ""


def _count(source: Source) -> int:
    items = source.items()
    return operator.length_hint(items) or sum(1 for _ in items)


def _chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _send(answers: Any, answer: object) -> None:
    try:
        pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()
    except BrokenPipeError:  # the caller is gone
        os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the way to the caller, else its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
