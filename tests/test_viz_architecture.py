"""The derived network and the diagram of all budgets, from architectures made by hand."""

from core.results import Architecture
from viz.architecture import architecture_sentence, mixers_sentence, network, phase_diagram
from viz.theme import MARK, MIXER_LOOKS

SMALL = Architecture(("msa", "conv3x3", "skip"), (10, 5, 0), (10, 10, 10), 50, 100, asked_macs=55.0, step_macs=6)
FULL = Architecture(("msa", "msa", "msa"), (10, 10, 10), (10, 10, 10), 100, 100, asked_macs=100.0)


def test_every_cell_says_its_mixer_in_words() -> None:
    figure = network(SMALL, [30, 15, 5])
    scatters = [trace for trace in figure.data if trace.type == "scatter"]
    cells = {cell for trace in scatters for cell in zip(trace.y, trace.text, strict=True)}
    assert cells == {(1, "MSA"), (2, "3\N{MULTIPLICATION SIGN}3"), (3, "skip")}


def test_ffn_bars_are_the_share_of_hidden_units_left() -> None:
    bar = next(trace for trace in network(SMALL, [30, 15, 5]).data if trace.name == "FFN hidden units left")
    assert list(bar.x) == [1.0, 0.5, 0.0]


def test_block_one_stands_on_top() -> None:
    low, high = network(SMALL, [30, 15, 5]).layout.yaxis.range
    assert low > high


def test_each_block_says_what_it_costs() -> None:
    notes = [note.text for note in network(SMALL, [30_000_000, 15_000_000, 5_000]).layout.annotations]
    assert {"100 % · 30.0 M", "50 % · 15.0 M", "0 % · 5.00 k"} <= set(notes)


def test_phase_diagram_has_one_cell_for_each_block_and_budget() -> None:
    figure = phase_diagram([SMALL, FULL], ["50", "100"], here=0)
    cells = [(x, y) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True) if x is not None]
    assert sorted(cells) == [(column, block) for column in range(2) for block in (1, 2, 3)]


def test_phase_diagram_frames_the_present_budget_only() -> None:
    frames = phase_diagram([SMALL, FULL], ["50", "100"], here=1).layout.shapes
    assert [(f.x0, f.x1, f.line.color) for f in frames] == [(0.5, 1.5, MARK)]


def test_phase_diagram_names_all_four_mixers_even_those_that_are_absent() -> None:
    figure = phase_diagram([FULL], ["100"], here=0)
    assert [trace.name for trace in figure.data] == [
        "MSA",
        "3\N{MULTIPLICATION SIGN}3",
        "1\N{MULTIPLICATION SIGN}1",
        "skip",
    ]
    assert len({look.colour for look in MIXER_LOOKS.values()}) == 4


def test_sentences_count_blocks_and_hidden_units() -> None:
    assert architecture_sentence(SMALL) == "1 of 3 blocks keep their attention; 50 % of the FFN hidden units are left"
    assert "1 became a 3\N{MULTIPLICATION SIGN}3 convolution, 1 mix nothing" in mixers_sentence(SMALL)
    assert mixers_sentence(FULL) == "Every block still has its attention."
