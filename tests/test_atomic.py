"""Writing whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eyebright.atomic import explained, replacing_file, replacing_folder, write_json, write_text
from eyebright.errors import StorageError


def test_an_error_keeps_the_former_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(RuntimeError), replacing_file(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_keeps_the_former_folder(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "f") as temporary:
        (temporary / "x").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "f") as temporary:
        (temporary / "y").write_text("2")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["f"]
    assert os.listdir(tmp_path / "f") == ["x"]


def test_a_folder_is_replaced_with_all_that_was_in_it(tmp_path: Path) -> None:
    for name in ("x", "y"):
        with replacing_folder(tmp_path / "f") as temporary:
            (temporary / name).write_text(name)
    assert os.listdir(tmp_path / "f") == ["y"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "cannot be written"), (errno.EACCES, "cannot be written")],
)
def test_errors_of_the_disk_say_what_to_do(number: int, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, explained("somewhere"):
        raise OSError(number, os.strerror(number))
    assert "--output" in (caught.value.remedy or "")


def test_nan_is_not_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not os.listdir(tmp_path)


def test_kill_while_writing_leaves_the_former_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    script = (
        "import sys, time\nfrom eyebright.atomic import replacing_file\n"
        "with replacing_file(sys.argv[1]) as t:\n"
        " t.write_text('half of')\n print('ready', flush=True)\n time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "before"
