"""Soft token pruning on a Swin: removing equals masking, frozen patches are merged, the package sees all windows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.costs.windows import Windows, cells_of
from core.errors import InputError
from core.families import swin
from core.families.windows import lying, windows_of
from core.single_path.compact import carve
from core.soft_tokens.decide import AttentionShare, above, attention_mass, own_decision, top_share
from core.soft_tokens.masked import masked_forward
from core.soft_tokens.model import SoftTokenViT
from tests.tiny_swin import TOKEN_SWIN, dense_swin, swin_token_model
from tests.tiny_swin import images as any_images

PATCHES = (144, 36, 36, 9)
DECISIONS = {"own": own_decision, "top": top_share((0.7, 0.5, 0.2, 0.5), PATCHES), "above": above(0.45)}


def images(count: int, seed: int = 0) -> Tensor:
    return any_images(count, seed, size=48)


def as_mask(decide):
    """A decision in the form that masked training takes."""
    return lambda stage, scores, alive: decide(stage, scores, alive > 0).float()


def test_geometry_and_modules_part_every_block_alike_and_as_timm_masks() -> None:
    model = dense_swin()
    for block, here in zip(swin.blocks_of(model), TOKEN_SWIN.windows(), strict=True):
        assert windows_of(block) == here
        where = lying(here, torch.device("cpu"))
        assert torch.equal(where.place[where.order], torch.arange(9).repeat(len(where.place) // 9))
        if block.attn_mask is None:
            assert not where.apart.any()
        else:
            assert torch.equal(where.apart, block.attn_mask < 0)


def test_parts_of_a_shifted_grid_by_hand() -> None:
    found = cells_of(Windows((4, 4), 2, 1))
    grid = found.part.reshape(4, 4)
    assert grid[1, 1] == grid[1, 2] == grid[2, 1] == grid[2, 2]  # the one window that is whole
    assert len({grid[0, 0], grid[0, 1], grid[0, 3], grid[1, 0], grid[3, 0], grid[3, 3], grid[1, 1]}) == 7
    assert grid[0, 1] == grid[0, 2]
    assert sorted(found.sizes) == [1, 1, 1, 1, 2, 2, 2, 2, 4]


@pytest.mark.parametrize("packaging", ["weighted_mean", "weighted_sum"])
@pytest.mark.parametrize("name", DECISIONS)
@torch.no_grad()
def test_removed_tokens_give_the_logits_of_masked_tokens(name, packaging) -> None:
    model, batch = swin_token_model(), images(5)
    model.packaging = packaging
    gathered, stages = model.run(batch, DECISIONS[name])
    masked, tokens, masked_stages = masked_forward(
        model.backbone, model.by_block(), batch, as_mask(DECISIONS[name]), packaging
    )
    torch.testing.assert_close(gathered, masked, atol=1e-4, rtol=0)
    assert tokens.shape == (5, 9, 64)
    assert sum(int((~stage.kept).sum()) for stage in stages) > 8, "nothing was dropped: the test would show nothing"
    for one, other, patches in zip(stages, masked_stages, PATCHES, strict=True):
        assert one.kept.shape == (5, patches)
        for field in ("kept", "seen", "patches", "has_package"):
            assert torch.equal(getattr(one, field), getattr(other, field)), field
        torch.testing.assert_close(one.package_weight, other.package_weight, atol=1e-4, rtol=0)


@pytest.mark.parametrize("decide", [top_share((0.7, 0.5, 0.3, 0.5), PATCHES), attention_mass(0.8)])
@torch.no_grad()
def test_rankings_remove_what_they_mask(decide) -> None:
    model, batch = swin_token_model(ranked=True), images(4)
    gathered, stages = model.run(batch, decide)
    masked, _, masked_stages = masked_forward(model.backbone, model.by_block(), batch, as_mask(decide))
    torch.testing.assert_close(gathered, masked, atol=1e-4, rtol=0)
    for one, other in zip(stages, masked_stages, strict=True):
        assert torch.equal(one.kept, other.kept)
        torch.testing.assert_close(one.keep_prob, other.keep_prob, atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.parametrize("ranked", [False, True])
@torch.no_grad()
def test_an_image_gets_the_same_logits_in_any_batch(ranked) -> None:
    model, batch = swin_token_model(ranked=ranked), images(6)
    decide = attention_mass(0.8) if ranked else own_decision
    together, stages = model.run(batch, decide)
    assert any(len(stage.kept.sum(dim=1).unique()) > 1 for stage in stages), "all images keep the same count"
    alone = torch.cat([model.run(image[None], decide)[0] for image in batch])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@torch.no_grad()
def test_keeping_everything_is_timms_dense_forward() -> None:
    model, batch = swin_token_model(), images(3)
    everything = top_share((1.0,) * 4, PATCHES)
    dense = model.backbone(batch)
    torch.testing.assert_close(model.run(batch, everything)[0], dense, atol=1e-5, rtol=0)
    masked = masked_forward(model.backbone, model.by_block(), batch, as_mask(everything))[0]
    torch.testing.assert_close(masked, dense, atol=1e-5, rtol=0)


def literal(model: SoftTokenViT, image: Tensor, kept: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, int]:
    """Logits (C,) of one image (3, H, W), token by token and pair by pair, and pairs counted on the way.

    Args:
        model: Whose backbone's layers are run; windows, shifts and biases are worked out anew.
        image: Normalised.
        kept: Per selector bool (N,).
        weights: Per selector the keep probability of each patch that it saw, (N,).
    """
    net, pairs = model.backbone, 0
    maps = net.patch_embed(image[None])[0]
    package, total, at, index = None, 0.0, 0, 0
    for stage in net.layers:
        if index:
            maps = stage.downsample(maps[None])[0]
            if package is not None:
                package = stage.downsample(package.expand(1, 2, 2, -1))[0, 0, 0]
        rows, cols, width = maps.shape
        alive = {(r, c): maps[r, c] for r in range(rows) for c in range(cols)}
        gone: dict[tuple[int, int], Tensor] = {}
        for number, block in enumerate(stage.blocks):
            if index in model.blocks:
                leaving = [cell for cell in alive if not kept[at][cell[0] * cols + cell[1]]]
                if leaving:
                    share = {cell: float(weights[at][cell[0] * cols + cell[1]]) for cell in leaving}
                    new = sum(share[cell] * alive[cell] for cell in leaving)
                    mass = total + sum(share.values())
                    package = (new if package is None else new + total * package) / mass
                    total = mass
                for cell in leaving:
                    gone[cell] = alive.pop(cell)
                at += 1
            side, heads = 3, block.attn.num_heads
            shift = 1 if number % 2 and rows > side else 0
            tokens = {**alive, "package": package} if package is not None else dict(alive)
            projected = {
                name: block.attn.qkv(block.norm1(x)).reshape(3, heads, width // heads) for name, x in tokens.items()
            }
            after = {}
            for name, x in tokens.items():
                scores, values = [], []
                for other in tokens:
                    bias = torch.zeros(heads)
                    if name != "package" and other != "package":
                        # a window spans lines shift + 3 i to shift + 3 i + 2; at the edges less of it is left
                        if any((a - shift) // side != (b - shift) // side for a, b in zip(name, other, strict=True)):
                            continue
                        down, right = name[0] - other[0] + side - 1, name[1] - other[1] + side - 1
                        bias = block.attn.relative_position_bias_table[down * (2 * side - 1) + right]
                    pairs += index >= model.blocks[0]
                    q, k, v = projected[name][0], projected[other][1], projected[other][2]
                    scores.append((q * k).sum(dim=-1) * (width // heads) ** -0.5 + bias)
                    values.append(v)
                look = torch.stack(scores).softmax(dim=0)  # (K, H)
                mixed = (look[..., None] * torch.stack(values)).sum(dim=0).flatten()
                half = x + block.attn.proj(mixed)
                after[name] = half + block.mlp(block.norm2(half))
            package = after.pop("package", None)
            alive = after
            index += 1
        maps = torch.stack([torch.stack([{**gone, **alive}[r, c] for c in range(cols)]) for r in range(rows)])
    return net.head.fc(net.norm(maps).mean(dim=(0, 1))), pairs


@torch.no_grad()
def test_the_whole_is_what_a_slow_loop_over_single_tokens_gives() -> None:
    model, batch = swin_token_model((1, 3)), images(1, seed=4)
    logits, stages = model.run(batch, top_share((0.4, 0.5), PATCHES[:2]))
    slow, _ = literal(model, batch[0], [s.kept[0] for s in stages], [s.keep_prob[0] for s in stages])
    torch.testing.assert_close(logits[0], slow, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_pruned_patch_is_merged_with_the_value_that_it_had() -> None:
    model, batch = swin_token_model((1,)), images(3)
    half = top_share((0.5,), (144,))
    first, second = model.backbone.layers[:2]
    x = first.blocks[0](model.backbone.patch_embed(batch)).flatten(1, 2)
    seen = []
    handle = second.downsample.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    stages = model.run(batch, half)[1]
    masked_forward(model.backbone, model.by_block(), batch, as_mask(half))
    handle.remove()
    assert len(seen) == 2
    for merged in seen:
        assert torch.equal(merged.flatten(1, 2)[~stages[0].kept], x[~stages[0].kept])
        assert not torch.isclose(merged.flatten(1, 2)[stages[0].kept], x[stages[0].kept]).all(dim=-1).any()


def test_training_reaches_every_selector_and_no_gradient_is_nan() -> None:
    model = swin_token_model()
    with torch.inference_mode():
        model.run(images(1))  # where cells lie is worked out once, maybe here, and has to do for training too
    logits, _, _ = masked_forward(model.backbone, model.by_block(), images(4), as_mask(DECISIONS["top"]))
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for selector in model.by_block().values():
        assert selector.embed.weight.grad.abs().max() > 0


@torch.no_grad()
def test_what_a_patch_is_looked_at_is_what_timms_attention_gives_it() -> None:
    """timm's own windows, masks and softmax, the attention it hands to its dropout, mean over heads and queries."""
    model, batch = dense_swin(), images(2)
    logits, tokens, looks = swin.look(model, batch)
    torch.testing.assert_close(logits, model(batch))
    assert [look.shape[1] for look in looks] == [144, 144, 36, 36, 36, 36, 9, 9]
    for index, block in enumerate(swin.blocks_of(model)):
        block.attn.fused_attn = False
        weights: list[Tensor] = []
        drop = block.attn.attn_drop.register_forward_hook(lambda _, args, __, into=weights: into.append(args[0]))
        model(batch)
        drop.remove()
        received = weights[0].mean(dim=1).sum(dim=1)  # (B W, 9)
        rows, cols = block.input_resolution
        maps = received.reshape(2, rows // 3, cols // 3, 3, 3).permute(0, 1, 3, 2, 4).reshape(2, rows, cols)
        maps = maps.roll(block.shift_size, dims=(1, 2)).flatten(1) / (rows * cols)
        torch.testing.assert_close(looks[index], maps, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(looks[index].sum(dim=1), torch.ones(2))
    assert tokens.shape == (2, 9, 64)


@torch.no_grad()
def test_attention_can_decide_where_selectors_stand() -> None:
    model = swin_token_model(ranked=True)
    _, stages = model.run(images(2), AttentionShare((0.5, 0.5, 0.25, 0.5), PATCHES))
    assert [stage.kept.sum(dim=1).tolist() for stage in stages] == [[72, 72], [18, 18], [9, 9], [5, 5]]


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ((2,), "No selector can stand before block 2, where patch merging has just made a new grid; choose among"),
        ((1, 6), "No selector can stand before block 6"),
        ((1, 8), "Selectors stand before blocks 1 to 7"),
        ((0, 1), "Selectors stand before blocks 1 to 7"),
    ],
)
def test_selectors_stand_inside_of_stages(blocks, said) -> None:
    with pytest.raises(InputError, match=said):
        SoftTokenViT(dense_swin(), blocks)


def test_a_swin_that_single_path_pruning_has_changed_or_of_one_stage_is_refused() -> None:
    widths = TOKEN_SWIN.ffn_widths
    carved = carve(dense_swin(), ("msa",) * 7 + ("conv1x1",), widths)
    with pytest.raises(InputError, match="only where every block is an attention"):
        SoftTokenViT(carved, (1,))
    with pytest.raises(InputError, match="this one has a single stage"):
        SoftTokenViT(swin.build(replace(TOKEN_SWIN, depths=(2,), heads=(2,), img_size=12)), (1,))
