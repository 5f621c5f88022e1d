"""Exported files answer as the model does, hold what others need, and are there whole or not at all."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import core.models.export
from core.__main__ import main
from core.config import ModelSpec
from core.costs.macs import count_macs
from core.errors import InputError
from core.inference.trace import trace_tokens
from core.models.cards import CompactCard, SelectorCard, SinglePathCard
from core.models.export import MOST_PHOTOS, TOLERANCE, export_model, onnx_session, open_program
from core.models.load import load
from core.models.weights import save_checkpoint
from core.single_path.model import SinglePathViT
from tests.tiny import CARD, CLASSES, TINY, backbone, images, single_path_model, token_model

MIXERS = ("msa", "conv3x3", "conv1x1", "skip")
TRAINED = {"epochs": 3}


def all_mixers(*, prefix_passes: bool = False) -> SinglePathViT:
    """A search form whose gates make of its four blocks the four mixers, and no FFN of the last one."""
    model = single_path_model()
    model.prefix_passes = prefix_passes
    with torch.no_grad():
        for block, path in enumerate(model.paths):
            path.mixer_logits.copy_(torch.tensor([1.0 if gate < 3 - block else -1.0 for gate in range(3)]))
        model.paths[3].ffn_logits.fill_(-1.0)
    return model


MODELS = {
    "dense": backbone(),
    "single": all_mixers(),
    "tokens": token_model(),
    "passes": all_mixers(prefix_passes=True),
}
CARDS = {
    "dense": CARD,
    "single": replace(CARD, single_path=SinglePathCard(0.01, True), training=TRAINED),
    "tokens": replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True), training=TRAINED),
    "passes": replace(CARD, single_path=SinglePathCard(0.01, True, prefix_passes=True)),
}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """The models and a photo."""
    root = tmp_path_factory.mktemp("export")
    for name, model in MODELS.items():
        save_checkpoint(root / f"{name}.safetensors", model, CARDS[name], half=False)
    Image.effect_noise((50, 40), 90).convert("RGB").save(root / "photo.png")
    return root


@pytest.fixture(scope="module", params=["dense", "single"])
def exported(request, work) -> tuple[str, Path]:
    """The name of a model, and a folder with all of its files."""
    folder = work / "out" / request.param
    assert main(["export", "--model", str(work / f"{request.param}.safetensors"), "--out", str(folder)]) == 0
    return request.param, folder


def spec_of(path: Path) -> ModelSpec:
    """A file as a choice."""
    return ModelSpec(str(path))


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_onnx_answers_as_the_model_that_was_trained_does(batch, exported) -> None:
    name, folder = exported
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    answer = torch.from_numpy(session.run(["logits"], {"images": images(batch).numpy()})[0])
    torch.testing.assert_close(answer, MODELS[name](images(batch)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_a_program_of_torch_export_answers_as_the_model_that_was_trained_does(batch, exported) -> None:
    name, folder = exported
    answer = torch.export.load(folder / "model.pt2").module()(images(batch))
    torch.testing.assert_close(answer, MODELS[name](images(batch)), atol=1e-4, rtol=1e-4)


ELSEWHERE = {
    "onnx": """
import json, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
labels = [one["label"] for one in json.loads(session.get_modelmeta().custom_metadata_map["classes"])]
(logits,) = session.run(["logits"], {"images": numpy.load("images.npy")})
print([labels[best] for best in logits.argmax(axis=1)])
""",
    "pt2": """
import json, numpy, torch
told = {"classes": ""}
model = torch.export.load("model.pt2", extra_files=told).module()
logits = model(torch.from_numpy(numpy.load("images.npy")))
print([json.loads(told["classes"])[best]["label"] for best in logits.argmax(dim=1)])
""",
}


@pytest.mark.parametrize("kind", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
@torch.no_grad()
def test_five_lines_elsewhere_name_what_a_photo_shows_without_a_module_of_ours(kind, exported, tmp_path) -> None:
    name, folder = exported
    (tmp_path / f"model.{kind}").write_bytes((folder / f"model.{kind}").read_bytes())
    np.save(tmp_path / "images.npy", images(4).numpy())
    lines = ELSEWHERE[kind].strip()
    assert len(lines.splitlines()) == 5
    ours = "import sys; print(sorted({name.partition('.')[0] for name in sys.modules} & {'core', 'timm'}))"
    command = [sys.executable, "-I", "-c", f"{lines}\n{ours}"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    expected = [CLASSES[best].label for best in MODELS[name](images(4)).argmax(dim=1)]
    assert said.stdout.splitlines() == [str(expected), "[]"]


@torch.no_grad()
def test_our_file_answers_as_the_model_that_was_trained_does(exported) -> None:
    name, folder = exported
    reloaded = load(spec_of(folder / "model.safetensors"))
    torch.testing.assert_close(reloaded.model(images(3)), MODELS[name](images(3)), atol=1e-4, rtol=1e-4)
    assert reloaded.card == replace(CARDS[name], single_path=None, compact=reloaded.card.compact)
    assert (reloaded.card.compact is None) is (name == "dense")


def test_a_folder_gets_a_file_of_each_kind_and_nothing_else(exported) -> None:
    assert sorted(path.name for path in exported[1].iterdir()) == ["model.onnx", "model.pt2", "model.safetensors"]


def test_onnx_tells_classes_and_normalisation_and_nothing_of_this_machine(exported) -> None:
    written = onnx.load(exported[1] / "model.onnx")
    told = {entry.key: json.loads(entry.value) for entry in written.metadata_props}
    assert [name["label"] for name in told["classes"]] == [name.label for name in CLASSES]
    expected = {"size": 32, "mean": list(CARD.normalisation.mean), "std": list(CARD.normalisation.std)}
    expected |= {"interpolation": "bicubic", "crop_pct": 1.0}
    assert {key: told["normalisation"][key] for key in expected} == expected
    shape = written.graph.input[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in shape] == ["batch", 3, 32, 32]
    assert str(Path(torch.__file__).parent.parent).encode() not in written.SerializeToString()


def test_a_program_tells_the_same_and_nothing_of_this_machine(exported) -> None:
    told = {"classes": "", "normalisation": ""}
    program = torch.export.load(exported[1] / "model.pt2", extra_files=told)
    written = onnx.load(exported[1] / "model.onnx", load_external_data=False)
    assert told == {entry.key: entry.value for entry in written.metadata_props}
    (least, most) = next((one.lower, one.upper) for one in program.range_constraints.values())
    assert least <= 1
    assert most > 10**6
    with zipfile.ZipFile(exported[1] / "model.pt2") as archive:
        for name in archive.namelist():
            assert not {part for part in (b"stack_trace", b".py", b"core.") if part in archive.read(name)}, name


@pytest.mark.parametrize("name", ["single", "passes"])
@torch.no_grad()
def test_a_compact_file_is_what_the_search_form_was_made_into(name, work, tmp_path) -> None:
    loaded = load(spec_of(work / f"{name}.safetensors"))
    (found,) = export_model(loaded, tmp_path, ["c.safetensors"], images(2))
    again = load(spec_of(found.path))
    torch.testing.assert_close(again.model(images(3)), loaded.model(images(3)), atol=1e-6, rtol=0)
    assert again.architecture.mixers == MIXERS
    assert again.architecture.ffn_hidden == loaded.architecture.ffn_hidden
    assert again.architecture.ffn_hidden[3] == 0
    assert found.macs == again.architecture.macs == loaded.architecture.macs
    assert again.stored_params == loaded.stored_params > found.params
    assert found.params == sum(parameter.numel() for parameter in again.model.parameters())
    assert (found.form, found.dtype, found.photos) == ("compact", "float32", 2)
    assert found.bytes == found.path.stat().st_size
    made = CompactCard(
        MIXERS, again.architecture.ffn_hidden, None, loaded.stored_params, prefix_passes=name == "passes"
    )
    assert again.card == replace(CARDS[name], single_path=None, compact=made)


def test_a_compact_file_remembers_its_budget_and_takes_no_other(work, tmp_path) -> None:
    budget = 0.6 * count_macs(TINY).total
    loaded = load(ModelSpec(str(work / "single.safetensors"), budget))
    (found,) = export_model(loaded, tmp_path, ["c.safetensors"], images(1))
    assert load(spec_of(found.path)).architecture.asked_macs == budget >= found.macs
    with pytest.raises(InputError, match="no gates"):
        load(ModelSpec(str(found.path), budget))


@torch.no_grad()
def test_a_token_model_keeps_its_selectors_in_our_format(work, tmp_path) -> None:
    (found,) = export_model(load(spec_of(work / "tokens.safetensors")), tmp_path, ["t.safetensors"], images(3))
    again = load(spec_of(found.path))
    assert again.card == CARDS["tokens"]
    assert (found.form, found.macs) == ("tokens", None)
    torch.testing.assert_close(again.model(images(3)), MODELS["tokens"](images(3)), atol=1e-6, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@torch.no_grad()
def test_a_token_model_at_keep_ratios_is_a_graph_that_answers_alike_for_any_batch(kind, work, tmp_path, capsys) -> None:
    path, keep = tmp_path / f"t.{kind}", (0.7, 0.5, 0.25)
    flags = ["--keep", ",".join(map(str, keep)), "--out", str(path), "--json"]
    assert main(["export", "--model", str(work / "tokens.safetensors"), *flags]) == 0
    (told,) = json.loads(capsys.readouterr().out)["files"]
    model = load(ModelSpec(str(work / "tokens.safetensors"), keep=keep))
    answer = onnx_session(path) if kind == "onnx" else open_program(path)
    for batch in (1, 2, 5):
        torch.testing.assert_close(answer(images(batch)), model.model(images(batch)), atol=1e-4, rtol=1e-4)
    assert told["form"] == "tokens"
    assert told["macs"] == trace_tokens(model, Image.open(work / "photo.png")).macs.total


def test_half_precision_halves_the_file_and_tells_what_it_costs(work, tmp_path, capsys) -> None:
    flags = ["--model", str(work / "single.safetensors"), "--photos", str(work / "photo.png"), "--json"]
    assert main(["export", *flags, "--out", str(tmp_path / "full.safetensors")]) == 0
    assert main(["export", *flags, "--out", str(tmp_path / "half.safetensors"), "--half"]) == 0
    full, half = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert list(half) == ["model", "tolerance", "files"]
    (full,), (half,) = full["files"], half["files"]
    fields = ["file", "form", "dtype", "bytes", "largest_difference", "photos", "macs", "params"]
    assert list(half) == fields
    assert (half["dtype"], half["photos"], half["file"]) == ("float16", 1, str(tmp_path / "half.safetensors"))
    header = (tmp_path / "full.safetensors").stat().st_size - 4 * full["params"]
    assert half["bytes"] < 2 * full["params"] + 1.1 * header
    assert full["largest_difference"] < 1e-6 < half["largest_difference"] < 0.1


@torch.no_grad()
def test_half_precision_may_cost_more_than_a_file_may_be_off(tmp_path) -> None:
    model = backbone()
    model.head.weight += 30  # halves are 1/64 apart there
    save_checkpoint(tmp_path / "m.safetensors", model, CARD, half=False)
    (found,) = export_model(
        load(spec_of(tmp_path / "m.safetensors")), tmp_path, ["h.safetensors"], images(2), half=True
    )
    assert found.largest_difference > 10 * TOLERANCE


@pytest.mark.slow
def test_export_leaves_the_model_as_it_was(work, tmp_path) -> None:
    loaded = load(spec_of(work / "single.safetensors"))
    before = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    export_model(loaded, tmp_path, ["c.safetensors", "c.onnx"], images(1), half=True)
    assert all(torch.equal(value, before[key]) for key, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "pt2", "safetensors"])
def test_a_file_that_answers_otherwise_is_not_kept(kind, work, tmp_path, monkeypatch, capsys) -> None:
    def perturb(write):
        def written(path, model, *rest, **settings):
            with torch.no_grad():
                weights = model.state_dict()["head.bias"]
                weights += 1e-3
                write(path, model, *rest, **settings)
                weights -= 1e-3

        return written

    for name in ("write_onnx", "write_program", "save_checkpoint"):
        monkeypatch.setattr(core.models.export, name, perturb(getattr(core.models.export, name)))
    out = tmp_path / "new" / f"model.{kind}"
    assert main(["export", "--model", str(work / "dense.safetensors"), "--out", str(out)]) == 2
    assert "differ from the model's by up to 0.001, and 0.0001" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("batch", "photos"), [(1, 3), (3, 3), (2, 1)], ids=["one by one", "a batch", "a lone photo"])
def test_a_file_is_compared_on_each_photo_and_on_a_batch(batch, photos, work, tmp_path, monkeypatch) -> None:
    loaded = load(spec_of(work / "dense.safetensors"))
    monkeypatch.setattr(core.models.export, "write_onnx", lambda path, *rest: path.touch())
    monkeypatch.setattr(core.models.export, "onnx_session", lambda path: lambda x: loaded.model(x) + (len(x) == batch))
    with pytest.raises(InputError, match="by up to 1, "):
        export_model(loaded, tmp_path, ["m.onnx"], images(photos))


def test_an_interrupted_export_leaves_nothing(work, tmp_path, monkeypatch) -> None:
    def stopped(path: Path, *rest) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(core.models.export, "write_onnx", stopped)
    assert main(["export", "--model", str(work / "dense.safetensors"), "--out", str(tmp_path / "new")]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "out", "flags", "sentence"),
    [
        ("tokens", "m.onnx", [], "differs from photo to photo"),
        ("tokens", "folder", [], "differs from photo to photo"),
        ("tokens", "folder", ["--keep", "0.7,0.5,0.3"], "holds no keep ratio"),
        ("tokens", "m.onnx", ["--keep", "0.7,0.5"], "3"),
        ("dense", "m.onnx", ["--keep", "0.7,0.7,0.7,0.7"], "room for 3 selectors"),
        ("tokens", "m.pt2", [], "differs from photo to photo"),
        ("dense", "m.pt", [], ".safetensors, .onnx or .pt2"),
        ("dense", "m.onnx", ["--half"], "--half is for .safetensors"),
        ("dense", "m.pt2", ["--half"], "--half is for .safetensors"),
        ("dense", "there.onnx", [], "already there; name another --out"),
        ("dense", "there.onnx/m.onnx", [], "cannot be written to"),
        ("dense", "m.onnx", ["--budget", "60%"], "no gates"),
        ("dense", "m.onnx", ["--photos", "missing.png"], "missing.png cannot be read"),
        ("dense", "m.onnx", ["--photos", "{out}/there.onnx"], "there.onnx: That file is not a picture"),
        ("dense", "m.onnx", ["--photos", *["{work}/photo.png"] * (MOST_PHOTOS + 1)], f"1 to {MOST_PHOTOS} photos"),
        ("dense", "m.onnx", ["--device", "toaster"], "--device cpu"),
        ("nothing", "m.onnx", [], "There is no file"),
    ],
)
def test_wrong_input_gets_one_sentence_and_nothing_is_written(
    model, out, flags, sentence, work, tmp_path, capsys
) -> None:
    (tmp_path / "there.onnx").write_text("somebody's")
    flags = [flag.format(out=tmp_path, work=work) for flag in flags]
    assert main(["export", "--model", str(work / f"{model}.safetensors"), "--out", str(tmp_path / out), *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.strip().count("\n") == 0
    assert sentence in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "somebody's"


def test_settings_of_selectors_are_no_part_of_a_file(work, tmp_path) -> None:
    loaded = load(ModelSpec(str(work / "tokens.safetensors"), keep=(0.5, 0.25, 0.25)))
    with pytest.raises(InputError, match="holds no keep ratio"):
        export_model(loaded, tmp_path, ["t.safetensors"], images(1))


def test_without_the_packages_of_onnx_a_sentence_names_them(work, tmp_path, monkeypatch, capsys) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    flags = ["export", "--model", str(work / "dense.safetensors"), "--out"]
    assert main([*flags, str(tmp_path / "m.onnx")]) == 2
    assert "`pip install onnxscript`" in capsys.readouterr().err
    assert main([*flags, str(tmp_path / "m.safetensors")]) == 0
