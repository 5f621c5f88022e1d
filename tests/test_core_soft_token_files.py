"""Files with token selectors as Kong et al. store them: small ones, against a slow evaluation of the formulas."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import ModelSpec
from core.errors import InputError
from core.models.load import load, load_model
from core.soft_tokens.schedules import RELEASE_TARGETS
from tests import literal_tokens

SIDE, PATCH, CLASSES = 3, 4, 5


def random_state(
    *, heads: int = 3, channels: int = 8, depth: int = 4, lean: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> dict[str, torch.Tensor]:
    """Random weights in the layout of the release; `lean` is added to each selector's keep scores."""
    torch.manual_seed(0)
    width = heads * channels
    state = {"cls_token": torch.randn(1, 1, width), "pos_embed": torch.randn(1, 1 + SIDE**2, width)}
    state |= {"patch_embed.proj.weight": torch.randn(width, 3, PATCH, PATCH) * 0.2}
    state |= {"patch_embed.proj.bias": torch.randn(width)}

    def norm(name: str, size: int) -> None:
        state.update({f"{name}.weight": torch.rand(size) + 0.5, f"{name}.bias": torch.randn(size)})

    def linear(name: str, out: int, into: int) -> None:
        state.update({f"{name}.weight": torch.randn(out, into) / into**0.5, f"{name}.bias": torch.randn(out) * 0.3})

    for at in range(depth):
        norm(f"blocks.{at}.norm1", width)
        linear(f"blocks.{at}.attn.qkv", 3 * width, width)
        linear(f"blocks.{at}.attn.proj", width, width)
        norm(f"blocks.{at}.norm2", width)
        linear(f"blocks.{at}.mlp.fc1", 20, width)
        linear(f"blocks.{at}.mlp.fc2", width, 20)
    norm("norm", width)
    linear("head", CLASSES, width)
    for s, by in enumerate(lean):
        start = f"score_predictor.{s}"
        linear(f"{start}.senet.0", heads // 2, heads)
        linear(f"{start}.senet.2", heads, heads // 2)
        for h in range(heads):
            norm(f"{start}.in_conv.{h}.0", channels)
            linear(f"{start}.in_conv.{h}.1", channels, channels)
            linear(f"{start}.out_conv.{h}.0", channels // 2, channels)
            linear(f"{start}.out_conv.{h}.2", channels // 4, channels // 2)
            linear(f"{start}.out_conv.{h}.4", 2, channels // 4)
            state[f"{start}.out_conv.{h}.4.weight"] *= 8  # wild enough that patches differ in their fate
            state[f"{start}.out_conv.{h}.4.bias"][0] += by
    return state


def write(path: Path, state: dict, **beside: object) -> str:
    torch.save({"model": state, **beside}, path)
    return str(path)


def photos(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, SIDE * PATCH, SIDE * PATCH, generator=torch.Generator().manual_seed(1))


MIXED = [  # patches of one photo differ in their fate, and so do photos
    ({"heads": 3, "channels": 8, "depth": 4, "lean": (1.15, 0.56, 1.02)}, (1, 2, 3)),
    ({"heads": 2, "channels": 12, "depth": 8, "lean": (-4.06, 0.46, 1.76)}, (2, 4, 6)),
    ({"heads": 2, "channels": 16, "depth": 6, "lean": (-2.08, 1.14)}, (2, 4)),
    ({"heads": 3, "channels": 10, "depth": 4, "lean": (-2.38, 50.0, -0.45)}, (1, 2, 3)),  # the second drops nothing
]
ALIKE = [
    ({"heads": 2, "channels": 8, "depth": 4, "lean": (50.0, 50.0, 50.0)}, (1, 2, 3)),  # nothing is dropped
    ({"heads": 2, "channels": 8, "depth": 4, "lean": (-50.0, 0.0, 0.0)}, (1, 2, 3)),  # everything is dropped
]


@pytest.mark.parametrize("packaging", ["weighted_mean", "weighted_sum"])
@pytest.mark.parametrize(("shape", "blocks"), MIXED + ALIKE)
@torch.no_grad()
def test_a_file_decides_and_answers_as_its_formulas_say(shape, blocks, packaging, tmp_path) -> None:
    state = random_state(**shape)
    path = write(tmp_path / "checkpoint.pth", state)
    loaded = load(ModelSpec(path, packaging=packaging))
    assert loaded.model.blocks == loaded.card.selectors.blocks == blocks
    logits, stages = loaded.model.run(photos())
    mixed = len(stages[0].kept.sum(dim=1).unique()) > 1 and bool(stages[-1].kept.any(dim=1).all())
    assert mixed == ((shape, blocks) in MIXED), "the random weights do not show what they should"
    for at, image in enumerate(photos()):
        expected, seen = literal_tokens.run(image.double().numpy(), state, shape["heads"], blocks, packaging)
        before = np.ones(SIDE**2, dtype=bool)
        for stage, step in zip(stages, seen, strict=True):
            assert min((abs(margin) for margin in step.margins), default=1.0) > 1e-4, "too close to tell rounding apart"
            assert stage.kept[at].tolist() == step.kept
            found = stage.keep_prob[at].numpy()
            np.testing.assert_allclose(found[before], np.array(step.keep_prob)[before], atol=1e-5)
            assert np.isnan(found[~before]).all()
            before = np.array(step.kept)
        np.testing.assert_allclose(logits[at].numpy(), expected, atol=1e-4)
        np.testing.assert_allclose(loaded.model(image[None])[0].numpy(), expected, atol=1e-4)


@torch.no_grad()
def test_both_packagings_give_other_answers(tmp_path) -> None:
    for lean in ((0.0, 0.0, 0.0), (50.0, 50.0, 50.0)):  # a package of nothing is a token too, as a sum
        path = write(tmp_path / "checkpoint.pth", random_state(lean=lean))
        mean, total = (load_model(path, packaging=kind)(photos()) for kind in ("weighted_mean", "weighted_sum"))
        assert (mean - total).abs().max() > 1e-2


@torch.no_grad()
def test_a_tie_keeps(tmp_path) -> None:
    state = random_state()
    for key in state:
        if "out_conv" in key and ".4." in key:
            state[key].zero_()
    _, stages = load_model(write(tmp_path / "tied.pth", state)).run(photos())
    for stage in stages:
        assert stage.kept.all()
        torch.testing.assert_close(stage.keep_prob, torch.full((3, SIDE**2), 0.5))


def test_heads_that_share_their_weights_as_the_release_stores_them_load(tmp_path) -> None:
    state = random_state(heads=3)
    for key in state:
        if ".in_conv." in key or ".out_conv." in key:
            words = key.split(".")
            state[key] = state[".".join((*words[:3], "0", *words[4:]))]
    selectors = load_model(write(tmp_path / "shared.pth", state)).by_block()
    weight = selectors[1].embed.weight
    assert weight.shape == (3, 8, 8)
    assert torch.equal(weight[1], weight[0])
    assert torch.equal(weight[0], state["score_predictor.0.in_conv.0.1.weight"])


def test_the_card_says_what_is_known_and_what_is_not(tmp_path) -> None:
    settings = argparse.Namespace(arch="deit_small", base_rate=0.7)
    state = random_state(depth=12)
    loaded = load(ModelSpec(write(tmp_path / "best.pth", state, args=settings, epoch=29, scaler={}, model_ema=state)))
    card = loaded.card
    assert card.selectors.blocks == (3, 6, 9)
    assert card.selectors.targets == RELEASE_TARGETS
    assert not card.selectors.trained
    assert (card.geometry.heads, card.geometry.width, card.geometry.ffn_hidden) == (3, 24, 20)
    assert [name.label for name in card.classes] == [f"class {i}" for i in range(CLASSES)]
    assert card.normalisation.crop_pct == 0.875


@torch.no_grad()
def test_a_keep_ratio_replaces_the_files_own_decision(tmp_path) -> None:
    model = load_model(write(tmp_path / "checkpoint.pth", random_state()), keep=(0.7, 0.5, 0.2))
    _, stages = model.run(photos())
    assert [stage.kept.sum(dim=1).tolist() for stage in stages] == [[7] * 3, [5] * 3, [2] * 3]  # ceil of shares of 9


def drop(state: dict, part: str) -> None:
    for key in [key for key in state if part in key]:
        del state[key]


def dynamic_vit(state: dict) -> None:
    """Selectors without heads, as in the code that the release grew from."""
    drop(state, "score_predictor")
    state |= {f"score_predictor.0.in_conv.{i}.weight": torch.ones(24) for i in (0, 1)}


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: drop(s, "predictor.1.in_conv.2."), "lacks weights"),
        (lambda s: drop(s, "_conv.2."), "2 heads of 8 channels, but tokens of 24"),
        (lambda s: drop(s, "predictor.0.senet"), "lacks weights"),
        (lambda s: drop(s, "predictor.0."), "lacks weights"),
        (lambda s: drop(s, "patch_embed"), "lacks weights"),
        (lambda s: drop(s, "blocks.1.norm1"), "does not hold"),
        (lambda s: s.update({"score_predictor.1.out_conv.2.0.weight": torch.ones(4, 7)}), "lacks weights"),
        (lambda s: s.update({f"score_predictor.1.out_conv.{h}.0.bias": torch.ones(5) for h in range(3)}), "not hold"),
        (lambda s: s.update({"score_predictor.1.fc.weight": torch.ones(2)}), "not known here"),
        (lambda s: s["score_predictor.2.senet.0.bias"].fill_(float("nan")), "no numbers"),
        (lambda s: drop(s, "blocks.3.") or drop(s, "blocks.2."), "3 token selectors, more than fit between 2 blocks"),
        (dynamic_vit, "lacks weights of a DeiT with token selectors"),
    ],
)
def test_a_spoilt_file_gets_one_sentence(spoil, sentence, tmp_path) -> None:
    state = random_state()
    spoil(state)
    with pytest.raises(InputError, match=sentence) as error:
        load(ModelSpec(write(tmp_path / "bad.pth", state)))
    assert "\n" not in str(error.value)
