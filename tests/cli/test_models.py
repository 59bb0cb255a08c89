"""`eyebright models` as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from wrong_input_cases import ask

from eyebright.cli.main import main
from eyebright.models.kind_names import KINDS
from eyebright.models.timing import Timing

ACTIONS = ("list", "show", "check")
LIMITS = ("--max-parameters", "200000", "--min-receptive-field", "45")
CIFAR = (*LIMITS, "--forbid", "max-pool", "--require", "depthwise-separable,dilated,gap")


def told(*arguments: str, code: int = 0) -> str:
    answer = ask(["models", *arguments])
    assert answer.code == code, answer.messages
    return str(answer.output)


def told_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(told(*arguments, "--json", code=code))


def refused(*arguments: str, code: int = 2) -> str:
    answer = ask(["models", *arguments])
    assert answer.code == code, answer.messages + answer.output
    assert "to fix it" in answer.messages
    return " ".join(answer.messages.split())


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help_with_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", action, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: eyebright models {action}" in text
    assert "Example" in text


def test_the_help_of_check_names_every_kind_of_layer(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "check", "--help"])
    text = "".join(capsys.readouterr().out.split())
    assert all(kind in text for kind in KINDS)


def test_our_own_networks_come_first_and_are_marked() -> None:
    lines = told("list").splitlines()
    marked = [line.split()[0] for line in lines if line.endswith("Eyebright's own")]
    assert {"smallnet", "cifar10net_v2", "deep_v1"} <= set(marked)
    assert [line.split()[0] for line in lines[: len(marked)]] == marked
    assert "resnet18" in lines
    assert told_json("list")[: len(marked)] == marked
    assert told().splitlines() == lines


def test_names_by_pattern() -> None:
    assert told("list", "resnet1?").split() == ["resnet18"]
    assert told_json("list", "fashion_*") == ["fashion_ann", "fashion_cnn", "fashion_deep_cnn"]


def test_show_gives_layers_and_what_they_cost() -> None:
    text = told("show", "cifar10net_v2", "--depth", "2")
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert lines[1].split() == ["Cifar10NetV2", "Cifar10NetV2", "10", "181,942", "21.5", "M"]
    assert any(line.split() == ["1", "Transition", "32x16x16", "9,856", "2.88", "M"] for line in lines)
    for part in ("images of 3x32x32, 10 classes", "181,942 (all trainable)", "43.0 M FLOPs", "81 px at each position",
                 "4 x 4 positions, 8 px apart, then average pooling", "1 dilated", "none are published"):  # fmt: skip
        assert part in text
    assert all(line == line.rstrip() for line in lines)


def test_show_takes_another_size_and_number_of_classes() -> None:
    facts = told_json("show", "deep_v1", "--input", "3x64x96", "--classes", "4")
    assert (facts["name"], facts["input_size"], facts["classes"]) == ("deep_v1", [3, 64, 96], 4)
    assert facts["receptive_field"]["map_size"] == [2, 3]
    assert facts["receptive_field"]["height"] == 94
    assert facts["layers"][0]["multiply_adds"] == facts["multiply_adds"] == facts["flops"] // 2
    assert facts["facts"]["origin"] == "catalogue"


def test_show_says_where_the_weights_come_from() -> None:
    assert "weights      installed, licence Apache-2.0" in told(
        "show", "tf_efficientnet_lite0", "--input", "3x64x64", "--depth", "1"
    )
    assert "weights      from the hub" in told("show", "lcnet_035", "--input", "3x64x64", "--depth", "1")


def test_show_says_what_else_sees_the_whole_image() -> None:
    text = told("show", "mobilenetv3_small_050", "--input", "3x64x64", "--depth", "1")
    assert "639 px, and the whole image by squeeze-excitation" in text
    assert "the whole image, 28 px, mixed at once" in told("show", "fashion_ann")


def test_a_table_on_a_terminal_has_rules_and_fits() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from eyebright.cli.main import entry; entry()", "models", "show", "fashion_ann"]
    environment = {**os.environ, "COLUMNS": "70", "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        received = b""
        try:
            while part := os.read(ours, 4096):
                received += part
        except OSError:  # the other side was closed
            pass
    os.close(ours)
    assert process.returncode == 0
    text = received.decode()
    assert "───" in text
    assert "\x1b[1m" in text


@pytest.mark.parametrize("text", ["128", "3x128", "3xAx128", "0x8x8", "128,128"])
def test_a_size_that_is_none(text: str) -> None:
    assert f"{text!r}" in refused("show", "smallnet", "--input", text)
    assert f"{text!r}" in refused("check", "smallnet", "--max-parameters", "5", "--input", text)


def test_a_size_that_the_network_cannot_take() -> None:
    message = refused("show", "deep_v1", "--input", "3x16x16")
    assert "deep_v1 cannot take images of 3x16x16" in message
    assert "larger images" in message


def test_an_unknown_network() -> None:
    assert "unknown network 'resnet_18' (did you mean 'resnet18'?)" in refused("show", "resnet_18")
    assert "unknown network 'resnet_18'" in refused("check", "resnet_18", "--max-parameters", "1")


def test_an_unknown_action() -> None:
    assert "there is no action 'lst' (did you mean 'list'?)" in refused("lst")


def test_check_gives_a_line_for_each_requirement() -> None:
    lines = told("check", "cifar10net_v2", *CIFAR).splitlines()
    assert lines == [
        "met      at most 200,000 parameters (found 181,942)",
        "met      a receptive field of at least 45 pixels (found 81 px)",
        "met      no max-pool (found none)",
        "met      at least one depthwise-separable (found 1)",
        "met      at least one dilated (found 1)",
        "met      at least one gap (found 1)",
    ]


def test_check_names_what_fails_and_exits_with_9() -> None:
    answer = ask(["models", "check", "cifar10net_v2", "--max-parameters", "100000", "--require", "gap,residual"])
    assert answer.code == 9
    assert "NOT MET  at most 100,000 parameters (found 181,942)" in answer.output
    assert "met      at least one gap (found 1)" in answer.output
    assert (
        "does not satisfy 2 of 3 requirements: at most 100,000 parameters (found 181,942); at least one residual"
        in (answer.messages)
    )
    assert "raise max_parameters" in answer.messages


def test_check_counts_the_parameters_for_the_number_of_classes() -> None:
    assert told_json("check", "cifar10net_v2", *LIMITS)["met"]
    assert not told_json("check", "cifar10net_v2", *LIMITS, "--classes", "1000", code=9)["met"]


def test_check_as_json_is_one_document_either_way() -> None:
    good = told_json("check", "cifar10net_v2", *CIFAR)
    assert (good["name"], good["input_size"], good["met"], len(good["findings"])) == (
        "cifar10net_v2",
        [3, 32, 32],
        True,
        6,
    )
    bad = told_json("check", "smallnet", "--forbid", "residual", "--input", "3x32x32", code=9)
    assert (bad["met"], bad["error"], bad["exit_code"]) == (False, "RequirementsError", 9)
    assert bad["findings"] == [
        {"requirement": "no residual", "met": False, "found": "3", "remedy": bad["findings"][0]["remedy"]}
    ]


def test_check_wants_to_be_asked_something_that_it_knows() -> None:
    assert "nothing was asked of smallnet" in refused("check", "smallnet")
    assert "unknown kind of layer 'maxpool' (did you mean 'max-pool'?)" in refused(
        "check", "smallnet", "--forbid", "maxpool"
    )
    assert "--max-parameters" in refused("check", "smallnet", "--max-parameters", "0")


def test_the_table_of_pretrained_networks() -> None:
    lines = told("list", "mobilenetv3_small*", "--pretrained").splitlines()
    assert lines[0].split() == ["model", "weights", "parameters", "input", "px", "top-1", "%", "top-5", "%"]
    assert [line.split() for line in lines[1:4]] == [
        ["mobilenetv3_small_100.lamb_in1k", "hub", "2.54", "M", "224", "67.638", "87.650"],
        ["mobilenetv3_small_075.lamb_in1k", "hub", "2.04", "M", "224", "65.266", "85.466"],
        ["mobilenetv3_small_050.lamb_in1k", "hub", "1.59", "M", "224", "57.924", "80.142"],
    ]
    assert lines[-1] == "3 of 3 networks; accuracy on ImageNet as timm publishes it"


def test_pretrained_networks_by_size_order_and_number() -> None:
    rows = told_json("list", "--pretrained", "--max-parameters", "3000000", "--sort", "parameters", "--limit", "5")
    assert len(rows) == 5
    numbers = [row["parameters_millions"] for row in rows]
    assert numbers == sorted(numbers)
    assert max(numbers) <= 3
    assert len(told_json("list", "--pretrained")) > 1000
    assert len(told("list", "--pretrained").splitlines()) < 40


def test_installed_weights_are_marked() -> None:
    text = told("list", "--pretrained", "--offline")
    assert "tf_efficientnet_lite0.in1k  installed" in text
    assert "--model tf_efficientnet_lite0" in text
    (row,) = told_json("list", "--pretrained", "--offline")
    assert (row["installed_as"], row["milliseconds"]) == ("tf_efficientnet_lite0", None)


def test_rows_are_measured_when_asked_and_sorted_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    medians = iter((3.0, 1.0, 2.0))

    def time_it(network: object, size: object) -> Timing:
        median = next(medians)
        return Timing(median=median, low=median - 0.5, high=median + 0.5, runs=9)

    monkeypatch.setattr("eyebright.models.published.time_one_image", time_it)
    arguments = ("list", "mobilenetv3_small*", "--pretrained", "--measure", "--sort", "milliseconds")
    rows = told_json(*arguments)
    assert [row["milliseconds"]["median"] for row in rows] == [1.0, 2.0, 3.0]
    assert rows[0]["model"] == "mobilenetv3_small_075.lamb_in1k"
    medians = iter((3.0, 1.0, 2.0))
    lines = told(*arguments).splitlines()
    assert lines[1].split()[-4:] == ["1.0", "0.5", "to", "1.5"]
    assert "median and quartiles" in lines[-1]


def test_options_of_the_table_that_make_no_sense() -> None:
    assert "--sort 'size' was not understood" in refused("list", "--pretrained", "--sort", "size")
    assert "without --measure" in refused("list", "--pretrained", "--sort", "milliseconds")
    assert "--offline was given without --pretrained" in refused("list", "--offline")
    assert "--measure would run" in refused("list", "--pretrained", "--measure", "--limit", "200")
    assert "no published network is named 'resnet81'" in refused("list", "resnet81", "--pretrained")
    assert "none of" in refused("list", "--pretrained", "--max-parameters", "10")


def test_json_stands_behind_the_action() -> None:
    assert "--json stands before the action" in refused("--json", "show", "smallnet")
