"""Every way to run a block on images of different lengths gives what the block gives for each image alone."""

import json

import pytest
import torch
from timm.models.vision_transformer import Block

from core.__main__ import main
from core.benchmarks.ragged import ways
from core.commands import bench

NAMES = ("pad all", "pad in 4 groups", "packed, attention on slices", "packed, attention in 4 groups")


@pytest.mark.parametrize("name", [*NAMES, "nested, jagged", "nested, strided"])
@torch.inference_mode()
def test_a_way_gives_each_image_what_it_gets_alone(name) -> None:
    torch.manual_seed(0)
    block = Block(24, 3, qkv_bias=True).eval()
    tokens = [torch.randn(count, 24) for count in (7, 3, 11, 5, 9)]
    found = ways(block, tokens)[name]()
    for ours, x in zip(found, tokens, strict=True):
        torch.testing.assert_close(ours, block(x[None])[0], atol=1e-5, rtol=1e-5)


def test_the_command_measures_all_ways_and_takes_nothing_else(monkeypatch, capsys) -> None:
    monkeypatch.setattr(bench, "CASES", (("tiny", 24, 3, 5, 8, 0.3),))
    assert main(["bench", "--ragged", "--repeats", "4", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert set(row["share"]) >= set(NAMES)
    assert all(share > 0 for share in row["share"].values())
    for flags in (["--model", "bundled-tokens"], ["--batch", "4"], ["--keep", "0.5"], ["--budget", "60%"]):
        assert main(["bench", "--ragged", *flags]) == 2
        assert "measures blocks of its own; omit" in capsys.readouterr().err
    assert main(["bench", "--ragged", "--training"]) == 2
    assert "ask for one" in capsys.readouterr().err
