"""What the budget scrubber is sent, from architectures made by hand."""

import json

import pytest

from core.results import MIXERS, Architecture
from viz.components import Slider
from viz.savings import accuracy_figure
from viz.scrubber import SCRIPT, STYLE, Beside, budget_figures, scrubber_data
from viz.theme import MIXER_WORDS

TOP1 = accuracy_figure([(0.7, True), (None, False)], ", dense 71 %")
SMALL = Architecture(("msa", "conv3x3", "skip"), (10, 5, 0), (10, 10, 10), 50, 100, asked_macs=55.0, step_macs=6)
FULL = Architecture(("msa", "msa", "msa"), (10, 10, 10), (10, 10, 10), 100, 100, asked_macs=100.0)
SLIDER = Slider("Budget", 55, 45, ["55 %", "100 %"], [55, 100], "Budget, %")
COSTS = [[30_000_000, 15_000_000, 0], [40_000_000] * 3]


def data(**more) -> dict:
    figures = budget_figures([SMALL, FULL], None, "", TOP1)
    return scrubber_data(SLIDER, [SMALL, FULL], COSTS, figures, ("A", "B"), **more)


def test_every_step_has_all_that_is_drawn() -> None:
    sent = data()
    assert [[sent["looks"][m]["word"] for m in step] for step in sent["mixers"]] == [
        ["MSA", "3\N{MULTIPLICATION SIGN}3", "skip"],
        ["MSA"] * 3,
    ]
    assert sent["hidden"] == [[10, 5, 0], [10, 10, 10]]
    assert sent["costs"][0] == ["30.0 M", "15.0 M", "0.00 k"]
    assert (sent["slider"]["min"], sent["slider"]["max"]) == (55, 100)
    assert sent["sentences"][0].startswith("1 of 3 blocks keep their attention")


def test_mixers_differ_by_word_and_hatch_not_by_colour_alone() -> None:
    looks = data()["looks"]
    assert [look["word"] for look in looks] == [MIXER_WORDS[mixer] for mixer in MIXERS]
    assert len({look["hatch"] for look in looks}) == len(looks) == 4


def test_payload_is_json_and_its_rev_names_its_content() -> None:
    assert json.loads(json.dumps(data())) == data()
    assert data()["rev"] == data()["rev"] != data(playable=True)["rev"]


def test_figures_say_what_was_asked_what_came_with_the_last_gate_and_how_good_it_is() -> None:
    asked, achieved, top1, latency = budget_figures([SMALL, FULL], [2.0, 3.0], "cpu, 2 threads, batch 1", TOP1)
    assert asked.notes == ["55 % of dense", "100 % of dense"]
    assert achieved.notes[0].startswith("50.0 % of dense; next gate: ")
    assert achieved.notes[1] == "this is the dense network"
    assert top1.values == ["70.0 %", "unknown"]
    assert top1.notes == ["recorded, dense 71 %", "nothing recorded near, dense 71 %"]
    assert latency.label == "Predicted latency"
    assert latency.values == ["2.0 ms", "3.0 ms"]
    assert latency.notes[0] == "dense 3.0 ms · cpu, 2 threads, batch 1"


def test_latency_that_is_not_measured_yet_is_no_number() -> None:
    assert budget_figures([SMALL, FULL], None, "", TOP1)[3].values == ["…", "…"]


def test_axis_has_round_numbers_at_the_first_step_that_reaches_them() -> None:
    marks = [27 + 0.5 * i for i in range(147)]
    slider = Slider("Budget", 27, 0.5, [str(m) for m in marks], marks, "%")
    ticks = scrubber_data(slider, [FULL] * 147, [COSTS[1]] * 147, [], ("A", "B"))["ticks"]
    assert [t["text"] for t in ticks] == ["30", "40", "50", "60", "70", "80", "90", "100"]
    assert [marks[t["index"]] for t in ticks] == [30, 40, 50, 60, 70, 80, 90, 100]


def test_another_architecture_stands_beside_with_shares_of_its_own_widths() -> None:
    other = Architecture(("conv1x1", "msa"), (6, 3), (12, 12), 9, 10)
    beside = data(beside=Beside("Theirs", other, [2_000_000, 3_000_000], "as published"))["beside"]
    assert beside["shares"] == [0.5, 0.25]
    assert beside["costs"] == ["2.00 M", "3.00 M"]
    assert [MIXERS[m] for m in beside["mixers"]] == ["conv1x1", "msa"]


def test_lists_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="1 labels"):
        scrubber_data(Slider("B", 0, 1, ["a"], [0], ""), [SMALL, FULL], COSTS, [], ("A", "B"))


def test_words_reach_the_page_as_text_never_as_html() -> None:
    assert "innerHTML" not in SCRIPT
    assert "\n" in SCRIPT.strip()
    assert "\n" in STYLE.strip()
