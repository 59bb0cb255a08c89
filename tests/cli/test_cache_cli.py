"""`eyebright cache` as people and programs meet it: it shows, asks, and says what it did."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eyebright.cli.main import main
from eyebright.data.manifest import Manifest
from eyebright.data.pack import pack_images
from eyebright.data.sources import open_source
from eyebright.preprocess import Preprocess
from eyebright.run import create_run

DAY = 24 * 3600.0
ENTRY = [sys.executable, "-c", "from eyebright.cli.main import entry; entry()"]


@pytest.fixture
def cache(flowers_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache: packs of the same photos at 16 px, 40 days old, and at 32 px, new."""
    monkeypatch.setenv("EYEBRIGHT_CACHE", str(tmp_path / "cache"))
    source = open_source(flowers_sample)
    manifest = Manifest.scan(source)
    old = pack_images(manifest, source, Preprocess(size=16)).folder
    pack_images(manifest, source, Preprocess(size=32))
    moment = time.time() - 40 * DAY
    for path in (*old.iterdir(), old):
        os.utime(path, (moment, moment))
    return tmp_path / "cache"


def told(arguments: list[str], capsys: pytest.CaptureFixture[str], *, code: int = 0) -> str:
    received = main(["cache", *arguments])
    captured = capsys.readouterr()
    assert received == code, captured.err
    return captured.out if code == 0 else captured.err


def packs(cache: Path) -> set[str]:
    """Geometry of the packs that are there."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in cache.glob("packs/*/pack.json"))
    return {f"{facts['shape'][1]} px" for facts in found}


def test_the_cache_is_shown(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = told([], capsys)
    assert text.startswith(f"{cache}: ")
    assert "packs: decoded images" in text
    old, new = (line for line in text.splitlines() if " images of " in line)
    assert "120 images of 16x16x3" in old
    assert "made 40 days ago, used 40 days ago" in old
    assert "120 images of 32x32x3" in new
    assert "used just now" in new


def test_the_cache_is_shown_to_programs(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = json.loads(told(["--json"], capsys))
    assert facts["cache"] == str(cache)
    assert [part["details"] for part in facts["parts"]] == ["120 images of 16x16x3", "120 images of 32x32x3"]
    assert facts["bytes"] == sum(part["bytes"] for part in facts["parts"])
    assert {part["state"] for part in facts["parts"]} == {"ready"}


def test_a_dry_run_removes_nothing_and_a_clean_what_the_dry_run_showed(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(["clean", "--older-than", "30d", "--dry-run"], capsys)
    assert "1 part of" in text
    assert "nothing was removed" in text
    assert packs(cache) == {"16 px", "32 px"}
    text = told(["clean", "--older-than", "30d", "--yes"], capsys)
    assert "removed 1 part," in text
    assert "the images are decoded again" in text
    assert packs(cache) == {"32 px"}


def test_a_clean_tells_programs_what_it_removed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(told(["clean", "--keep-bytes", "0", "--kind", "packs", "--yes", "--json"], capsys))
    assert len(facts["removed"]) == 2
    assert facts["bytes_removed"] == sum(part["bytes"] for part in facts["chosen"])
    assert facts["in_use"] == []
    assert packs(cache) == set()


def test_without_a_terminal_nothing_is_removed_unless_the_user_said_so(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "add --yes" in told(["clean"], capsys, code=2)
    assert packs(cache) == {"16 px", "32 px"}


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", {"16 px", "32 px"}), (b"y\n", set())])
def test_on_a_terminal_the_user_is_asked(cache: Path, answer: bytes, left: set[str]) -> None:
    leader, follower = pty.openpty()
    os.write(leader, answer)
    done = subprocess.run(
        [*ENTRY, "cache", "clean"], stdin=follower, capture_output=True, text=True, timeout=60, check=True
    )
    os.close(leader)
    os.close(follower)
    assert "Remove them? [y/N]" in done.stderr
    assert packs(cache) == left


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["clean", "--kind", "pack", "--yes"], "did you mean 'packs'"),
        (["clean", "--older-than", "long", "--yes"], "'long' is not an age"),
        (["clean", "--larger-than", "big", "--yes"], "'big' is not an amount of storage"),
        (["clean", "--checkpoints", "--yes"], "--checkpoints and --runs belong together"),
        (["clean", "--checkpoints", "--runs", "runs", "--older-than", "1d", "--yes"], "not checkpoints"),
        (["--runs", "runs", "clean"], "--runs stands before the action"),
        (["--json", "clean"], "--json stands before the action"),
        (["cleen"], "did you mean 'clean'"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_removed(
    arguments: list[str], says: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in told(arguments, capsys, code=2)
    assert packs(cache) == {"16 px", "32 px"}


def test_what_runs_take_is_shown_and_checkpoints_of_complete_ones_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, state in (("stopped", "complete"), ("killed", "interrupted")):
        run = create_run(tmp_path / "runs", name)
        run.set_state(state)
        run.checkpoint.mkdir()
        (run.checkpoint / "network.safetensors").write_bytes(b"x" * 200_000)
    runs = str(tmp_path / "runs")
    text = told(["--runs", runs], capsys)
    assert "removes the checkpoints of complete runs" in text
    (line,) = (line for line in text.splitlines() if line.startswith("killed"))
    assert line.split()[1] == "interrupted"
    parts = json.loads(told(["--runs", runs, "--json"], capsys))["parts"]
    assert {part["path"] for part in parts} == {f"{runs}/stopped", f"{runs}/killed"}
    assert all(part["shares"]["checkpoint"] >= 200_000 for part in parts)
    told(["clean", "--checkpoints", "--runs", runs, "--dry-run"], capsys)
    assert (tmp_path / "runs" / "stopped" / "checkpoint").is_dir()
    text = told(["clean", "--checkpoints", "--runs", runs, "--yes"], capsys)
    assert "`eyebright resume` cannot go on with these runs then" in text
    assert not (tmp_path / "runs" / "stopped" / "checkpoint").exists()
    assert (tmp_path / "runs" / "killed" / "checkpoint").is_dir()


def test_a_folder_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "has no run" in told(["--runs", str(tmp_path)], capsys, code=3)
