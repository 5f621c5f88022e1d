"""What selectors learn from a dense model's gradients."""

import pytest
import torch

from core.errors import InputError
from core.soft_tokens.model import SoftTokenViT
from core.training.objectives import Frozen
from core.training.saliency import SaliencyTeacher, blurred
from core.training.tokens import TokenSettings, TokenStep
from tests.tiny import backbone, images
from tests.tiny_pit import BLOCKS, pit_backbone, pit_token_model


def test_blur_is_the_mean_of_the_nine_patches_around() -> None:
    """By hand on a 3 x 3 grid: in a corner itself counts four times, its neighbours twice."""
    values = torch.arange(9.0)[None]
    found = blurred(values, (3, 3))[0]
    assert float(found[4]) == pytest.approx(4)
    assert float(found[0]) == pytest.approx((4 * 0 + 2 * 1 + 2 * 3 + 4) / 9)
    torch.testing.assert_close(blurred(torch.ones(2, 12), (3, 4)), torch.ones(2, 12))


def test_saliency_is_how_fast_the_answer_changes_with_a_patch() -> None:
    """A small step of one patch along its own gradient moves the log probability by the gradient's length."""
    model, photos = backbone(), images(2, seed=3)
    teacher = Frozen(SaliencyTeacher(model, (1, 2)))
    logits, tokens, (first, second) = teacher(photos)
    assert torch.equal(first, second)
    torch.testing.assert_close(logits, model(photos))
    assert not any(tensor.requires_grad for tensor in (logits, tokens, first))

    def answer(x: torch.Tensor) -> torch.Tensor:
        logits = model.forward_head(model.norm(model.blocks(x)))
        return logits.log_softmax(dim=-1).amax(dim=-1)

    start = model._pos_embed(model.patch_embed(photos)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(answer(start).sum(), start)
    lengths = gradient[:, 1:].norm(dim=-1)  # (2, 16)
    torch.testing.assert_close(first, blurred(lengths, (4, 4)), rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        for patch in (0, 7):
            step = torch.zeros_like(start)
            step[:, 1 + patch] = gradient[:, 1 + patch] / lengths[:, patch, None]
            change = (answer(start + 1e-2 * step) - answer(start - 1e-2 * step)) / 2e-2
            torch.testing.assert_close(change, lengths[:, patch], rtol=0.05, atol=1e-4)


def test_a_training_step_learns_the_ranking_by_saliency() -> None:
    """The ranking loss falls where the selectors alone learn."""
    torch.manual_seed(0)
    dense = backbone()
    step = TokenStep(
        SoftTokenViT(backbone(), (1, 2)), dense, TokenSettings((0.5, 0.25), rank_by="saliency", own_share=0)
    )
    optimizer = torch.optim.Adam(step.model.selectors.parameters(), 1e-2)
    photos, labels = images(8, seed=1), torch.zeros(8, dtype=torch.long)
    losses = []
    for _ in range(30):
        loss, told = step(photos, labels, 0.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(told["rank_loss"])
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_pit_has_no_saliency_to_learn_from() -> None:
    """One sentence."""
    with pytest.raises(InputError, match="attention alone"):
        TokenStep(pit_token_model(), pit_backbone(), TokenSettings((0.5,) * len(BLOCKS), rank_by="saliency"))
