"""Weights files of others: what they tell is used, what they do not is said or asked for; against timm's models."""

import argparse
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models.pit import PoolingVisionTransformer
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from core.__main__ import main
from core.config import ModelSpec
from core.errors import FileNote, InputError
from core.models.load import load, load_model, read_model
from core.models.releases import told
from core.models.releases.plain import HEADS
from core.models.weights import save_checkpoint
from tests.tiny import CARD, backbone

pytestmark = pytest.mark.filterwarnings("ignore::core.errors.FileNote")
SIZE = 16


def wild(model: nn.Module) -> nn.Module:
    """Weights away from where they start, so that every part matters to the answer."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def vit(**other: object) -> VisionTransformer:
    """timm's ViT of a few thousand weights, one head of 64 channels."""
    torch.manual_seed(0)
    usual = {
        "img_size": SIZE,
        "patch_size": 4,
        "embed_dim": 64,
        "depth": 1,
        "num_heads": 1,
        "mlp_ratio": 0.5,
        "num_classes": 3,
    }
    return wild(VisionTransformer(**usual | other))


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def photos(size: int = SIZE) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def answers_as(path: Path, model: nn.Module, size: int = SIZE, **hints: object) -> None:
    torch.testing.assert_close(load_model(path, **hints)(photos(size)), model(photos(size)), atol=1e-4, rtol=1e-4)


def refusal(path: Path, **hints: object) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path, **hints)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence.replace(str(path), "")) < 300
    return sentence


def notes(path: Path, **hints: object) -> str:
    return " ".join(load(ModelSpec(path, **hints)).card.notes)


# The file and its holders


@pytest.mark.parametrize("name", ["model.PTH", "model.pkl", "pytorch_model.bin", "checkpoint", "odd.safetensors"])
def test_what_torch_saved_loads_under_any_name(name, tmp_path) -> None:
    answers_as(write(tmp_path / name, vit().state_dict()), vit())


def test_the_old_form_of_torch_save_loads(tmp_path) -> None:
    torch.save(vit().state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    answers_as(tmp_path / "old.pth", vit())


@pytest.mark.parametrize("name", ["model.safetensors", "weights.bin", "weights"])
def test_the_hubs_safetensors_load_under_any_name(name, tmp_path) -> None:
    save_file(vit().state_dict(), tmp_path / name, metadata={"format": "pt"})
    answers_as(tmp_path / name, vit())


@pytest.mark.parametrize("holder", ["model", "state_dict", "model_state_dict", "net", "teacher", "weights", "odd_name"])
@pytest.mark.parametrize("start", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone."])
def test_weights_load_from_any_holder_under_any_prefix(holder, start, tmp_path) -> None:
    state = {f"{start}{key}": value for key, value in vit().state_dict().items()}
    answers_as(write(tmp_path / "x.pth", {holder: state, "epoch": 3, "optimizer": {"state": {}}}), vit())


def test_what_lies_beside_the_model_is_left_out_and_said(tmp_path) -> None:
    state = {f"model.{key}": value for key, value in vit().state_dict().items()}
    path = write(tmp_path / "lightning.ckpt", {"state_dict": state | {"loss.weight": torch.ones(3)}})
    answers_as(path, vit())
    assert "Left out what lies beside the model: loss.weight." in notes(path)


@pytest.mark.parametrize("holder", ["state_dict_ema", "model_ema", "ema_state_dict"])
def test_the_moving_average_is_read_as_timm_does_and_said(holder, tmp_path) -> None:
    averaged = vit(num_classes=5)
    path = write(tmp_path / "x.pth", {"state_dict": vit().state_dict(), holder: averaged.state_dict()})
    answers_as(path, averaged)
    assert f"Read the moving average of the weights ({holder})" in notes(path)


def test_several_models_in_one_file_are_not_chosen_from(tmp_path) -> None:
    path = write(tmp_path / "x.pth", {"first": vit().state_dict(), "second": vit().state_dict()})
    assert "holds 2 models (first, second)" in refusal(path)


def test_plain_values_of_training_scripts_beside_the_weights_run_no_code(tmp_path) -> None:
    settings = argparse.Namespace(lr=np.float32(0.5), out=Path("/runs/x"), best=np.int64(3), weights=np.ones(3))
    content = {"model": vit().state_dict(), "best_acc": np.float64(71.25), "args": settings}
    answers_as(write(tmp_path / "best.pth", content), vit())


def npz(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))


def program(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path)


OTHER_FILES = {
    "jax.npz": (npz, "NumPy arrays"),
    "model.onnx": (lambda p: p.write_bytes(b"\x08\x09\x12\x07pytorch\x1a\x032.0"), "ONNX graph"),
    "model.pt2": (program, "program of torch.export"),
    "config.json": (lambda p: p.write_text('{"architecture": "vit"}'), "JSON text"),
    "model.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "lfs.safetensors": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "git lfs pull"),
    "page.pth": (lambda p: p.write_text("<html>Log in</html>"), "web page"),
    "photo.pth": (lambda p: p.write_bytes(b"\xff\xd8\xff\xe0" + bytes(99)), "photo"),
    "empty.pth": (lambda p: p.write_bytes(b""), "is empty"),
    "folder": (lambda p: p.mkdir(), "is a folder"),
    "whole.pth": (lambda p: torch.save(vit(), p), "could run code"),
    "script.pt": (lambda p: torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(p)), "TorchScript"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_file_that_holds_no_weights_is_called_what_it_is(name, tmp_path) -> None:
    make, sentence = OTHER_FILES[name]
    make(tmp_path / name)
    said = refusal(tmp_path / name)
    assert sentence in said
    assert "damaged" not in said or name == "empty.pth"


# What no shape tells


def test_heads_that_nothing_tells_are_said(tmp_path) -> None:
    path = write(tmp_path / "x.pth", vit().state_dict())
    assert "read with 1 attention head, of 64 channels" in notes(path)
    with pytest.warns(FileNote, match="--heads"):
        load_model(path)


def test_heads_of_64_channels_are_not_taken_where_they_do_not_fit(tmp_path) -> None:
    model = vit(embed_dim=80, num_heads=2)
    path = write(tmp_path / "x.pth", model.state_dict())
    assert "--heads" in refusal(path)
    answers_as(path, model, heads=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"args": argparse.Namespace(num_heads=4)},
        {"args": argparse.Namespace(model_kwargs={"num_heads": 4})},
        {"hyper_parameters": {"heads": 4}},
        {"config": {"MODEL": {"VIT": {"NUM_HEADS": 4}}}},
    ],
)
def test_heads_are_those_that_a_files_settings_say(settings, tmp_path) -> None:
    model = vit(num_heads=4)
    path = write(tmp_path / "x.pth", {"model": model.state_dict(), **settings})
    answers_as(path, model)
    assert "heads" not in notes(path)


def test_heads_are_those_of_the_model_that_the_person_names(tmp_path) -> None:
    model = vit(embed_dim=192, num_heads=3)
    path = write(tmp_path / "x.pth", model.state_dict())
    answers_as(path, model, arch="deit_tiny_patch16_224")
    assert "its tokens have 192 channels" in refusal(path, arch="deit_small_patch16_224")
    assert "attention heads" not in notes(path, arch="deit_tiny_patch16_224")


@pytest.mark.parametrize("arch", ["hf-hub:timm/x", "local-dir:/etc", "resnet18", "no_such_model", "../x"])
def test_an_architecture_that_is_none_of_timms_vits_is_refused(arch, tmp_path) -> None:
    refusal(write(tmp_path / "x.pth", vit().state_dict()), arch=arch)


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path) -> None:
    assert "do not divide by 5 heads" in refusal(write(tmp_path / "x.pth", vit().state_dict()), heads=5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_small_distilled_patch16_224"])
def test_heads_by_width_and_depth_are_timms(name) -> None:
    geometry = told.arch_of(name).geometry
    assert HEADS[geometry.width, geometry.depth] == geometry.heads


@pytest.mark.parametrize(
    "said",
    [
        {"img_size": [224]},
        {"img_size": [[224], [224]]},
        {"img_size": {"height": 224}},
        {"crop_pct": 10**400},
        {"mean": [0.5, 0.5, 10**400]},
        {"num_heads": [3, None]},
        {"label_names": ["cat", 1]},
    ],
)
def test_settings_that_make_no_sense_tell_nothing(said) -> None:
    assert told._read([said]) == told.NOTHING


def test_photos_are_prepared_as_the_files_settings_say(tmp_path) -> None:
    settings = argparse.Namespace(
        mean=[0.5] * 3, std=(0.25, 0.5, 0.5), crop_pct=0.9, interpolation="bilinear", num_heads=1
    )
    path = write(tmp_path / "x.pth", {"state_dict": vit().state_dict(), "args": settings})
    found = load(ModelSpec(path)).card
    norm = found.normalisation
    assert (norm.mean, norm.std, norm.crop_pct, norm.interpolation) == ((0.5,) * 3, (0.25, 0.5, 0.5), 0.9, "bilinear")
    assert not found.notes


def test_photos_are_prepared_as_timm_does_for_the_model_that_the_file_names(tmp_path) -> None:
    name = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"  # 0.5 and 0.5, not ImageNet's
    path = write(tmp_path / "x.pth", {"model": vit().state_dict(), "args": argparse.Namespace(model=name, mean=None)})
    assert load(ModelSpec(path)).card.normalisation.mean == (0.5, 0.5, 0.5)


def test_what_is_not_said_of_the_photos_is_said(tmp_path) -> None:
    path = write(
        tmp_path / "x.pth", {"model": vit().state_dict(), "args": argparse.Namespace(mean=[0.5] * 3, std=[0.5] * 3)}
    )
    assert "normalisation" in notes(write(tmp_path / "y.pth", vit().state_dict()))
    assert "read with a crop of 0.875" in notes(path)


def test_a_config_beside_the_weights_tells_heads_photos_and_classes(tmp_path) -> None:
    model = vit(num_heads=2)
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {"model_args": {"num_heads": 2}, "label_names": ["ant", "bee", "cat"]}
    config["pretrained_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.95}
    (tmp_path / "config.json").write_text(json.dumps(config))
    answers_as(tmp_path / "model.safetensors", model)
    card = load(ModelSpec(tmp_path / "model.safetensors")).card
    assert [name.label for name in card.classes] == ["ant", "bee", "cat"]
    assert (card.normalisation.std, card.normalisation.crop_pct) == ((0.5,) * 3, 0.95)
    assert not card.notes


def test_ours_says_itself_what_it_is() -> None:
    with pytest.raises(InputError, match="says itself what it is"):
        load_model("bundled-dense", heads=4)


# What is folded in, exactly


@pytest.mark.parametrize("other", [{"init_values": 0.3}, {"no_embed_class": True}, {"qkv_bias": False}])
def test_what_a_plain_vit_lacks_is_folded_in_exactly(other, tmp_path) -> None:
    model = vit(depth=2, **other)
    answers_as(write(tmp_path / "x.pth", model.state_dict()), model)


def test_deit_iiis_names_of_layer_scale_are_read(tmp_path) -> None:
    model = vit(depth=2, init_values=0.3, no_embed_class=True)
    state = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for key, v in model.state_dict().items()
    }
    answers_as(write(tmp_path / "x.pth", {"model": state}), model)


def without(state: dict, part: str) -> dict:
    return {key: value for key, value in state.items() if part not in key}


REFUSED = {
    "no head": (lambda: vit(num_classes=0).state_dict(), "without a classifier"),
    "pooled": (lambda: vit(global_pool="map", class_token=False).state_dict(), "attention pooling|class token"),
    "fc_norm": (lambda: vit(global_pool="avg").state_dict(), "fc_norm"),
    "registers": (lambda: vit(reg_tokens=2).state_dict(), "register tokens"),
    "clip": (lambda: vit(pre_norm=True).state_dict(), "norm before its first block"),
    "q_norm": (lambda: vit(qk_norm=True).state_dict(), "normalises its queries"),
    "transformers": (lambda: {"vit.embeddings.patch_embeddings.projection.weight": torch.ones(2)}, "transformers"),
    "resnet": (lambda: {"layer1.0.conv1.weight": torch.ones(2)}, "convolutional network"),
    "not square": (lambda: vit(img_size=(16, 32)).state_dict(), "no square grid"),
    "lacks a block's norm": (lambda: without(vit(depth=2).state_dict(), "blocks.1.norm1"), "is missing"),
    "lacks a block": (lambda: without(vit(depth=3).state_dict(), "blocks.1."), "lacks weights"),
    "another shape": (lambda: vit().state_dict() | {"norm.weight": torch.ones(3)}, "another shape"),
    "whole numbers": (lambda: vit().state_dict() | {"norm.weight": torch.ones(64, dtype=torch.int8)}, "whole numbers"),
    "unknown layers": (lambda: vit().state_dict() | {f"extra.{i}.weight": torch.ones(1) for i in range(99)}, "98 more"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_gets_one_true_sentence(what, tmp_path) -> None:
    make, sentence = REFUSED[what]
    assert re.search(sentence, refusal(write(tmp_path / "x.pth", make())))


# Swin and PiT


def swin(size: int = 64, **other: object) -> SwinTransformer:
    torch.manual_seed(0)
    usual = {
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 32,
        "depths": (2, 2),
        "num_heads": (1, 2),
        "num_classes": 3,
    }
    return wild(SwinTransformer(img_size=size, **usual | other))


def in_own_layout(state: dict) -> dict:
    """Under the names of Swin's own code."""
    return {
        key.replace("head.fc", "head").replace("layers.1.downsample", "layers.0.downsample"): v
        for key, v in state.items()
    }


@pytest.mark.parametrize("rename", [dict, in_own_layout])
@pytest.mark.parametrize("size", [32, 64, 96])
def test_a_swin_in_either_layout_answers_at_any_size_and_says_the_one_it_takes(rename, size, tmp_path) -> None:
    path = write(tmp_path / "x.pth", rename(swin(size).state_dict()))
    answers_as(path, swin(size), size)
    assert "photos are read at 32" in notes(path)


def test_a_swin_takes_the_pixels_that_it_is_told(tmp_path) -> None:
    model = swin(64)
    path = write(tmp_path / "x.pth", {"model": model.state_dict(), "args": argparse.Namespace(img_size=64)})
    answers_as(path, model, 64)
    assert load(ModelSpec(path)).card.geometry.img_size == 64
    assert "pixels" not in notes(path)
    assert load(ModelSpec(path, img_size=96)).card.geometry.img_size == 96
    assert "do not fill" in refusal(path, img_size=50)


def pit(**other: object) -> PoolingVisionTransformer:
    torch.manual_seed(0)
    usual = {
        "img_size": 32,
        "patch_size": 8,
        "stride": 4,
        "base_dims": [16, 16],
        "depth": [1, 1],
        "heads": [1, 2],
        "mlp_ratio": 2,
    }
    return wild(PoolingVisionTransformer(**usual | {"num_classes": 3} | other))


def test_a_pit_loads_in_timms_layout_and_its_releases(tmp_path) -> None:
    state = pit().state_dict()
    released = {key.replace("transformers.1.pool.", "pools.0."): value for key, value in state.items()}
    for name, content in (("timm.pth", state), ("released.pth", released)):
        answers_as(write(tmp_path / name, content), pit(), 32)
    assert "attention heads" in notes(tmp_path / "timm.pth")


def test_a_pits_heads_are_asked_for_stage_by_stage(tmp_path) -> None:
    model = pit(base_dims=[8, 8], heads=[2, 4])
    path = write(tmp_path / "x.pth", model.state_dict())
    answers_as(path, model, 32, heads=(2, 4))
    assert "a number for each stage" in refusal(path, heads=2)


# Names


def test_a_path_object_names_a_model_wherever_a_name_does(tmp_path) -> None:
    path = write(tmp_path / "x.pth", vit().state_dict())
    assert load(ModelSpec(path)).spec == ModelSpec(str(path))
    assert type(read_model(path)[0]) is type(load_model(path)) is VisionTransformer


@pytest.mark.parametrize("name", ["x\0.pth", "/nowhere/\0", "\0", "caf\udce9.pth", "\ud800", "x" * 5000 + ".pth"])
def test_a_name_that_no_file_can_have_gets_a_sentence_that_can_be_written(name) -> None:
    with pytest.raises(InputError) as caught:
        load_model(name)
    str(caught.value).encode()
    assert "\0" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_packaging_is_refused_where_nothing_is_packed(tmp_path) -> None:
    with pytest.raises(InputError, match="folds no patches, so it takes no packaging"):
        load_model("bundled-dense", packaging="weighted_sum")


def test_results_about_a_photo_whose_name_is_no_utf8_are_printed(monkeypatch, tmp_path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", backbone(), CARD)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "photos" / "plain.png")
    os.rename(tmp_path / "photos" / "plain.png", os.fsencode(tmp_path / "photos") + b"/caf\xe9.png")
    for extra, shown in (((), r"caf\udce9.png"), (("--json",), r"caf\udce9.png")):
        screen = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(screen, encoding="utf-8", errors="strict"))
        called = ["predict", str(tmp_path / "photos"), "--model", str(tmp_path / "m.safetensors"), "--workers", "0"]
        assert main([*called, *extra]) == 0
        assert shown in screen.getvalue().decode()


def test_a_command_says_on_stderr_what_a_file_does_not(capsys, tmp_path) -> None:
    path = write(tmp_path / "x.pth", vit(embed_dim=128, num_heads=4).state_dict())
    assert main(["describe", "--model", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "attention heads" in json.loads(out)["notes"][0]
    assert err.count("note: The file does not say how many attention heads") == 1
    assert main(["describe", "--model", str(path), "--heads", "4"]) == 0
    assert "attention heads" not in capsys.readouterr().err
    assert main(["describe", "--model", str(path), "--heads", "0"]) == 2
    assert main(["describe", "--model", "bundled-dense", "--heads", "4"]) == 2
