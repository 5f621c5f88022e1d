"""The mean of dense models that were fine-tuned one after the other, weight by weight, as one model.

    python -m assets.mean_of_weights mean.safetensors a.safetensors b.safetensors c.safetensors

Positions of another grid than the last file's are left out of the mean. Source: Wortsman et al. 2022, "Model soups",
arXiv:2203.05482.
"""

import sys
from pathlib import Path

import torch

from core.models.load import read_model
from core.models.weights import save_checkpoint


def main(out: Path, *paths: str) -> None:
    """Write the mean of `paths` to `out`, with the card of the last."""
    models = [read_model(path) for path in paths]
    module, card = models[-1]
    states = [model.state_dict() for model, _ in models]
    mean = {
        name: torch.stack([state[name] for state in states if state[name].shape == last.shape]).mean(dim=0)
        for name, last in module.state_dict().items()
    }
    module.load_state_dict(mean)
    save_checkpoint(out, module, card)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
