"""What selectors learn from a dense model's gradients."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.config import Normalisation
from core.errors import InputError
from core.soft_tokens.model import SoftTokenViT
from core.soft_tokens.selector import shift_margin
from core.training.objectives import Frozen, Objective
from core.training.saliency import SaliencyTeacher, TeacherSaliency, blurred
from core.training.teachers import Teacher
from core.training.tokens import TokenSettings, TokenStep
from tests.tiny import backbone, images
from tests.tiny_pit import BLOCKS, pit_backbone, pit_token_model

HALF = Normalisation((0.5,) * 3, (0.5,) * 3)


class Sensitive(nn.Module):
    """A teacher that gives its saliency about eight places a side."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, images: Tensor) -> Tensor:
        """(B, 4, 4)."""
        return self.teacher.sensitivity(images, 8)


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


def test_no_selector_decides_by_itself_before_its_margins_have_learned_a_ranking() -> None:
    """With margins that would drop everything, a step is that of a schedule until `own_from`, and then its own."""
    model, photos, labels = SoftTokenViT(backbone(), (1, 2)), images(4, seed=1), torch.zeros(4, dtype=torch.long)
    for selector in model.selectors.values():
        shift_margin(selector, -100.0)

    def loss(own_share: float, epoch: float) -> float:
        torch.manual_seed(5)
        step = TokenStep(model, backbone(), TokenSettings((0.5, 0.25), own_share=own_share, own_from=0.5))
        return float(step(photos, labels, epoch)[0])

    assert loss(1.0, 0.49) == loss(0.0, 0.49)
    assert loss(1.0, 0.5) != loss(0.0, 0.5)


def cnn(name: str = "resnet18", *, own: Normalisation = HALF, img_size: int = 64) -> Teacher:
    """An untrained classifier of timm that knows four classes, of which the student knows three."""
    torch.manual_seed(4)
    model = timm.create_model(name, num_classes=4).eval()
    return Teacher(model, img_size=img_size, normalisation=own, student=HALF, columns=(2, 0, 1))


def test_a_cnns_saliency_is_how_fast_its_answer_changes_with_a_place_of_its_feature_map() -> None:
    """A small step of one place along its own gradient moves the log probability by the gradient's length."""
    teacher, photos = cnn().requires_grad_(False), images(2, seed=3)
    at = teacher.map_at(8)
    found = Frozen(Sensitive(teacher))(photos)
    big = functional.interpolate(photos, (64, 64), mode="bicubic", antialias=True)
    _, (features,) = teacher.model.forward_intermediates(big, indices=[at])
    assert features.shape[2:] == found.shape[1:] == (4, 4)  # of 32, 16, 8, 4, 2 the deepest with half of 8 a side
    stages = (teacher.model.layer1, teacher.model.layer2, teacher.model.layer3, teacher.model.layer4)

    def answer(x: torch.Tensor) -> torch.Tensor:
        for stage in stages[at:]:
            x = stage(x)
        return teacher.model.forward_head(x)[:, [2, 0, 1]].log_softmax(dim=-1).amax(dim=-1)

    torch.testing.assert_close(answer(features), teacher(photos).log_softmax(dim=-1).amax(dim=-1))
    start = features.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(answer(start).sum(), start)
    with torch.no_grad():
        for place in found.sum(dim=0).flatten().topk(3).indices.tolist():  # elsewhere rectifiers may be shut
            row, column = divmod(place, 4)
            length = gradient[:, :, row, column].norm(dim=1)
            step = torch.zeros_like(start)
            step[:, :, row, column] = gradient[:, :, row, column] / length[:, None]
            change = (answer(start + 1e-2 * step) - answer(start - 1e-2 * step)) / 2e-2
            torch.testing.assert_close(change, found[:, row, column], rtol=0.05, atol=1e-5)


def test_the_ranking_by_a_cnn_lies_on_the_students_grid() -> None:
    """Four places a side on four patches a side: the blur alone is left to do."""
    model, teacher, photos = backbone(), cnn(), images(2, seed=3)
    logits, tokens, (first, second) = Frozen(TeacherSaliency(model, (1, 2), teacher))(photos)
    torch.testing.assert_close(logits, model(photos))
    torch.testing.assert_close(tokens, model.forward_features(photos)[:, 1:])
    assert torch.equal(first, second)
    places = teacher.sensitivity(photos, 4)
    scaled = functional.interpolate(places[:, None], (4, 4), mode="bilinear", align_corners=False).flatten(1)
    torch.testing.assert_close(first, blurred(scaled, (4, 4)))


def test_only_a_cnn_can_teach_a_ranking() -> None:
    """No teacher, the dense model itself, a ViT, and a CNN whose maps are too coarse: one sentence each."""
    settings = TokenSettings((0.5, 0.25), rank_by="teacher")
    for other in (None, Objective(), Objective(backbone(), "soft")):
        with pytest.raises(InputError, match="needs a --teacher"):
            TokenStep(SoftTokenViT(backbone(), (1, 2)), backbone(), settings, other)
    vit = cnn("deit_tiny_patch16_224", img_size=224)
    for teacher, cells in ((vit, 4), (cnn(), 100)):
        with pytest.raises(InputError, match="such as a CNN"):
            teacher.map_at(cells)
    step = TokenStep(SoftTokenViT(backbone(), (1, 2)), backbone(), settings, Objective(cnn(), "soft"))
    loss, told = step(images(2), torch.zeros(2, dtype=torch.long), 0.0)
    assert loss.isfinite()
    assert told["rank_loss"] > 0
    tensors = step.state_dict(keep_vars=True).values()
    assert len({id(tensor) for tensor in tensors}) == len(tensors)  # nothing is saved twice


def test_a_pit_has_no_saliency_to_learn_from() -> None:
    """One sentence."""
    with pytest.raises(InputError, match="attention alone"):
        TokenStep(pit_token_model(), pit_backbone(), TokenSettings((0.5,) * len(BLOCKS), rank_by="saliency"))
