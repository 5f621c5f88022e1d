"""Latency tables and what is chosen from them: by hand, on tables small enough to work out."""

import json
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.__main__ import main
from core.commands import targets
from core.commands.bench import check_schedule
from core.config import ModelSpec
from core.costs.macs import attention_macs, count_macs, ffn_macs, selector_macs
from core.errors import InputError
from core.latency.measure_table import measure_beside
from core.latency.schedule import choose_schedule, merge, schedule_ms
from core.latency.table import check_table, parse_table, predicted_ms, read_table, write_table
from core.models.load import load
from core.models.weights import save_checkpoint
from core.results.timings import LatencyTable
from tests.clocks import a_millisecond_per_mac
from tests.tiny import CARD, TINY, backbone, draw_folder, images, token_model

TEN = replace(TINY, depth=10)
POINTS = (2, 4, 6, 8, 10, 12, 14, 16, 18)
TABLE = LatencyTable("toaster", 1, 1, 32, 2, 64, POINTS, tuple(0.5 * n for n in POINTS), (0.25,) * 9, 1.0)


def test_a_table_holds_what_a_block_a_selector_and_the_rest_take_and_has_no_gap(monkeypatch) -> None:
    model, rounds, others = token_model(), [], []
    with a_millisecond_per_mac(monkeypatch):
        table, (beside,) = measure_beside(
            model,
            TINY,
            (partial(model.backbone, images(1)),),
            repeats=2,
            points=9,
            on_round=lambda done, of: rounds.append((done, of)),
            between=lambda: others.append(1),
        )
    check_table(table, TINY)
    assert rounds == [(1, 2), (2, 2)]
    assert len(others) == (1 + 2) * (3 + 2 * len(table.tokens))  # beside, whole, its blocks; each count twice
    assert table.tokens[-1] == 17 + 3
    assert table.block_ms == pytest.approx([attention_macs(n, 32) + ffn_macs(n, 32, 64) for n in table.tokens])
    # of a selector torch's counter sees the class token too, but not the products with a vector
    assert table.selector_ms == pytest.approx([selector_macs(n, 32, 2) for n in table.tokens], rel=0.2)
    assert table.rest_ms == pytest.approx(TINY.overhead(TINY.blocks()).total)  # embedding and head
    assert predicted_ms(table, [17] * 4) == pytest.approx(beside) == pytest.approx(count_macs(TINY).total)


def test_a_prediction_is_read_off_with_straight_lines() -> None:
    # two blocks at 17 tokens, one at 7 (between 6 and 8), one selector, the rest: 2 x 8.5 + 3.5 + 0.25 + 1
    assert predicted_ms(TABLE, [17, 17, 7], [17]) == pytest.approx(21.75)


def test_a_schedule_counts_its_packages_and_selectors() -> None:
    # 16 patches; before block 4 half stay: 1 + 8 + 1 package = 10 tokens in six blocks, 17 in four
    assert schedule_ms(TABLE, TEN, ((4,), (0.5,))) == pytest.approx(4 * 8.5 + 6 * 5 + 0.25 + 1)


def test_a_table_survives_being_written(tmp_path) -> None:
    write_table(TABLE, tmp_path / "t.csv")
    assert read_table(tmp_path / "t.csv") == TABLE


def test_a_table_without_selectors_counts_them_as_free(tmp_path) -> None:
    write_table(TABLE, tmp_path / "t.csv")
    lines = [line for line in (tmp_path / "t.csv").read_text().splitlines() if not line.startswith("selector")]
    assert parse_table("\n".join(lines), "t").selector_ms == (0.0,) * 9


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda text: "", "needs the columns"),
        (lambda text: text.replace("tokens", "token"), "needs the columns"),
        (lambda text: text.replace("block,4,2.0000", "block,4,fast"), "could not convert"),
        (lambda text: text.replace("block,4,2.0000,32", "block,4,2.0000,64"), "the same in every row"),
        (lambda text: text.replace("rest,0", "base,0"), "one row of part rest"),
        (lambda text: text.replace("block,4,2.0000", "block,4,-2"), "0 or more"),
        (lambda text: text.replace("selector,4", "selector,5"), "token counts of the block rows"),
    ],
)
def test_a_spoilt_table_gets_one_sentence(spoil, sentence, tmp_path) -> None:
    write_table(TABLE, tmp_path / "t.csv")
    with pytest.raises(InputError, match=sentence) as error:
        parse_table(spoil((tmp_path / "t.csv").read_text()), "t.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("depth", "schedule"),
    [(2, ((1,), (0.6,))), (3, ((1,), (0.6,))), (4, ((1, 2), (0.6, 0.3))), (12, ((3, 6), (0.6, 0.3)))],
)
def test_a_table_is_held_against_a_model_with_selectors_that_have_a_place(depth, schedule) -> None:
    assert check_schedule(depth) == schedule


def test_one_block_has_no_place_for_a_selector() -> None:
    with pytest.raises(InputError, match="one block"):
        check_schedule(1)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (replace(TABLE, width=64), "width 64 with 2 heads"),
        (replace(TABLE, tokens=(*POINTS[:-2], 15, 16)), "to 16 tokens; this model needs 3 or fewer to 17"),
        (replace(TABLE, tokens=(4, 6, 8, 10, 12, 14, 16, 18, 20)), "4 to 20 tokens"),
        (replace(TABLE, tokens=(2, 4, 6, 7, 12, 13, 14, 16, 18)), "a gap between 7 and 12"),
    ],
)
def test_a_table_that_does_not_fit_says_why(table, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        check_table(table, TEN)


def test_neighbouring_blocks_alike_share_a_selector() -> None:
    ratios = [1.0, 1.0, 1.0, 0.9, 0.85, 0.5, 0.5, 0.46, 0.2, 0.2]
    assert merge(ratios) == ((3, 5, 8), (0.875, pytest.approx(1.46 / 3, abs=1e-4), 0.2))
    assert merge([1.0] * 4) == ((), ())


@given(limit=st.floats(42.0, 85.0), tolerance=st.floats(0.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_a_chosen_schedule_meets_its_limit_and_spares_the_first_blocks(limit, tolerance) -> None:
    def accuracy(stages) -> float:
        return 0.8 - tolerance * 0.01 * sum(1 - share for share in stages[1])

    found = choose_schedule(TABLE, TEN, limit, accuracy)
    assert found.predicted_ms <= limit
    assert found.predicted_ms == pytest.approx(schedule_ms(TABLE, TEN, (found.blocks, found.keep)))
    assert min(found.blocks) >= 3
    assert list(found.keep) == sorted(found.keep, reverse=True)
    assert all(before - after >= 0.085 for before, after in pairwise(found.keep)), "neighbours alike have two selectors"
    assert found.dense_ms == 86.0  # ten blocks at 17 tokens, and the rest


def test_a_schedule_prunes_late_blocks_first_and_no_more_than_accuracy_allows() -> None:
    def accuracy(stages) -> float:  # block 5 and earlier are precious, later ones are not
        return 0.8 - 0.1 * sum(1 - share for block, share in zip(*stages, strict=True) if block < 6)

    found = choose_schedule(TABLE, TEN, 70.0, accuracy)
    assert min(found.blocks) >= 6
    assert found.accuracy == found.dense_accuracy == 0.8


@pytest.mark.parametrize(
    ("limit", "sentence"), [(5.0, "under what is possible: .* least is"), (90.0, "is within 90 ms")]
)
def test_a_limit_out_of_reach_names_what_is_possible(limit, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        choose_schedule(TABLE, TEN, limit, lambda stages: 0.5)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    root = tmp_path_factory.mktemp("latency")
    draw_folder(root / "data")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD)
    write_table(replace(TABLE, tokens=POINTS), root / "table.csv")
    return root


LOOP = ["--batch", "16", "--workers", "0", "--precision", "no"]


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_a_table_is_measured_and_then_used(work, capsys) -> None:
    model = work / "dense.safetensors"
    assert run("bench", "--table", work / "two.csv", "--model", model, "--batch", "16,1") == 2
    assert "one number of photos per pass" in capsys.readouterr().err
    assert not (work / "two.csv").exists()
    assert run("bench", "--table", work / "own.csv", "--model", model, "--batch", 2, "--repeats", 4, "--json") == 0
    assert '"predicted_ms"' in capsys.readouterr().out
    check_table(read_table(work / "own.csv"), TINY)
    arguments = ["schedule", "--model", model, "--data", work / "data", "--targets", "30ms", "--json"]
    assert run(*arguments, "--table", work / "table.csv") == 0
    captured = capsys.readouterr()
    assert '"predicted_ms": 29' in captured.out or '"predicted_ms": 30.0' in captured.out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--targets", "1ms", "--table", "table.csv"], "under what is possible"),
        (["--targets", "9G"], "cannot be reached"),
        (["--targets", "0.5,0.6"], "never rise"),
        (["--targets", "60%", "--selectors", "2,9"], "rising"),
        (["--targets", "soon"], "numbers with commas"),
        (["--targets", "5,6ms"], "takes one limit in ms"),
        (["--targets", "xG"], "--targets takes GMACs such as 0.8"),
        (["--targets", "30ms", "--table", "none.csv"], "cannot be read"),
    ],
)
def test_a_target_that_cannot_be_gets_one_line_and_writes_nothing(flags, sentence, work, tmp_path, capsys) -> None:
    flags = [work / flag if str(flag).endswith(".csv") else flag for flag in flags]
    where = ["--model", work / "dense.safetensors", "--data", work / "data", "--out", tmp_path / "out"]
    if "--selectors" not in flags:
        flags = [*flags, "--selectors", "1,2"]
    assert run("finetune", *where, "--epochs", 1, *LOOP, *flags) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in said
    assert not (tmp_path / "out").exists(), "something was written"


def test_training_to_a_limit_ends_with_the_milliseconds_of_what_is_kept(work, capsys, monkeypatch) -> None:
    out, table = work / "limited", work / "table.csv"
    where = ["--model", work / "dense.safetensors", "--data", work / "data", "--out", out, "--table", table]
    assert run("finetune", *where, "--targets", "30ms", "--epochs", 1, *LOOP) == 0
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    blocks = load(ModelSpec(str(out / "model.safetensors"))).card.selectors.blocks
    assert line["asked_ms"] == 30
    assert line["achieved_ms"] == pytest.approx(schedule_ms(read_table(table), TINY, (blocks, tuple(line["val_kept"]))))
    assert "Limit 30 ms; what is kept is predicted to take" in capsys.readouterr().out
    monkeypatch.setattr(targets, "choose_schedule", pytest.fail)  # chosen again, it might not fit what was trained
    assert run("finetune", *where, "--targets", "30ms", "--epochs", 1, *LOOP, "--resume") == 0


def test_training_to_a_number_of_macs_reports_asked_and_achieved(work, capsys) -> None:
    out = work / "macs"
    where = ["--model", work / "dense.safetensors", "--data", work / "data", "--out", out, "--selectors", "1,2"]
    assert run("finetune", *where, "--targets", "70%", "--epochs", 1, *LOOP) == 0
    told = capsys.readouterr().out
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["asked_macs"] == pytest.approx(0.7, abs=0.05)  # of 16 patches one is a lot
    assert f"{100 * line['asked_macs']:.1f} % of the MACs" in told
    assert f"by attention {100 * line['attention_top1']:.2f} %" in told
    assert f"count as {'' if line['trained'] else 'not '}trained" in told
