"""Which method at which budget: rows against other code and numbers worked out by hand, on tiny models."""

import copy
import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from core.baselines.plans import fit_plan
from core.config import PEERS, ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.evaluation import method_setups, which_method
from core.evaluation.method_setups import Parts, Start, joint_ms, set_up
from core.evaluation.which_method import Sharing, compare_methods
from core.latency import parts as path_latency
from core.models.cards import SelectorCard, SinglePathCard
from core.models.load import Loaded, finish, load_model
from core.models.weights import save_checkpoint
from core.photos.image import to_tensor
from core.results import Architecture
from core.results.method_table import Attempt, leaders, sign_test
from core.results.timings import LatencyTable, PathCosts
from core.single_path.model import SinglePathViT
from core.single_path.score import score
from tests import tiny, tiny_pit, tiny_swin
from tests.clocks import a_millisecond_per_mac
from tests.test_core_ranking import wild
from tests.tiny import TINY

SHARES = (0.8, 0.7, 0.6)
DENSE = count_macs(TINY).total
BLOCK = 4 * 17 * 32**2 + 2 * 17**2 * 32 + 2 * 17 * 32 * 64
"""One dense block: 17 tokens of 32 channels, 64 hidden units."""


def dense_model(module=None, card=tiny.CARD, name: str = "dense") -> Loaded:
    return finish(ModelSpec(name), card, module or wild(tiny.backbone()))


@cache
def start() -> tuple[Loaded, tuple]:
    """A dense model and its scored one; nobody changes them."""
    dense = dense_model()
    model = SinglePathViT(dense.model, shifts=True).requires_grad_(False)
    score(model, TINY, [tiny.images(8)])
    card = dataclasses.replace(dense.card, single_path=SinglePathCard(0.01, True, shifts=True, scored=True))
    return dense, (model, card)


def photos(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def table():
    return compare_methods(start()[0], photos(12), start()[1], shares=SHARES, timed=False)


def test_every_method_stands_at_or_just_below_every_share(table) -> None:
    assert [(row.method, row.share) for row in table.rows] == [
        (method, share) for share in SHARES for method in ("Tokens", "Single path", "Joint", "ToMe")
    ]
    assert table.dense_macs == DENSE
    for row in table.rows:
        assert row.why_not is None
        assert 0.75 * row.share * DENSE < row.macs <= row.share * DENSE, row
        assert len(row.same) == 12


@pytest.mark.parametrize("share", SHARES[:2])
@pytest.mark.parametrize("method", ["Tokens", "Single path", "Joint"])
@torch.no_grad()
def test_macs_are_those_of_torchs_counter(method, share) -> None:
    setup = set_up(method, Start(*start(), Parts()), share)
    counter = FlopCounterMode(display=False)
    with counter:
        setup.alone(tiny.images(1))
    assert setup.run(tiny.images(1))[1].item() == counter.get_total_flops() / 2


def test_tomes_macs_by_hand(table) -> None:
    """Attention on what comes, FFN on what is left; similarities of every second token to the others; r means."""
    for row in table.rows[3::4]:
        amounts = [int(word.strip(",")) for word in row.setting.split() if word.strip(",").isdigit()]
        tokens, count = 17, DENSE - 4 * BLOCK
        for merged in amounts:
            left, half = tokens - merged, (tokens - 1) // 2
            count += 4 * tokens * 32**2 + 2 * tokens**2 * 32 + 2 * left * 32 * 64
            count += (half * (tokens - 1 - half) * 16 + merged * 32) if merged else 0
            tokens = left
        assert row.macs == count


@torch.no_grad()
def test_agreement_is_that_of_the_same_model_loaded_by_its_settings(tmp_path, table) -> None:
    save_checkpoint(tmp_path / "dense.safetensors", wild(tiny.backbone()), tiny.CARD, half=False)
    name = str(tmp_path / "dense.safetensors")
    images = torch.cat([to_tensor(photo, tiny.CARD) for photo in photos(12)])
    expected = load_model(name)(images).softmax(dim=1)
    for row in table.rows[::4]:
        keep, blocks = (tuple(map(float, part.split(","))) for part in row.setting.split()[1::2])
        found = load_model(name, keep=keep, blocks=tuple(map(int, blocks)))(images).softmax(dim=1)
        assert row.same == tuple((found.argmax(dim=1) == expected.argmax(dim=1)).tolist())
        nats = (expected * (expected.log() - found.log())).sum(dim=1).mean()
        assert row.mean_kl_nats == pytest.approx(float(nats), abs=1e-5)
    assert table.answers == len(expected.argmax(dim=1).unique()) > 1, "one answer for all: the test shows little"


def test_at_the_whole_budget_what_prunes_nothing_is_the_dense_model() -> None:
    dense, scored = start()
    found = compare_methods(dense, photos(5), scored, shares=(1.0,), timed=False)
    for row in (found.rows[1], found.rows[3]):
        assert (row.macs, row.agreeing) == (DENSE, 5)
        assert row.mean_kl_nats == pytest.approx(0, abs=1e-6)


def test_the_first_gate_to_close_saves_its_own_cost() -> None:
    """A budget just below dense, in a model whose first mixer is worth nothing: one attention becomes a 1x1."""
    dense, (scored, card) = start()
    model = copy.deepcopy(scored)
    for path in model.paths:
        path.ffn_logits.fill_(5.0)
        path.mixer_logits.fill_(5.0)
    model.paths[0].mixer_logits.copy_(torch.tensor([5.0, 0.2, 0.1]))
    attention = 4 * 17 * 32**2 + 2 * 17**2 * 32
    narrow = 16 * (32 * 16 + 16 * 32)  # 16 patches into a bottleneck of 16 channels and out
    asked = (DENSE - attention + narrow) / DENSE
    found = compare_methods(dense, photos(2), (model, card), shares=(asked,), timed=False)
    assert found.rows[1].macs == DENSE - attention + narrow


def test_what_a_method_cannot_do_is_said_in_its_row() -> None:
    dense = dense_model()
    found = compare_methods(dense, photos(2), "Scoring failed for a reason.", shares=(0.6, 0.01), timed=False)
    tokens, path, joint, tome = found.at(0.6)
    assert tokens.why_not is tome.why_not is None
    assert path.why_not == joint.why_not == "Scoring failed for a reason."
    for row in found.at(0.01):
        assert row.why_not.endswith(".")
        assert row.why_not.count("\n") == 0
        assert (row.agreeing, row.predicted_ms) == (0, None)
    # one patch, the package of the 15 others and the class token from block 2 on; rankings look at 17, 3 and 3 tokens
    least = DENSE - 3 * BLOCK + 3 * (4 * 3 * 32**2 + 2 * 3**2 * 32 + 2 * 3 * 32 * 64)
    least += sum((tokens + 1) * 32**2 + tokens * 32 for tokens in (17, 3, 3)) + (16 + 1 + 1) * 32
    assert f"at least {100 * least / DENSE:.0f} % of dense" in found.at(0.01)[0].why_not
    assert leaders(found.at(0.01)).best == ()


def test_families_say_which_methods_they_take() -> None:
    swin = tiny_swin.swin_path_model()
    module, card = swin, dataclasses.replace(tiny_swin.SWIN_CARD, single_path=SinglePathCard(100.0, True))
    dense = dense_model(swin.backbone, tiny_swin.SWIN_CARD)
    tokens, path, joint, tome = compare_methods(dense, photos(3), (module, card), shares=(0.7,), timed=False).rows
    assert path.why_not is None
    assert path.macs <= 0.7 * dense.dense_macs
    assert "leaves at least 84 % of dense" in tokens.why_not  # so small a Swin has few tokens to lose
    assert "No ranking has room in it" in joint.why_not
    assert "Token merging" in tome.why_not
    pit = dense_model(tiny_pit.pit_backbone(), tiny_pit.PIT_CARD)
    tokens, path, joint, tome = compare_methods(pit, photos(3), "No gates.", shares=(0.8,), timed=False).rows
    assert tokens.macs <= 0.8 * pit.dense_macs
    assert "Single-path pruning cannot take pit" in path.why_not
    assert path.why_not == joint.why_not


def test_what_cannot_be_compared_gets_a_sentence(tmp_path) -> None:
    dense = dense_model()
    with pytest.raises(InputError, match="no photos"):
        compare_methods(dense, [], "none")
    card = dataclasses.replace(tiny.CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    with pytest.raises(InputError, match="pruned already"):
        compare_methods(dense_model(tiny.token_model(), card), photos(1), "none")
    broken = tiny.backbone()
    with torch.no_grad():
        broken.head.weight.fill_(torch.nan)
    with pytest.raises(InputError, match="no numbers"):
        compare_methods(dense_model(broken), photos(1), "none")


def test_progress_rises_and_what_it_raises_ends_the_work() -> None:
    told: list[float] = []

    def tell(share: float, doing: str) -> None:
        told.append(share)
        if share > 0.5:
            raise KeyboardInterrupt

    dense, scored = start()
    with pytest.raises(KeyboardInterrupt):
        compare_methods(dense, photos(2), scored, timed=False, on_share=tell)
    assert told == sorted(told)
    assert told[0] == 0.0


def test_times_are_predicted_and_measured_where_the_clock_counts_multiply_adds(monkeypatch) -> None:
    monkeypatch.setattr(path_latency, "REPEATS", (1, 1))
    monkeypatch.setattr(which_method, "REPEATS", 4)
    monkeypatch.setattr(method_setups, "SHORT_REPEATS", 1)
    monkeypatch.setattr(method_setups, "SHORT_POINTS", 5)
    (dense, scored), calls = start(), []
    with a_millisecond_per_mac(monkeypatch):
        found = compare_methods(
            dense, photos(2), scored, shares=(0.6,), sharing=Sharing(between=lambda: calls.append(1))
        )
    assert calls
    tokens, path, joint, tome = found.rows
    assert path.measured.median_ms == pytest.approx(path.macs, rel=1e-3)
    assert path.dense_measured.median_ms == pytest.approx(DENSE, rel=1e-3)
    assert path.predicted_ms == pytest.approx(path.macs, rel=0.02)
    assert tokens.predicted_ms == pytest.approx(tokens.macs, rel=0.05)
    assert joint.predicted_ms == pytest.approx(joint.macs, rel=0.05)
    assert tome.predicted_ms is None
    assert tome.measured is not None


def test_a_joint_prediction_is_each_blocks_time_by_how_far_tokens_fall() -> None:
    costs = PathCosts("toaster", 1, 1, {"msa": 4, "conv3x3": 3, "conv1x1": 2, "skip": 1}, (0, 64), (0, 6), 10)
    table = LatencyTable("toaster", 1, 1, 32, 2, 64, (1, 17), (0.0, 17.0), (0.5, 0.5), 0.0)
    block = table.block_ms[1] / 16  # by each token above the first
    made = Architecture(("conv3x3", "msa", "msa", "skip"), (64, 64, 0, 32), (64,) * 4, 1, 1)
    # 8 of 16 patches before block 2: 1 + 8 + a package
    falls = (10 - 1) * block / 17
    expected = 10 + (3 + 6) + (4 + 6) + falls * 4 + falls * (1 + 3) + 0.5
    assert joint_ms(Parts(table, costs), TINY, made, ((2,), (0.5,))) == pytest.approx(expected)
    assert joint_ms(Parts(table, None), TINY, made, ((2,), (0.5,))) is None


@pytest.mark.parametrize("peer", PEERS)
def test_a_plan_that_may_not_cost_more_is_the_dearest_of_those_below(peer) -> None:
    for share in (0.63, 0.7, 0.77, 0.9, 0.999, 1.0):
        nearest = fit_plan(peer, TINY, (1, 2, 3), share * DENSE).macs.total
        below = fit_plan(peer, TINY, (1, 2, 3), share * DENSE, never_above=True).macs.total
        assert below <= share * DENSE
        assert below == nearest or nearest > share * DENSE


def test_the_sign_test_by_hand() -> None:
    yes, no = (True,) * 6, (False,) * 6
    assert sign_test(yes, no) == 2 / 64
    assert sign_test(yes[:5], no[:5]) == 2 / 32
    assert sign_test(yes, yes) == 1
    assert sign_test((True, True, True, False), (False, False, False, True)) == 2 * (4 + 1) / 16


def attempt(method: str, *same: int) -> Attempt:
    return Attempt(method, 0.6, same=tuple(bool(one) for one in same), macs=1.0)


def test_a_tie_is_a_tie_and_a_lead_that_may_be_chance_is_told() -> None:
    rows = [
        attempt("Tokens", *[1] * 8),
        attempt("ToMe", *[1] * 8),
        attempt("Joint", *[1] * 5, *[0] * 3),
        attempt("Single path", *[0] * 8),
    ]
    found = leaders(rows)
    assert [row.method for row in found.best] == ["Tokens", "ToMe"]
    assert [row.method for row in found.near] == ["Joint"]  # 3 of 3: 2 / 8; 8 of 8: 2 / 256
