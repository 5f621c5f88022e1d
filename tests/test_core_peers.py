"""Merging, fusing and dropping on dense weights: against dense forwards, slow loops and torch's flop counter."""

import itertools

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.utils.flop_counter import FlopCounterMode

from core.baselines.dropping import dropping_forward
from core.baselines.grouping import GONE, NEVER
from core.baselines.inattentive import inattentive_forward, reorganise
from core.baselines.merging import match, merge, merging_forward
from core.baselines.plans import Plan, default_blocks, fit_plan, keeping_plan, merging_plan
from core.baselines.run import run_plan
from core.config import PEERS
from core.costs.deit import DEIT, DeitGeometry
from core.costs.macs import count_macs
from core.errors import InputError
from core.families import deit
from core.families.block import class_look
from tests.tiny import TINY, backbone, images

REGISTERS = DeitGeometry(
    img_size=32, patch=8, width=32, depth=3, heads=4, ffn_hidden=64, classes=5, prefix_tokens=2, distilled=True
)


def vit(seed: int = 0, **more) -> VisionTransformer:
    """4 x 4 patches, 4 blocks, weights wild enough that attention looks somewhere."""
    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "num_classes": 3}
    model = VisionTransformer(**sizes | more).eval().requires_grad_(False)
    for name, values in model.named_parameters():
        if "qkv.weight" in name:
            values.mul_(10)
    return model


LAYER_SCALE = {"init_values": 0.3}
QK_NORM = {"qk_norm": True}


def wild(model: VisionTransformer) -> VisionTransformer:
    """Layer scales that differ from channel to channel."""
    for name, values in model.named_parameters():
        if ".ls" in name:
            values.uniform_(-1, 1)
    return model


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# --- nothing taken away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{}, LAYER_SCALE, QK_NORM, {"reg_tokens": 3}], ids=["plain", "scaled", "norms", "registers"]
)
def test_without_merges_or_drops_every_peer_is_the_dense_model(more) -> None:
    model, batch = wild(vit(**more)), images(3)
    dense = model(batch)
    torch.testing.assert_close(merging_forward(model, batch, [0] * 4)[0], dense, atol=1e-5, rtol=0)
    torch.testing.assert_close(inattentive_forward(model, batch, {1: 16, 2: 99})[0], dense, atol=1e-5, rtol=0)
    torch.testing.assert_close(dropping_forward(model, batch, {1: 16}, generator())[0], dense, atol=1e-5, rtol=0)


# --- merging ---------------------------------------------------------------------------------------------------------


def test_every_second_token_proposes_and_the_most_similar_pairs_merge() -> None:
    # prefix, then tokens 1 to 5: 2 and 4 propose; 4 lies along 5 (cosine 1), 2 nearest to 1 (cosine 0.8)
    keys = torch.tensor([[[9.0, 9], [1, 0], [0.8, 0.6], [-1, 0], [0, 2], [0, 1]]])
    found = match(keys, 1, prefix=1)
    assert (found.source.tolist(), found.target.tolist()) == ([[4]], [[5]])
    both = match(keys, 2, prefix=1)
    assert (both.source.tolist(), both.target.tolist()) == ([[4, 2]], [[5, 1]])
    with pytest.raises(ValueError, match="at most half"):
        match(keys, 3, prefix=1)


def test_merged_token_is_the_mean_weighted_by_sizes() -> None:
    keys = torch.tensor([[[9.0, 9], [1, 0], [0.8, 0.6], [-1, 0], [0, 2], [0, 1]]])
    x, size = torch.tensor([[[7.0], [1], [2], [3], [4], [10]]]), torch.tensor([[1.0, 1, 3, 1, 1, 2]])
    new, sizes, place = merge(x, size, match(keys, 2, prefix=1), prefix=1)
    torch.testing.assert_close(new, torch.tensor([[[7.0], [(1 + 3 * 2) / 4], [3], [(4 + 2 * 10) / 3]]]))
    assert sizes.tolist() == [[1, 4, 1, 3]]
    assert place.tolist() == [[0, 1, 1, 2, 3, 3]]
    _, sizes, place = merge(x, size, match(keys, 1, prefix=1), prefix=1)
    assert sizes.tolist() == [[1, 3, 1, 1, 3]], "prefix, then the proposing half, then the other"
    assert place.tolist() == [[0, 2, 1, 3, 4, 4]]


def literal_merging(model: VisionTransformer, image: torch.Tensor, merges: list[int]) -> tuple[torch.Tensor, list[set]]:
    """Logits (C,) and the patches in each token, from one loop over everything."""
    x = list(deit.embed(model, image[None])[0])
    prefix = model.num_prefix_tokens
    inside = [{n - prefix} if n >= prefix else set() for n in range(len(x))]
    for block, count in zip(model.blocks, merges, strict=True):
        attn, rows = block.attn, block.norm1(torch.stack(x))
        qkv = attn.qkv(rows).reshape(len(x), 3, attn.num_heads, -1)
        size = torch.tensor([max(1, len(patches)) for patches in inside]).float()
        heads = []
        for head in range(attn.num_heads):
            q, k, v = (qkv[:, part, head] for part in range(3))
            copies = size * (q @ k.T * attn.scale).exp()  # a token of s patches is there s times
            heads.append(copies / copies.sum(dim=1, keepdim=True) @ v)
        x = list(torch.stack(x) + block.ls1(attn.proj(torch.cat(heads, dim=1))))
        keys = qkv[:, 1].mean(dim=1)
        proposals = []
        for ours in range(prefix + 1, len(x), 2):
            likes = [(float(torch.cosine_similarity(keys[ours], keys[b], 0)), b) for b in range(prefix, len(x), 2)]
            proposals.append((*max(likes), ours))
        gone = set()
        total = [value * s for value, s in zip(x, size, strict=True)]
        for _, theirs, ours in sorted(proposals, reverse=True)[:count]:
            total[theirs] = total[theirs] + total[ours]
            inside[theirs] = inside[theirs] | inside[ours]
            gone.add(ours)
        x = [value / max(1, len(patches)) for value, patches in zip(total, inside, strict=True)]
        order = [*range(prefix), *range(prefix + 1, len(x), 2), *range(prefix, len(x), 2)]
        order = [at for at in order if at not in gone] if count else range(len(x))
        x, inside = [x[at] for at in order], [inside[at] for at in order]
        rows = torch.stack(x)
        x = list(rows + block.ls2(block.mlp(block.norm2(rows))))
    return deit.classify(model, torch.stack(x)[None])[0], inside[prefix:]


@pytest.mark.parametrize("more", [{}, LAYER_SCALE], ids=["plain", "scaled"])
def test_merging_equals_the_loop_over_tokens(more) -> None:
    model, batch, merges = wild(vit(**more)), images(3), [3, 2, 0, 4]
    logits, groups = merging_forward(model, batch, merges)
    for image, got, token in zip(batch, logits, groups.token, strict=True):
        wanted, inside = literal_merging(model, image, merges)
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
        made = [{n for n in range(16) if token[n] == at} for at in range(1, 1 + len(inside))]
        assert made == inside
    assert len(inside) == 16 - 9


def test_patches_that_are_alike_merge_without_a_trace() -> None:
    model = vit()
    model.pos_embed.zero_()
    batch = torch.randn(2, 3, 1, 1).expand(2, 3, 32, 32).contiguous()
    logits, groups = merging_forward(model, batch, [8, 4, 2, 1])
    torch.testing.assert_close(logits, model(batch), atol=1e-5, rtol=0)  # thanks to the sizes in the attention
    assert (groups.token == 1).all()
    dropped, _ = dropping_forward(model, batch, {1: 1}, generator())
    assert (dropped - model(batch)).abs().max() > 1e-3, "without sizes the class token would see fewer"


def test_class_and_distillation_token_are_never_merged() -> None:
    model = deit.build(REGISTERS).eval()
    logits, groups = merging_forward(model, images(2), [8, 4, 2])
    assert logits.shape == (2, 5)
    assert int(groups.token.min()) >= 2
    assert [len(token.unique()) for token in groups.token] == [2, 2]


def test_left_is_the_first_block_that_merges_a_patch() -> None:
    model, batch = vit(), images(2)
    _, whole = merging_forward(model, batch, [3, 2, 2, 1])
    for blocks in range(1, 5):
        _, until = merging_forward(model, batch, [3, 2, 2, 1][:blocks] + [0] * (4 - blocks))
        size = (until.token[:, :, None] == until.token[:, None]).sum(dim=2)
        assert ((size > 1) == ((whole.left != NEVER) & (whole.left < blocks))).all()


# --- fusing and dropping ---------------------------------------------------------------------------------------------


def test_fused_token_is_the_mean_weighted_by_attention() -> None:
    x = torch.tensor([[[7.0], [1], [2], [3], [4]]])
    looked = torch.tensor([[0.5, 0.1, 0.15, 0.05, 0.2]])
    new, place = reorganise(x, looked, 2, prefix=1)
    torch.testing.assert_close(new, torch.tensor([[[7.0], [2], [4], [(0.1 * 1 + 0.05 * 3) / 0.15]]]))
    assert place.tolist() == [[0, 3, 1, 3, 2]]
    with pytest.raises(ValueError, match="4 of 4"):
        reorganise(x, looked, 4, prefix=1)


def test_fusing_keeps_what_the_class_token_looks_at_most_and_fuses_a_fused_token_again() -> None:
    model, batch = wild(vit(**LAYER_SCALE)), images(1)
    logits, groups = inattentive_forward(model, batch, {1: 6, 3: 2})
    x, inside = deit.embed(model, batch), [{n} for n in range(16)]
    for index, block in enumerate(model.blocks):
        normed = block.norm1(x)
        looked = class_look(block.attn, normed, prefix=1)[0].tolist()
        x = x + block.ls1(block.attn(normed))
        if (keep := {1: 6, 3: 2}.get(index)) is not None:
            ranked = sorted(range(len(looked)), key=lambda n: -looked[n])
            kept, rest = sorted(ranked[:keep]), ranked[keep:]
            fused = sum(looked[n] * x[:, 1 + n] for n in rest) / sum(looked[n] for n in rest)
            x = torch.cat((x[:, :1], x[:, [1 + n for n in kept]], fused[:, None]), dim=1)
            inside = [*(inside[n] for n in kept), set().union(*(inside[n] for n in rest))]
        x = x + block.ls2(block.mlp(block.norm2(x)))
    torch.testing.assert_close(logits, deit.classify(model, x), atol=1e-5, rtol=1e-5)
    token = groups.token[0]
    assert [{n for n in range(16) if token[n] == at} for at in range(1, 4)] == inside
    single = set().union(*(part for part in inside[:2] if len(part) == 1))
    assert {n for n in range(16) if groups.left[0, n] == NEVER} == single
    assert int((groups.left[0] == 1).sum()) == 10


def test_dropping_equals_the_dense_model_on_the_patches_that_are_left() -> None:
    model, batch = vit(), images(2)
    logits, groups = dropping_forward(model, batch, {1: 9, 3: 4}, generator())
    for at, (got, left) in enumerate(zip(logits, groups.left, strict=True)):
        x = deit.embed(model, batch[at : at + 1])
        for index, block in enumerate(model.blocks):
            there = [n for n in range(16) if left[n] == NEVER or left[n] > index]
            was = [n for n in range(16) if left[n] == NEVER or left[n] > index - 1]
            rows = [0, *(1 + was.index(n) for n in there)] if index else [0, *(1 + n for n in there)]
            x = block(x[:, rows])
        torch.testing.assert_close(got, deit.classify(model, x)[0], atol=1e-5, rtol=1e-5)
    assert [(groups.left == block).sum(dim=1).tolist() for block in (1, 3)] == [[7, 7], [5, 5]]
    assert ((groups.token == GONE) == (groups.left != NEVER)).all()
    assert (groups.left[0] != groups.left[1]).any(), "each image has its own draw"


@pytest.mark.parametrize("peer", ["tome", "evit"])
def test_each_image_of_a_batch_gets_what_it_gets_alone(peer) -> None:
    model, batch = vit(), images(4)
    plan = fit_plan(peer, TINY, (1, 3), 0.7 * count_macs(TINY).total)
    logits, groups = run_plan(model, plan, batch, generator())
    for at in range(4):
        alone, group = run_plan(model, plan, batch[at : at + 1], generator())
        torch.testing.assert_close(alone[0], logits[at], atol=1e-5, rtol=1e-5)
        assert (group.token[0] == groups.token[at]).all()
        assert run_plan(model, plan, batch[at : at + 1], generator(), record=False)[1] is None


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        merging_plan(TINY, [0] * 4),
        merging_plan(TINY, [3, 2, 0, 4]),
        merging_plan(TINY, [99] * 4),
        merging_plan(REGISTERS, [5, 3, 1]),
        Plan("evit", TINY, (1, 3), (6, 2)),
        Plan("evit", TINY, (1, 2), (16, 15)),
        Plan("evit", REGISTERS, (1,), (4,)),
        Plan("random-dense", TINY, (0, 2), (9, 1)),
    ],
    ids=lambda plan: f"{plan.peer} {plan.amounts}",
)
def test_count_is_that_of_torchs_counter(plan) -> None:
    model = deit.build(plan.geometry).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run_plan(model, plan, images(1), generator())
    added = (
        sum(plan.amounts) * plan.geometry.width if plan.peer == "tome" else 0
    )  # means of pairs are no matrix product
    assert plan.macs.total == counter.get_total_flops() // 2 + added


def test_counts_are_the_published_ones_for_deit() -> None:
    small, tiny = DEIT["deit_small_patch16_224"], DEIT["deit_tiny_patch16_224"]
    for geometry, merged, published in (
        (small, 8, 3.4),
        (small, 13, 2.7),
        (small, 16, 2.3),
        (tiny, 8, 0.9),
        (tiny, 16, 0.6),
    ):
        assert merging_plan(geometry, [merged] * 12).macs.total / 1e9 == pytest.approx(published, abs=0.06)
    for rate, published in ((0.9, 4.0), (0.8, 3.5), (0.7, 3.0), (0.6, 2.6), (0.5, 2.3)):
        assert keeping_plan("evit", small, (3, 6, 9), rate).macs.total / 1e9 == pytest.approx(published, abs=0.06)


@pytest.mark.parametrize("peer", PEERS)
def test_fitted_plan_is_nearest_to_the_cost_asked_for(peer) -> None:
    blocks, dense = (1, 2, 3), count_macs(TINY).total
    for share in (0.63, 0.7, 0.77, 0.9, 1.0):
        found = abs(fit_plan(peer, TINY, blocks, share * dense).macs.total - share * dense)
        if peer == "tome":
            others = (merging_plan(TINY, [r] * 4) for r in range(9))
        else:
            others = (keeping_plan(peer, TINY, blocks, rate / 997) for rate in range(998))
        assert all(abs(other.macs.total - share * dense) >= found for other in others)
    assert fit_plan(peer, TINY, blocks, dense).macs.total == dense


@pytest.mark.parametrize("gmacs", [0.7, 0.77, 0.9, 1.0, 1.2])
def test_merging_takes_nearly_as_many_in_each_block_and_comes_within_a_thousandth(gmacs) -> None:
    found = fit_plan("tome", DEIT["deit_tiny_patch16_224"], (), gmacs * 1e9)
    assert found.macs.total == pytest.approx(gmacs * 1e9, rel=1e-3)
    assert max(found.amounts) - min(found.amounts) <= 2


@pytest.mark.parametrize(("peer", "share"), [*itertools.product(PEERS, (1e-3, 1.01))])
def test_a_cost_out_of_reach_is_refused_in_one_sentence(peer, share) -> None:
    with pytest.raises(InputError, match=r"costs .* to .* GMACs on this model, so .* cannot be reached\.$"):
        fit_plan(peer, TINY, (1, 2), share * count_macs(TINY).total)


def test_default_blocks_are_those_of_the_papers() -> None:
    assert default_blocks(12) == (3, 6, 9)
    assert default_blocks(4) == (1, 2, 3)
    assert default_blocks(2) == (1,)


def test_peers_leave_the_model_as_it_was() -> None:
    model, batch = backbone(), images(2)
    before = model(batch)
    for peer in PEERS:
        run_plan(model, fit_plan(peer, TINY, (1, 2), 0.7 * count_macs(TINY).total), batch, generator())
    assert (model(batch) == before).all()
