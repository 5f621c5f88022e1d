"""Engines give the logits of eager torch, for every kind of model that they take, and say what they cannot take."""

from dataclasses import replace

import pytest
import torch

from core.__main__ import main
from core.backbones import deit
from core.cards import SelectorCard
from core.engines import check_engine, graph_of, prepare
from core.errors import InputError
from core.single_path.compact import carve
from core.soft_tokens.decide import top_share
from core.soft_tokens.fixed import FixedKeepViT, SelectorsAlone
from core.weights import save_checkpoint
from tests.tiny import CARD, TINY, images, token_model

SMALL = replace(TINY, depth=2, stem=())
KEEP = (0.7, 0.5, 0.3)


def small(blocks: tuple[int, ...] = (), mixers: tuple[str, ...] = ()):
    """Two blocks: enough for an attention, a convolution, and a selector between them."""
    torch.manual_seed(0)
    backbone = deit.build(SMALL).eval()
    if mixers:
        carve(backbone, mixers, (24, 40))
    return backbone


def pruned():
    from core.soft_tokens.model import SoftTokenViT

    return SoftTokenViT(small(), (1,)).eval()


@pytest.mark.parametrize("packaging", ["weighted_mean", "weighted_sum"])
@pytest.mark.parametrize("keep", [KEEP, (1.0, 0.5, 0.5), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_the_fixed_graph_says_what_really_removing_tokens_says(batch, keep, packaging) -> None:
    model = token_model()
    model.packaging = packaging
    expected = model.run(images(batch), top_share(keep, TINY.patches))[0]
    torch.testing.assert_close(FixedKeepViT(model, keep)(images(batch)), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_selectors_alone_leave_as_many_tokens_as_the_stages_do() -> None:
    alone = SelectorsAlone(FixedKeepViT(token_model(), KEEP))
    tokens = alone.inputs(2, TINY.width, torch.device("cpu"))
    # 16 patches; 12, 8 and 5 stay; a class token; behind stage s come s packages
    assert [x.shape[1] for x in tokens] == [17, 1 + 12 + 1, 1 + 8 + 2]
    assert alone(*tokens).shape[1] == (1 + 12 + 1) + (1 + 8 + 2) + (1 + 5 + 3)


@pytest.mark.parametrize("engine", ["onnxruntime", "compile"])
@pytest.mark.parametrize("kind", ["dense", "compact", "tokens"])
def test_an_engine_gives_the_logits_of_eager_torch(kind, engine) -> None:
    batch = 2 if engine == "onnxruntime" else 1
    made = {"dense": small, "compact": lambda: small(mixers=("conv3x3", "msa")), "tokens": pruned}[kind]()
    x = images(batch)
    with torch.inference_mode():
        expected = made.run(x, top_share((0.5,), TINY.patches))[0] if kind == "tokens" else made(x)
    run = prepare(graph_of(made, (0.5,) if kind == "tokens" else None, kind), engine, x)
    other = images(batch, seed=1)
    torch.testing.assert_close(run(x), expected, atol=1e-4, rtol=0)
    assert (run(other) - run(x)).abs().max() > 1e-3, "the photos are a constant of the graph"


def test_a_model_that_decides_photo_by_photo_is_refused() -> None:
    with pytest.raises(InputError, match="decides photo by photo .* give --keep with 3 shares"):
        graph_of(token_model(), None, "tokens")


def test_an_unknown_engine_and_one_on_another_device_are_refused() -> None:
    with pytest.raises(InputError, match="no engine tensorrt; choose eager, onnxruntime, compile"):
        check_engine("tensorrt", torch.device("cpu"))
    with pytest.raises(InputError, match="runs on the CPU"):
        check_engine("onnxruntime", torch.device("cuda"))


def test_without_a_compiler_there_is_one_sentence(monkeypatch) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in g++.\nA long story follows.")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(InputError, match=r"does not work here \(No working C\+\+ compiler found in g\+\+\)") as error:
        prepare(small(), "compile", images(1))
    assert "\n" not in str(error.value)
