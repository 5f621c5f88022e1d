"""Models of the hub by name, with a hub that is a folder here."""

import json
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file

from core.__main__ import main
from core.config import ModelSpec
from core.errors import InputError
from core.models import hub
from core.models.load import load, read_model
from tests.small_assets import SMALL_ASSETS

CONFIG = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 3,
    "label_names": ["ant", "bee", "cat"],
    "model_args": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4},
    "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.9},
}
NAME = "hf-hub:someone/a-vit.ft"


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(CONFIG["architecture"], num_classes=3, **CONFIG["model_args"]).eval()


@pytest.fixture
def places(monkeypatch, tmp_path) -> tuple[Path, Path]:
    """The hub, and this machine's cache of it."""
    there, here = tmp_path / "hub", tmp_path / "cache"
    here.mkdir()
    (there / "someone" / "a-vit.ft").mkdir(parents=True)

    def cached(repo: str, file: str, revision: str | None = None) -> str | None:
        return str(here / file) if (here / file).is_file() else None

    def download(repo: str, file: str, revision: str | None = None) -> str:
        if not (there / repo).is_dir():
            raise RuntimeError("no such repository")
        if not (there / repo / file).is_file():
            raise EntryNotFoundError(file)
        (here / file).write_bytes((there / repo / file).read_bytes())
        return str(here / file)

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "check_hub", lambda: None)
    return there / "someone" / "a-vit.ft", here


@pytest.mark.parametrize("file", hub.WEIGHTS)
def test_a_model_is_fetched_once_and_answers_as_timms_does(file, model, places) -> None:
    there, _ = places
    (there / "config.json").write_text(json.dumps(CONFIG))
    if file.endswith(".bin"):
        torch.save(model.state_dict(), there / file)
    else:
        save_file(model.state_dict(), there / file)
    with pytest.raises(InputError, match=r"`python -m core fetch hf-hub:someone/a-vit\.ft` gets it"):
        load(ModelSpec(NAME))
    read_model(NAME, download=True)
    (there / file).unlink()
    loaded = load(ModelSpec(NAME))
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded.model(images), model(images), atol=1e-5, rtol=1e-5)
    assert [name.label for name in loaded.card.classes] == ["ant", "bee", "cat"]
    assert loaded.card.normalisation.crop_pct == 0.9
    assert loaded.card.geometry.heads == 4


def test_fetch_and_predict_take_the_name(model, places, tmp_path, capsys) -> None:
    there, _ = places
    (there / "config.json").write_text(json.dumps(CONFIG))
    save_file(model.state_dict(), there / "model.safetensors")
    assert main(["fetch", NAME]) == 0
    assert "is on this machine" in capsys.readouterr().out
    sample = next((SMALL_ASSETS / "samples").glob("*.jpg"))
    assert main(["predict", str(sample), "--model", NAME, "--keep", "0.5", "--blocks", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["top5"][0]["label"] in CONFIG["label_names"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hf-hub:", "names no repository of the hub; give hf-hub:user/model"),
        ("hf-hub:a/b/c", "names no repository"),
        ("hf-hub:../../etc", "names no repository"),
        ("hf-hub:nobody/none", "nobody/none cannot be fetched from the hub"),
        (NAME, "someone/a-vit.ft on the hub has no config.json"),
    ],
)
def test_what_is_not_there_gets_one_sentence(name, sentence, places) -> None:
    with pytest.raises(InputError, match=sentence):
        read_model(name, download=True)


def test_a_revision_is_asked_for(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *given, revision: asked.append((*given, revision)))
    with pytest.raises(InputError, match="is not on this machine"):
        hub.hub_file("hf-hub:someone/model@v1.0")
    assert asked[0] == ("someone/model", "model.safetensors", "v1.0")


def test_a_connection_that_is_lost_is_not_taken_for_a_file_that_is_not_there(monkeypatch, places) -> None:
    def lost(*given: object, **more: object) -> None:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "hf_hub_download", lost)
    with pytest.raises(InputError, match="cannot be fetched from the hub"):
        read_model(NAME, download=True)
