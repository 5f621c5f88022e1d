"""What gradients teach selectors: the patches that an answer hangs on, a dense ViT's own or another teacher's."""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from core.families import deit
from core.training.teachers import Teacher

BLUR = 3
"""Side of the square of patches over which saliency is averaged: one patch's gradient is mostly noise."""


class SaliencyTeacher(nn.Module):
    """A ViT without selectors that also tells which patches its answer hangs on, the same for all selectors."""

    def __init__(self, model: VisionTransformer, blocks: tuple[int, ...]) -> None:
        """Args: `model` is used as it is; a selector stands before each of `blocks`."""
        super().__init__()
        self.model = model
        self.blocks = blocks

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), normalised patch tokens (B, N, D), and per selector the saliency, (B, N).

        Saliency is the length of the gradient of the likeliest class's log probability with respect to the embedded
        patch, averaged over the patches around it. No label is looked at.

        Source: Simonyan et al. 2014, arXiv:1312.6034, section 3, at the embedded patches.
        """
        prefix = self.model.num_prefix_tokens
        with torch.enable_grad():
            start = deit.embed(self.model, images).detach().requires_grad_()
            x = start
            for block in self.model.blocks:
                x = block(x)
            x = self.model.norm(x)
            logits = self.model.forward_head(x)
            best = logits.float().log_softmax(dim=-1).amax(dim=-1).sum()
            (gradient,) = torch.autograd.grad(best, start)
        found = blurred(gradient[:, prefix:].float().norm(dim=-1), self.model.patch_embed.grid_size)
        return logits.detach(), x[:, prefix:].detach(), [found] * len(self.blocks)


class TeacherSaliency(nn.Module):
    """A ViT without selectors, and which patches the answer of a CNN hangs on, the same for all selectors."""

    def __init__(self, model: VisionTransformer, blocks: tuple[int, ...], teacher: Teacher) -> None:
        """Set who teaches what.

        Args:
            model: Used as it is.
            blocks: A selector stands before each of these.
            teacher: Frozen, and moved between devices, by whoever else has it.

        Raises:
            InputError: If the teacher is no CNN.
        """
        super().__init__()
        self.model = model
        self.blocks = blocks
        self.teacher = (teacher,)  # no module of this one: who distils from it has it too, and saves it once
        teacher.map_at(self.model.patch_embed.grid_size[0])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C) and normalised patch tokens (B, N, D) of the ViT, and per selector the saliency, (B, N).

        Saliency is the length of the gradient of the CNN's likeliest class's log probability at each place of a
        feature map, scaled to the grid and averaged over the patches around. No label is looked at.

        Source: as `SaliencyTeacher`; at a late feature map, as in Selvaraju et al. 2017, arXiv:1610.02391, section 3.
        """
        prefix, grid = self.model.num_prefix_tokens, self.model.patch_embed.grid_size
        x = self.model.forward_features(images)
        lengths = self.teacher[0].sensitivity(images, grid[0])[:, None]
        found = functional.interpolate(lengths, grid, mode="bilinear", align_corners=False).flatten(1)
        return self.model.forward_head(x), x[:, prefix:], [blurred(found, grid)] * len(self.blocks)


def blurred(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean over `BLUR` x `BLUR` patches around each, (B, N); at the border the outermost patches count again."""
    maps = functional.pad(values.view(-1, 1, *grid), (BLUR // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(maps, BLUR, stride=1).flatten(1)
