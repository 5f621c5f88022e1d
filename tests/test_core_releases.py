"""Released single-path DeiT files: small ones with random weights, against a slow evaluation of the formulas."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.models.load import load
from core.models.releases import fetch
from core.models.releases.single_path import row_major
from tests import literal

KINDS = ("msa", "conv3x3", "conv1x1", "skip")
SIDE, PATCH, CLASSES = 3, 4, 5


def random_state(
    kinds: tuple[str, ...], form: str, *, width: int = 8, heads: int = 2, hidden: tuple[int, ...] = (9, 5, 32, 7)
) -> dict[str, torch.Tensor]:
    """Random weights in the layout of the release; `form` is "finetuned", "optimised" or "searched"."""
    torch.manual_seed(0)
    d = width // heads

    def norm(name: str, size: int) -> dict:
        return {f"{name}.weight": torch.rand(size) + 0.5, f"{name}.bias": torch.randn(size)}

    def linear(name: str, out: int, into: int) -> dict:
        return {f"{name}.weight": torch.randn(out, into) / into**0.5, f"{name}.bias": torch.randn(out) * 0.3}

    def batch_norm(name: str) -> dict:
        counts = {f"{name}.num_batches_tracked": torch.tensor(7)}
        return {
            **norm(name, d),
            f"{name}.running_mean": torch.randn(d),
            f"{name}.running_var": torch.rand(d) + 0.5,
            **counts,
        }

    state = {"cls_token": torch.randn(1, 1, width), "pos_embed": torch.randn(1, 1 + SIDE**2, width)}
    state["patch_embed.proj.weight"] = torch.randn(width, 3, PATCH, PATCH) * 0.2
    state["patch_embed.proj.bias"] = torch.randn(width)
    for at, (kind, f) in enumerate(zip(kinds, hidden, strict=False)):
        block = {**norm("norm1", width), **norm("norm2", width)}
        full = 4 * width if form == "searched" else f
        block |= {**linear("mlp.fc1", full, width), **linear("mlp.fc2", width, full)}
        if form == "searched" or kind == "msa":
            block |= linear("attn.qk", 2 * width, width)
        if form == "optimised" and kind.startswith("conv"):
            side = int(kind[4])
            block |= {"attn.bconv.0.weight": torch.randn(d, width, side, side) / 4, "attn.bconv.0.bias": torch.randn(d)}
            block |= batch_norm("attn.bconv.1")
            block |= {"attn.bconv.3.weight": torch.randn(width, d, 1, 1), "attn.bconv.3.bias": torch.randn(width)}
        elif form == "searched" or kind != "skip":
            block |= {**linear("attn.v", width, width), **linear("attn.proj", width, width)}
        if form == "searched" or (form == "finetuned" and kind.startswith("conv")):
            block["attn.head_probs"] = torch.randn(heads, 9) * 0.01
        for side in (3, 1):
            if form == "searched" or (form == "finetuned" and kind == f"conv{side}x{side}"):
                block |= batch_norm(f"attn.bn_{side}x{side}")
        if form == "searched":
            open_gates = {"msa": 3, "conv3x3": 2, "conv1x1": 1, "skip": 0}[kind]
            signs = torch.where(torch.arange(3) < open_gates, 1.0, -1.0)
            signs[open_gates + 1 :] = 1.0  # an open gate behind a closed one counts as closed
            block["attn.kernel_thresholds"] = signs * (torch.rand(3) + 0.1)
            block["mlp.ffn_thresholds"] = torch.randn(full)
            block["mlp.assigned_indicator_index"] = (block["mlp.ffn_thresholds"] > 0).float()
        state |= {f"blocks.{at}.{key}": value for key, value in block.items()}
    return {**state, **norm("norm", width), **linear("head", CLASSES, width)}


def write(path: Path, state: dict, **beside: object) -> str:
    torch.save({"model": state, **beside}, path)
    return str(path)


def photos(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIDE * PATCH, SIDE * PATCH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", ["finetuned", "optimised", "searched"])
@pytest.mark.parametrize(  # an attention at the end, so that the class token sees what the others did
    "kinds", [KINDS[::-1], ("conv1x1", "conv3x3", "skip", "msa"), ("msa", "conv3x3", "conv3x3", "msa")]
)
@torch.no_grad()
def test_a_released_file_answers_as_its_formulas_say(form, kinds, tmp_path) -> None:
    state = random_state(kinds, form)
    loaded = load(ModelSpec(write(tmp_path / "released.pth", state)))
    expected = np.stack([literal.logits(image.double().numpy(), state, heads=2) for image in photos()])
    np.testing.assert_allclose(loaded.model(photos()).numpy(), expected, atol=1e-4, rtol=1e-4)
    assert loaded.architecture.mixers == kinds
    assert loaded.card.geometry.heads == 2
    if form != "searched":
        assert loaded.architecture.ffn_hidden == (9, 5, 32, 7)
        trained = [v for k, v in state.items() if not k.endswith(("running_mean", "running_var", "tracked"))]
        assert loaded.stored_params == sum(v.numel() for v in trained)


def test_offsets_of_the_release_run_down_the_columns() -> None:
    release = torch.arange(9.0).expand(2, 9)
    # the offset at row r, column c is number 3 r + c of ours and number r + 3 c of theirs
    assert row_major(release)[0].tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]


def test_a_searched_file_takes_a_budget_and_keeps_its_gates(tmp_path) -> None:
    state = random_state(KINDS, "searched")
    path = write(tmp_path / "search.pth", state)
    loaded = load(ModelSpec(path))
    np.testing.assert_allclose(loaded.gates.mixer_logits[1], state["blocks.1.attn.kernel_thresholds"], atol=1e-6)
    own = [int((state[f"blocks.{at}.mlp.ffn_thresholds"] > 0).sum()) for at in range(4)]
    assert list(loaded.architecture.ffn_hidden) == own
    budget = 0.4 * loaded.dense_macs
    assert load(ModelSpec(path, budget=budget)).architecture.macs <= budget


def test_a_file_of_attentions_alone_has_heads_of_64_channels(tmp_path) -> None:
    state = random_state(("msa", "msa"), "finetuned", width=128, heads=2, hidden=(12, 20))
    loaded = load(ModelSpec(write(tmp_path / "msa.pth", state)))
    assert loaded.card.geometry.heads == 2
    assert loaded.architecture.macs == count_macs(loaded.card.geometry, ffn_hidden=(12, 20)).total
    with torch.no_grad():
        expected = literal.logits(photos(1)[0].double().numpy(), state, heads=2)
        np.testing.assert_allclose(loaded.model(photos(1))[0].numpy(), expected, atol=1e-4, rtol=1e-4)


def test_a_training_checkpoint_with_its_settings_beside_loads(tmp_path) -> None:
    settings = argparse.Namespace(lr=1e-3, model="deit")
    path = write(
        tmp_path / "last.pth", random_state(KINDS, "searched"), epoch=3, args=settings, optimizer={"state": {}}
    )
    assert load(ModelSpec(path)).gates is not None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s.pop("blocks.1.attn.v.weight"), "lacks weights"),
        (lambda s: s.pop("blocks.0.norm1.bias"), "does not hold|lacks weights"),
        (lambda s: s.update({"blocks.1.attn.head_probs": torch.zeros(3, 9)}), "lacks weights"),
        (lambda s: s["blocks.2.attn.bn_1x1.running_var"].fill_(float("nan")), "no numbers"),
        (lambda s: s.update({"layers.0.blocks.0.attn.qk.weight": torch.zeros(2, 2)}), "Swin"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 8, 8)}), "no square grid"),
        (lambda s: s.update({"blocks.0.mlp.fc1.weight": torch.tensor(1.0)}), "lacks weights"),
        (lambda s: s.update({"blocks.1.attn.v.weight": torch.tensor(1.0)}), "lacks weights"),
        (lambda s: s.update({"blocks.1.attn.v.bias": torch.tensor(1.0)}), "lacks weights"),
        (lambda s: s.pop("blocks.1.attn.bn_3x3.weight"), "without a batch norm"),
        (lambda s: s.update({1: torch.zeros(1)}), "no state_dict"),
    ],
)
def test_a_spoilt_file_gets_one_sentence(spoil, sentence, tmp_path) -> None:
    state = random_state(KINDS, "finetuned")
    spoil(state)
    with pytest.raises(InputError, match=sentence) as error:
        load(ModelSpec(write(tmp_path / "bad.pth", state)))
    assert "\n" not in str(error.value)


# By name


def test_a_released_name_without_a_network_says_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fetch.urllib.request, "urlopen", no_network)
    with pytest.raises(InputError, match="not on this machine; download them once"):
        load(ModelSpec("deit_ti_l200_t10"))
    with pytest.raises(InputError, match=r"spvit_deit_ti_l200_t10_dist.pth could not be downloaded.*check the network"):
        load(ModelSpec("deit_ti_l200_t10_dist"), download=True)
    assert not list((tmp_path / "checkpoints").iterdir()), "something was left behind"
    counted = load(ModelSpec("deit_ti_l200_t10"), weights=False)
    assert counted.architecture.macs == 1038642432


def no_network(*args: object, **kwargs: object) -> None:
    raise OSError("no route to host")


class Answer:
    """What urlopen gives."""

    def __init__(self, data: bytes, length: int) -> None:
        self.data, self.headers = data, {"Content-Length": str(length)}

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return False

    def read(self, size: int) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        return part


def test_a_download_lies_in_the_hub_cache_and_tells_how_far_it_is(monkeypatch, tmp_path) -> None:
    torch.save({"model": random_state(KINDS, "finetuned")}, tmp_path / "served.pth")
    data = (tmp_path / "served.pth").read_bytes()
    asked, seen = [], []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    monkeypatch.setattr(
        fetch.urllib.request, "urlopen", lambda url, timeout: asked.append(url) or Answer(data, len(data))
    )
    loaded = load(ModelSpec("deit_ti_l200_t10"), download=True, on_bytes=lambda done, total: seen.append((done, total)))
    assert asked == ["https://github.com/ziplab/SPViT/releases/download/1.0/spvit_deit_ti_l200_t10.pth"]
    assert seen[0] == (1000, len(data))
    assert seen[-1] == (len(data), len(data))
    assert (tmp_path / "checkpoints" / "spvit_deit_ti_l200_t10.pth").read_bytes() == data
    assert loaded.architecture.mixers == KINDS
    assert load(ModelSpec("deit_ti_l200_t10")).architecture.mixers == KINDS  # from the cache


def test_a_download_that_breaks_off_leaves_nothing(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda url, timeout: Answer(b"half", 8))
    with pytest.raises(InputError, match=r"^The download of \S+ broke off"):
        load(ModelSpec("deit_ti_l200_t10"), download=True)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_page_in_place_of_a_checkpoint_is_not_kept(monkeypatch, tmp_path) -> None:
    page = b"<html>Please log in to this network</html>"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda url, timeout: Answer(page, len(page)))
    with pytest.raises(InputError, match="is no checkpoint; check the network"):
        load(ModelSpec("deit_ti_l200_t10"), download=True)
    assert not list((tmp_path / "checkpoints").iterdir())
