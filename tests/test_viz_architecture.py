"""What a budget leaves, in words, from architectures made by hand."""

from dataclasses import replace

from core.results import Architecture
from viz.architecture import architecture_sentence, mixers_sentence

SMALL = Architecture(("msa", "conv3x3", "skip"), (10, 5, 0), (10, 10, 10), 50, 100, asked_macs=55.0, step_macs=6)
FULL = Architecture(("msa", "msa", "msa"), (10, 10, 10), (10, 10, 10), 100, 100, asked_macs=100.0)


def test_sentences_count_blocks_and_hidden_units() -> None:
    assert architecture_sentence(SMALL) == "1 of 3 blocks keep their attention; 50 % of the FFN hidden units are left"
    assert mixers_sentence(SMALL) == (
        "Block 2 became a 3\N{MULTIPLICATION SIGN}3 convolution; block 3 no longer mixes tokens."
    )
    two = replace(SMALL, mixers=("conv1x1", "msa", "conv1x1"))
    assert mixers_sentence(two) == "Blocks 1 and 3 became 1\N{MULTIPLICATION SIGN}1 convolutions."
    assert mixers_sentence(FULL) == "Every block still has its attention."
