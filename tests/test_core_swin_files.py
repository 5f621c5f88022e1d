"""Released single-path Swin files: small ones with random weights, against a slow evaluation of the formulas."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from core.config import ModelSpec
from core.costs.macs import count_macs
from core.costs.swin import SwinGeometry
from core.errors import InputError
from core.families import swin
from core.models.load import load
from core.models.releases.files import released_names
from core.models.releases.swin import centre_first
from core.single_path.published import architecture_of, published
from tests import literal_swin

DEPTHS, HEADS, WIDTH, PATCH, CLASSES = (2, 2), (2, 4), 8, 2, 5
MIXED = ("conv3x3", "conv3x3", "skip", "msa")
KINDS = (MIXED, ("conv1x1", "msa", "conv1x1", "msa"), ("msa", "skip", "conv3x3", "conv1x1"), ("msa",) * 4)


def random_state(kinds: tuple[str, ...], form: str, window: int = 3, size: int = 12) -> dict[str, torch.Tensor]:
    """Random weights in the layout of the release; `form` is "finetuned", "searched" or "dense" (of Swin itself)."""
    torch.manual_seed(0)

    def norm(name: str, width: int) -> dict:
        return {f"{name}.weight": torch.rand(width) + 0.5, f"{name}.bias": torch.randn(width)}

    def linear(name: str, out: int, into: int) -> dict:
        return {f"{name}.weight": torch.randn(out, into) / into**0.5, f"{name}.bias": torch.randn(out) * 0.3}

    def batch_norm(name: str, d: int) -> dict:
        found = {f"{name}.num_batches_tracked": torch.tensor(7), **norm(name, d)}
        return found | {f"{name}.running_mean": torch.randn(d), f"{name}.running_var": torch.rand(d) + 0.5}

    state = {
        "patch_embed.proj.weight": torch.randn(WIDTH, 3, PATCH, PATCH),
        "patch_embed.proj.bias": torch.randn(WIDTH),
    }
    state |= norm("patch_embed.norm", WIDTH)
    for at, kind in enumerate(kinds):
        stage, index = divmod(at, 2)
        width, heads, side = WIDTH * 2**stage, HEADS[stage], size // PATCH // 2**stage
        full = 4 * width if form != "finetuned" else (9, 5, 4 * width, 7)[at]
        block = {**norm("norm1", width), **norm("norm2", width)}
        block |= {**linear("mlp.fc1", full, width), **linear("mlp.fc2", width, full)}
        if index and side > window:
            block["attn_mask"] = torch.zeros((side // window) ** 2, window**2, window**2)
        if form == "searched" or kind == "msa":
            block |= linear("attn.qkv", 3 * width, width) if form == "dense" else linear("attn.qk", 2 * width, width)
            block["attn.relative_position_bias_table"] = torch.randn((2 * window - 1) ** 2, heads)
            block["attn.relative_position_index"] = torch.zeros(window**2, window**2, dtype=torch.long)
        if form == "searched" or kind != "skip":
            block |= linear("attn.proj", width, width)
            block |= {} if form == "dense" else linear("attn.v", width, width)
        if form == "searched" or kind.startswith("conv"):
            block["attn.head_probs"] = torch.randn(heads, 9) * 100
        for conv in (3, 1):
            if form == "searched" or kind == f"conv{conv}x{conv}":
                block |= batch_norm(f"attn.bn_{conv}x{conv}", width // heads)
        if form == "searched":
            opened = {"msa": 3, "conv3x3": 2, "conv1x1": 1, "skip": 0}[kind]
            signs = torch.where(torch.arange(3) < opened, 1.0, -1.0)
            signs[opened + 1 :] = 1.0  # an open gate behind a closed one counts as closed
            block["attn.kernel_thresholds_full"] = signs * (torch.rand(3) + 0.1)
            block["mlp.ffn_thresholds"] = torch.randn(full)
            block["mlp.assigned_indicator_index"] = (block["mlp.ffn_thresholds"] > 0).float()
        state |= {f"layers.{stage}.blocks.{index}.{key}": value for key, value in block.items()}
    state["layers.0.downsample.reduction.weight"] = torch.randn(2 * WIDTH, 4 * WIDTH) / 6
    state |= norm("layers.0.downsample.norm", 4 * WIDTH)
    return {**state, **norm("norm", 2 * WIDTH), **linear("head", CLASSES, 2 * WIDTH)}


def write(path, state: dict, **beside: object) -> str:
    torch.save({"model": state, **beside}, path)
    return str(path)


def photos(size: int = 12) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", ["finetuned", "searched"])
@pytest.mark.parametrize("kinds", KINDS)
@torch.no_grad()
def test_a_released_swin_answers_as_its_formulas_say(form, kinds, tmp_path) -> None:
    state = random_state(kinds, form)
    loaded = load(ModelSpec(write(tmp_path / "released.pth", state)))
    expected = [literal_swin.logits(image.double().numpy(), state, DEPTHS, 3) for image in photos()]
    np.testing.assert_allclose(loaded.model(photos()).numpy(), np.stack(expected), atol=1e-4, rtol=1e-4)
    assert loaded.architecture.mixers == kinds
    if form == "finetuned":
        assert loaded.architecture.ffn_hidden == (9, 5, 64, 7)
        buffers = ("running_mean", "running_var", "tracked", "index", "attn_mask")
        assert loaded.stored_params == sum(v.numel() for key, v in state.items() if not key.endswith(buffers))


def test_the_centre_of_a_swins_kernel_is_stored_first() -> None:
    # ours at row r, column c is number 3 r + c; theirs counts down the columns and has the centre as number 0
    assert centre_first(torch.arange(9.0).expand(2, 9))[0].tolist() == [1, 4, 6, 2, 0, 7, 3, 5, 8]


@pytest.mark.parametrize(("window", "size"), [(3, 24), (2, 16), (3, 12)])
def test_shapes_tell_windows_pixels_heads_and_stages(window, size, tmp_path) -> None:
    state = random_state(MIXED, "finetuned", window, size)
    geometry = load(ModelSpec(write(tmp_path / "released.pth", state))).card.geometry
    assert geometry == SwinGeometry(WIDTH, DEPTHS, HEADS, size, PATCH, window, 4, CLASSES)


def test_without_any_attention_the_masks_tell_the_windows(tmp_path) -> None:
    state = random_state(("conv1x1", "skip", "conv3x3", "skip"), "finetuned", 2, 16)
    assert load(ModelSpec(write(tmp_path / "released.pth", state))).card.geometry.window == 2


def test_gates_of_a_searched_swin_are_read_under_the_name_of_a_deits_too(tmp_path) -> None:
    state = random_state(KINDS[2], "searched")
    other = {key.replace("kernel_thresholds_full", "kernel_thresholds"): value for key, value in state.items()}
    both = [load(ModelSpec(write(tmp_path / f"{i}.pth", s))) for i, s in enumerate((state, other))]
    assert both[0].architecture.mixers == both[1].architecture.mixers
    np.testing.assert_array_equal(both[0].gates.mixer_logits, both[1].gates.mixer_logits)


def test_a_searched_swin_takes_a_budget_and_keeps_its_gates(tmp_path) -> None:
    state = random_state(KINDS[2], "searched")
    path = write(tmp_path / "search.pth", state)
    loaded = load(ModelSpec(path))
    kept = state["layers.1.blocks.0.attn.kernel_thresholds_full"]
    np.testing.assert_allclose(loaded.gates.mixer_logits[2], kept, atol=1e-6)
    assert loaded.card.single_path.in_windows
    assert load(ModelSpec(path, budget=0.4 * loaded.dense_macs)).architecture.macs <= 0.4 * loaded.dense_macs


@torch.no_grad()
def test_a_dense_swin_in_its_own_layout_opens(tmp_path) -> None:
    state = random_state(("msa",) * 4, "dense")
    loaded = load(ModelSpec(write(tmp_path / "swin.pth", state)))
    assert loaded.method == "dense"
    pruned = {key: value for key, value in state.items() if "attn.qkv" not in key}
    for start in {key.rpartition("attn.qkv")[0] for key in state if "attn.qkv" in key}:
        width = state[f"{start}attn.proj.bias"].numel()
        for kind in ("weight", "bias"):
            both = state[f"{start}attn.qkv.{kind}"]
            pruned[f"{start}attn.qk.{kind}"], pruned[f"{start}attn.v.{kind}"] = both[: 2 * width], both[2 * width :]
    expected = [literal_swin.logits(image.double().numpy(), pruned, DEPTHS, 3) for image in photos()]
    np.testing.assert_allclose(loaded.model(photos()).numpy(), np.stack(expected), atol=1e-4, rtol=1e-4)


def test_settings_that_swins_own_code_stores_beside_are_read_as_values(tmp_path, monkeypatch) -> None:
    package, module = ModuleType("yacs"), ModuleType("yacs.config")
    node = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module.CfgNode = node
    monkeypatch.setitem(sys.modules, "yacs", package)
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    config = node(MODEL=node(NAME="spvit"))
    config.__dict__["__immutable__"] = True
    path = write(tmp_path / "last.pth", random_state(MIXED, "finetuned"), config=config)
    assert load(ModelSpec(path)).architecture.mixers == MIXED


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s.pop("layers.0.blocks.0.attn.v.weight"),
        lambda s: s.pop("layers.0.blocks.1.norm1.weight"),
        lambda s: s.pop("layers.0.downsample.norm.bias"),
        lambda s: s.pop("patch_embed.proj.weight"),
        lambda s: s.update({"layers.0.blocks.0.attn.head_probs": torch.zeros(3, 9)}),
        lambda s: s.update({"layers.1.blocks.1.attn.relative_position_bias_table": torch.zeros(7, 4)}),
        lambda s: s.update({"layers.1.blocks.1.attn.relative_position_bias_table": torch.tensor(1.0)}),
        lambda s: s.update({"layers.3.blocks.0.norm1.weight": torch.zeros(64)}),
        lambda s: s.update({"layers.0.blocks.5.norm1.weight": torch.zeros(8)}),
        lambda s: s.update({"layers.x.blocks.5.norm1.weight": torch.zeros(8)}),
    ],
)
def test_a_spoilt_file_gets_one_sentence(spoil, tmp_path) -> None:
    state = random_state(MIXED, "finetuned")
    spoil(state)
    with pytest.raises(InputError, match=r"lacks weights of a Swin|does not hold the weights") as error:
        load(ModelSpec(write(tmp_path / "bad.pth", state)))
    assert "\n" not in str(error.value)


def test_released_swins_are_there_by_name_and_count_without_weights() -> None:
    assert [name for name in released_names() if name.startswith("swin")] == [
        "swin_tn_l28_t32",
        "swin_tn_l28_t32_dist",
        "swin_sm_l04_t55",
        "swin_sm_l04_t55_dist",
    ]
    loaded = load(ModelSpec("swin_tn_l28_t32_dist"), weights=False)
    found = architecture_of(published()["swin_tn_l28_t32"])
    assert (loaded.architecture.macs, loaded.dense_macs) == (found.macs, count_macs(loaded.card.geometry).total)
    assert loaded.card.family == swin.FAMILY
    assert loaded.card.compact.skip_passes
