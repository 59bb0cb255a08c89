"""Whatever is wrong, the answer says what was received, what was expected and what to do, and nothing is left over."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wrong_input_cases import CASES, Case, ask, place_in

from eyebright.bundle import read_bundle
from eyebright.errors import BundleError


def contents(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Every path below a folder with the hash of its bytes, but for those below the names in `without`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
        if path.relative_to(folder).parts[0] not in without
    }


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("wrong", CASES, ids=[case.kind for case in CASES])
def test_the_answer_helps_and_nothing_is_left_over(wrong: Case, tmp_path: Path, trained_run: Path) -> None:
    with place_in(tmp_path / "place", run=trained_run, seen=trained_run.parents[1] / "stripes") as place:
        arguments = wrong.command(place)
        before, run_before = contents(place.folder), contents(trained_run)
        answer = ask(arguments)
        after = contents(place.folder, without=("cache",))
    told = flat(answer.messages + answer.output)
    assert answer.code == wrong.code, told
    for part in (wrong.received, wrong.expected, wrong.remedy):
        assert part.format(folder=place.folder) in told
    assert "Traceback" not in told
    assert contents(trained_run) == run_before
    left = set(after) - set(before)
    assert {path: after.get(path) for path in before} == before
    if not wrong.leaves_run:
        assert not left
        return
    runs = {place.folder / Path(path).parts[0] for path in left}
    assert len(runs) == 1
    (run,) = runs
    assert json.loads((run / "state.json").read_text(encoding="utf-8"))["state"] == "failed"
    assert not [path for path in left if path.endswith(".partial")]
    with pytest.raises(BundleError, match="did not finish"):
        read_bundle(run)


def test_every_kind_is_told_once() -> None:
    kinds = [case.kind for case in CASES]
    assert len(set(kinds)) == len(kinds) >= 32


IN_A_PROCESS = ("an unknown verb", "an unknown option", "a missing image among others", "a graph that is cut off")


@pytest.mark.parametrize("kind", IN_A_PROCESS)
def test_the_installed_command_answers_alike(kind: str, tmp_path: Path, trained_run: Path) -> None:
    wrong = next(case for case in CASES if case.kind == kind)
    with place_in(tmp_path, run=trained_run, seen=trained_run) as place:
        arguments = [str(argument) for argument in wrong.command(place)]
        here = ask(arguments)
        command = [sys.executable, "-c", "from eyebright.cli.main import entry; entry()", *arguments]
        there = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (there.returncode, there.stdout, there.stderr) == (here.code, here.output, here.messages)


def test_errors_are_json_where_json_was_asked_for(tmp_path: Path) -> None:
    answer = ask(["train", tmp_path / "nowhere", "--json"])
    facts = json.loads(answer.output)
    assert facts["error"] == "DataError"
    assert facts["exit_code"] == answer.code == 3
    assert facts["problem"] in flat(answer.messages)
    assert facts["expected"] in flat(answer.messages)
    usage = ask(["train", "--json", "--bogus"])
    assert json.loads(usage.output)["exit_code"] == usage.code == 2


def test_a_mistake_of_ours_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr("eyebright.jobs.verify.verify", broken)
    answer = ask(["verify", "anything"])
    assert answer.code == 70
    assert "Traceback" in answer.messages
    assert "eyebright: a mistake in Eyebright itself: ZeroDivisionError: one over nothing" in answer.messages


def test_an_interrupt_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eyebright.jobs.verify.verify", interrupted)
    answer = ask(["verify", "anything"])
    assert (answer.code, answer.messages) == (130, "eyebright: stopped by the user\n")


MOUNTS = {
    "a read-only file system": (
        "mount --bind {runs} {runs} && mount -o remount,bind,ro {runs}",
        "Read-only file system",
    ),
    "a full file system": ("mount -t tmpfs -o size=16k eyebright {runs}", "the disk is full"),
}


@pytest.mark.parametrize(("mount", "told"), MOUNTS.values(), ids=list(MOUNTS))
def test_a_file_system_that_takes_nothing(mount: str, told: str, stripes: Path, tmp_path: Path) -> None:
    """A real one, in a mount namespace that ends with the process."""
    runs = tmp_path / "runs"
    runs.mkdir()
    mounted = mount.format(runs=runs)
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    tried = [*inside, mounted]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let a process mount a file system of its own")
    entry = f'{sys.executable} -c "from eyebright.cli.main import entry; entry()"'
    train = f"{entry} train {stripes} --recipe scratch --epochs 1 --output {runs}"
    command = f"{mounted} && {train}; code=$?; find {runs}; exit $code"
    result = subprocess.run([*inside, command], capture_output=True, text=True, check=False)
    assert result.returncode == 7
    assert told in result.stderr
    assert "--output DIR" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout.split() == [str(runs)]
