"""Every way to prune without training: what it cuts, in which order, and the record of what that gets right."""

import json

import numpy as np
import pytest
import torch

from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.evaluation import untrained
from core.evaluation.evaluate import evaluate
from core.evaluation.untrained import alike, point_of, read_record, unit_magnitudes, ways_of
from core.families import swin
from core.models.load import load
from core.models.runners import dense_runner
from core.models.weights import save_checkpoint
from core.single_path.derive import derive
from core.single_path.fit import fit_convolutions
from tests import tiny, tiny_pit, tiny_swin
from tests.tiny import draw_folder

ALL = {
    "single path, scored",
    "single path, scored, no mean shift",
    "single path, scored, convolutions not fitted",
    "FFNs alike, smallest units first",
    "FFNs alike, units at random",
    "tokens, ranked by attention",
    "ToMe",
    "EViT",
    "patches at random",
}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps: how well convolutions fit does not matter here."""
    monkeypatch.setitem(fit_convolutions.__kwdefaults__, "steps", 1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A dense model and photos of what it knows."""
    root = tmp_path_factory.mktemp("untrained")
    save_checkpoint(root / "dense.safetensors", tiny.backbone(), tiny.CARD, half=False)
    draw_folder(root / "data")
    return root


@pytest.fixture
def dense(work):
    return load(ModelSpec(str(work / "dense.safetensors")))


def cuts(ways: dict, name: str, costs: tuple[float, ...] = (0.85, 0.8, 0.75)) -> list:
    """Three cuts, each further than the one before. In a model so small a ranking costs what it saves at first."""
    return [ways[name][1](cost) for cost in costs]


def test_every_way_cuts_to_what_it_is_asked_for_and_leaves_the_dense_model_as_it_was(dense) -> None:
    before = {key: value.clone() for key, value in dense.model.state_dict().items()}
    ways = ways_of(dense)
    assert set(ways) == ALL
    x = torch.randn(2, 3, 32, 32)
    for name in ALL:
        shares = [cut.share for cut in cuts(ways, name)]
        assert shares == sorted(shares, reverse=True), name
        if "tokens" not in name and name not in ("ToMe", "EViT", "patches at random"):
            assert all(share <= budget for share, budget in zip(shares, (0.85, 0.8, 0.75), strict=True)), name
        logits, macs, _ = cuts(ways, name)[-1].run(x)
        assert logits.shape == (2, 3)
        assert macs.tolist() == [round(shares[-1] * dense.dense_macs)] * 2, name
    ranked = [cut.share for cut in cuts(ways, "tokens, ranked by attention")]
    for other in ("ToMe", "EViT", "patches at random"):
        assert all(share <= ours for share, ours in zip([c.share for c in cuts(ways, other)], ranked, strict=True))
    after = dense.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_ffns_alike_lose_the_same_share_in_each_block_those_of_least_worth() -> None:
    geometry = tiny.CARD.geometry  # 4 blocks of 64 units
    worth = [np.roll(np.arange(geometry.ffn_hidden, dtype=float), block) for block in range(geometry.depth)]
    whole = count_macs(geometry).total
    unit = 2 * (geometry.patches + 1) * geometry.width
    made = derive(alike(geometry, worth), whole - 4 * 16 * unit)
    assert made.mixers == ("msa",) * 4
    assert made.ffn_hidden == (48,) * 4
    for gates, each in zip(alike(geometry, worth).ffn_logits, worth, strict=True):
        assert np.array_equal(np.argsort(gates), np.argsort(each))


def test_a_unit_is_as_large_as_its_weights_in_both_layers(dense) -> None:
    with torch.no_grad():
        for block in dense.model.blocks:
            block.mlp.fc1.weight.fill_(0.5)
            block.mlp.fc2.weight.fill_(2.0)
            block.mlp.fc1.weight[3] = 0
            block.mlp.fc1.weight[5] *= 10
            block.mlp.fc2.weight[:, 5] /= 10  # the same unit, scaled otherwise
    width = tiny.CARD.geometry.width
    for found in unit_magnitudes(dense):
        assert found[3] == 0
        assert found[5] == pytest.approx(found[6])
        assert found[6] == pytest.approx(0.5 * width**0.5 * 2.0 * width**0.5)


def test_without_the_mean_shift_a_unit_leaves_nothing_behind(dense) -> None:
    ways = ways_of(dense)
    x = torch.randn(4, 3, 32, 32)
    shifted, plain = (
        cuts(ways, name)[-1].run(x)[0] for name in ("single path, scored", "single path, scored, no mean shift")
    )
    assert (shifted - plain).abs().max() > 1e-4


@pytest.mark.slow
def test_families_have_the_ways_that_they_allow(tmp_path) -> None:
    save_checkpoint(tmp_path / "swin.safetensors", swin.build(tiny_swin.SWIN), tiny_swin.SWIN_CARD, half=False)
    assert set(ways_of(load(ModelSpec(str(tmp_path / "swin.safetensors"))))) == {w for w in ALL if "," in w} - {
        "tokens, ranked by attention"
    }
    save_checkpoint(tmp_path / "pit.safetensors", tiny_pit.pit_backbone(), tiny_pit.PIT_CARD, half=False)
    assert "tokens, ranked by attention" in ways_of(load(ModelSpec(str(tmp_path / "pit.safetensors"))))


def test_a_row_is_the_paired_difference_by_hand(dense) -> None:
    class Says:
        """Answers with classes that are given."""

        def __init__(self, *classes: int) -> None:
            self.logits = torch.nn.functional.one_hot(torch.tensor(classes), 3).float()

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return self.logits

    batches = [(torch.zeros(4, 3, 32, 32), torch.tensor([0, 1, 2, 0]))]
    first, second = (
        evaluate(dense_runner(says, 5), batches, dense_macs=10, patches=16)
        for says in (Says(0, 0, 0, 0), Says(0, 1, 2, 1))
    )
    row = point_of("a way", untrained.Cut("--x", dense_runner(Says(0), 5), 0.5), first, second)
    assert (row.top1, row.macs_share, row.images) == (0.5, 0.5, 4)
    assert row.difference == pytest.approx(-0.25)  # right alone: one; wrong alone: two, of four
    assert row.margin == pytest.approx(1.96 * np.std([0, -1, -1, 1], ddof=1) / 2)


def test_the_command_writes_a_row_for_each_and_goes_on_where_it_stopped(work, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(untrained, "BUDGETS", (0.9, 0.7))
    monkeypatch.setattr(untrained, "KEEPS", (0.8,))
    out = tmp_path / "untrained.json"
    flags = ["--model", str(work / "dense.safetensors"), "--data", str(work / "data"), "--limit-per-class", "3"]
    assert main(["untrained", *flags, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(out.read_text())
    assert told["images"] == 9
    assert {row["way"] for row in told["rows"]} == ALL
    assert len({(row["way"], row["setting"]) for row in told["rows"]}) == len(told["rows"])

    record = read_record(out)
    assert record is not None
    out.write_text(json.dumps(told | {"rows": told["rows"][:2]}))
    seen = []
    monkeypatch.setattr("core.commands.untrained.point_of", lambda *given: seen.append(given[0]) or point_of(*given))
    assert main(["untrained", *flags, "--out", str(out)]) == 0
    assert read_record(out) == record
    assert len(seen) == len(told["rows"]) - 2

    capsys.readouterr()
    for more, sentence in (
        (["--seed", "1"], "another seed"),
        (["--limit-per-class", "0"], "1 or more"),
        (["--model", str(work / "none.safetensors")], "none.safetensors"),
    ):
        assert main(["untrained", *flags, "--out", str(out), *more]) == 2
        assert sentence in capsys.readouterr().err
    out.write_text("[]")
    assert main(["untrained", *flags, "--out", str(out)]) == 2
    assert "holds no record of `untrained`" in capsys.readouterr().err
