"""What a dense model with stages teaches its selectors: where it will look in the rest of a stage."""

import torch
from torch import Tensor, nn

from core.families.base import Backbone
from core.families.families import staged_family


class StagedTeacher(nn.Module):
    """A dense PiT or Swin that also tells where it looks; see `core.training.tokens.DenseTeacher`.

    What looks is a PiT's class token, or in a Swin all patches. The attention to come ends with the stage: behind a
    pooling or a merging cells of a smaller grid are looked at, each of which stands for several patches, and a pruned
    patch still enters them. So a selector learns its ranking from the blocks behind its own in the same stage alone;
    from its own block where that is the last.
    """

    def __init__(self, model: Backbone, blocks: tuple[int, ...]) -> None:
        """Args: `model` is used as it is; a selector stands before each of `blocks`."""
        super().__init__()
        self.model = model
        self.family = staged_family(model)
        ends = torch.tensor([len(stage.blocks) for stage in self.family.stages_of(model)]).cumsum(0).tolist()
        until = [next(end for end in ends if end > at) for at in blocks]
        self.behind = [range(min(at + 1, end - 1), end) for at, end in zip(blocks, until, strict=True)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), normalised patch tokens of the last stage (B, N, D), per selector the attention, (B, N)."""
        logits, tokens, attention = self.family.look(self.model, images)
        return logits, tokens, [torch.stack([attention[i] for i in some]).mean(dim=0) for some in self.behind]
