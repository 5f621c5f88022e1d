"""What a command is asked for, typed: every flag arrives, and what a run records of it is what was typed."""

import argparse
from dataclasses import fields

import pytest

from core.commands import parsers, requests
from core.commands.session import recorded

ASKED = {
    "fetch": (requests.FetchRequest, ["deit_tiny_patch16_224"]),
    "score": (requests.ScoreRequest, ["--model", "m", "--out", "o"]),
    "untrained": (requests.UntrainedRequest, ["--model", "m", "--out", "o", "--data", "d"]),
    "schedule": (requests.TargetsRequest, ["--model", "m"]),
    "train": (requests.TrainRequest, ["--data", "d", "e", "--out", "o", "--classes", "list.txt"]),
    "search": (requests.SearchRequest, ["--model", "m", "--data", "d", "--out", "o"]),
    "finetune": (requests.FinetuneRequest, ["--model", "m", "--data", "d", "--out", "o", "--blocks", "3,6"]),
}


def parsed(command: str, arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    getattr(parsers, f"add_{command}")(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("command", ASKED)
def test_a_request_holds_every_flag_of_its_command_and_nothing_else(command) -> None:
    kind, arguments = ASKED[command]
    flags = vars(parsed(command, arguments)).keys()
    assert {field.name for field in fields(kind)} == flags | {"command"}  # that is the parser's above it


@pytest.mark.parametrize("command", ["search", "finetune"])
def test_a_run_records_what_was_typed_and_the_rate_that_follows_from_the_batch(command) -> None:
    kind, arguments = ASKED[command]
    flags = parsed(command, [*arguments, "--batch", "64"])
    flags.command = command
    told = recorded(requests.read(kind, flags))
    assert told["lr"] == flags.lr_per_512 / 8
    typed = {key: value for key, value in vars(flags).items() if key in told and key != "lr"}
    assert told == typed | {"lr": told["lr"]}
    assert vars(flags).keys() - told.keys() == {
        *("lr_per_512", "json", "device", "resume", "out", "workers", "data", "precision", "save_minutes")
    }


def test_the_usual_stands_only_where_nothing_was_typed() -> None:
    kind, arguments = ASKED["train"]
    request = requests.read(kind, parsed("train", [*arguments, "--epochs", "2"]), parsers.USUAL | parsers.FINE_TUNING)
    assert (request.epochs, request.layer_decay, request.batch) == (2, 0.75, 64)
    assert request.rate == pytest.approx(1.6e-3 * 64 / 512)
    assert [str(one) for one in request.data] == ["d", "e"]
