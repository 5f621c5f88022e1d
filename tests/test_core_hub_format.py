"""What `export --hub-format` writes: timm's own code loads it, without ours, and gives the same logits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from core.__main__ import main
from core.config import ModelSpec
from core.models.cards import CompactCard, ModelCard, SelectorCard
from core.models.hub_format import FILES
from core.models.load import empty_model, load
from core.models.weights import save_checkpoint
from core.photos.image import load_photo, to_tensor
from core.version import __version__
from tests.small_assets import SMALL_ASSETS
from tests.tiny import CARD as STEM

PHOTO = SMALL_ASSETS / "samples" / "cat.jpg"
CARD = replace(STEM, geometry=replace(STEM.geometry, stem=()))
DEPTH = CARD.geometry.depth
NARROW = replace(CARD, compact=CompactCard(("msa",) * DEPTH, (24,) * DEPTH))
MIXED = replace(CARD, compact=CompactCard(("conv3x3",) + ("msa",) * (DEPTH - 1), (24,) * DEPTH))
SELECTING = replace(CARD, selectors=SelectorCard((1,), (0.7,), True))


def saved(folder: Path, card: ModelCard) -> Path:
    """A model of this card with random weights."""
    torch.manual_seed(0)
    path = folder / "mine.safetensors"
    save_checkpoint(
        path, empty_model(card), replace(card, training={"command": "train", "val_top1": 0.625}), half=False
    )
    return path


@pytest.mark.parametrize("card", [CARD, NARROW], ids=["dense", "compact, all blocks alike"])
def test_timm_loads_the_folder_and_answers_the_same(card, tmp_path, capsys) -> None:
    path, out = saved(tmp_path, card), tmp_path / "out"
    assert (
        main(["export", "--model", str(path), "--hub-format", "--out", str(out), "--photos", str(PHOTO), "--json"]) == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert sorted(file.name for file in out.iterdir()) == sorted(FILES)
    assert told["push"] == f"hf upload USER/NAME {out}"
    ours = load(ModelSpec(str(path)))
    theirs = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    assert type(theirs).__module__.startswith("timm.")
    photo = to_tensor(load_photo(PHOTO), ours.card)
    with torch.no_grad():
        torch.testing.assert_close(theirs(photo), ours.model(photo), atol=1e-5, rtol=1e-5)
    data = timm.data.resolve_model_data_config(theirs)
    assert tuple(data["mean"]) == ours.card.normalisation.mean
    assert tuple(data["input_size"]) == (3, card.geometry.img_size, card.geometry.img_size)
    assert theirs.pretrained_cfg["label_names"] == [one.wnid or one.label for one in card.classes]
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert '"val_top1": 0.625' in readme
    assert f"Prunescope {__version__}" in readme
    assert told["push"] in readme
    again = load(ModelSpec(str(out / "model.safetensors")))
    assert again.card.classes == ours.card.classes


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        (MIXED, "timm has no ViT whose blocks differ in mixer or FFN width"),
        (SELECTING, "timm has no token selectors"),
        (STEM, "timm has no model of these shapes"),
    ],
)
def test_what_timm_cannot_hold_gets_one_sentence_and_no_files(card, sentence, tmp_path, capsys) -> None:
    path, out = saved(tmp_path, card), tmp_path / "out"
    assert main(["export", "--model", str(path), "--hub-format", "--out", str(out), "--photos", str(PHOTO)]) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_nothing_is_written_over(tmp_path, capsys) -> None:
    (tmp_path / "README.md").write_text("mine")
    path = saved(tmp_path, CARD)
    assert main(["export", "--model", str(path), "--hub-format", "--out", str(tmp_path), "--photos", str(PHOTO)]) == 2
    assert "is already there" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "mine"
