"""What a dense PiT teaches its selectors: where its class token will look in the rest of a stage."""

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor, nn

from core.families import pit


class PitTeacher(nn.Module):
    """A dense PiT that also tells where its class token looks; see `core.training.tokens.DenseTeacher`.

    The attention to come ends with the stage: behind a pooling the class token looks at cells of a smaller grid, each
    of which stands for several patches, and a pruned patch still enters them through the pooling. So a selector learns
    its ranking from the blocks behind its own in the same stage alone; from its own block where that is the last.
    """

    def __init__(self, model: PoolingVisionTransformer, blocks: tuple[int, ...]) -> None:
        """Args: `model` is used as it is; a selector stands before each of `blocks`."""
        super().__init__()
        self.model = model
        ends = torch.tensor([len(stage.blocks) for stage in pit.stages_of(model)]).cumsum(0).tolist()
        until = [next(end for end in ends if end > at) for at in blocks]
        self.behind = [range(min(at + 1, end - 1), end) for at, end in zip(blocks, until, strict=True)]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, C), normalised patch tokens of the last stage (B, N, D), per selector the attention, (B, N)."""
        logits, tokens, attention = pit.look(self.model, images)
        return logits, tokens, [torch.stack([attention[i] for i in some]).mean(dim=0) for some in self.behind]
