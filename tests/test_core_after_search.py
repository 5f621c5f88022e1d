"""Search and what follows it on a small folder: gate history, one budget, any budget, teachers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from core.__main__ import main
from core.config import ModelSpec, Normalisation
from core.costs.macs import count_macs
from core.errors import InputError
from core.models.cards import CompactCard, SinglePathCard, TeacherCard, card_to_json
from core.models.load import load
from core.models.weights import read_card, read_checkpoint, save_checkpoint
from core.results import ClassName
from core.single_path.compact import compact
from core.single_path.derive import derive, gates_of
from core.single_path.history import add_snapshot, history_file, read_history
from core.training.budgets import BudgetStep
from core.training.objectives import Objective, distillation, hard_distillation, task_loss
from core.training.teachers import Teacher, build, counted_macs, load_teacher
from tests.tiny import CARD, CLASSES, TINY, backbone, draw_folder, images, single_path_model

LOOP = ["--batch", "16", "--workers", "0", "--precision", "no", "--warmup-epochs", "0"]


def run(*arguments: str | Path) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """data/, dense.safetensors and searched.safetensors, both with random weights."""
    root = tmp_path_factory.mktemp("after")
    draw_folder(root / "data")
    save_checkpoint(root / "dense.safetensors", backbone(), CARD)
    searched = replace(CARD, single_path=SinglePathCard(0.01, fit_to_predict=False))
    save_checkpoint(root / "searched.safetensors", single_path_model(), searched)
    return root


# History


def test_a_search_keeps_the_history_of_all_its_gates(work) -> None:
    out = work / "search"
    where = ["--model", work / "dense.safetensors", "--data", work / "data", "--out", out, "--gate-lr", "0.1"]
    assert run("search", *where, "--from-flat", "--epochs", 2, "--budget", "60%", *LOOP) == 0
    found = read_history(history_file(out / "model.safetensors"), TINY)
    assert found.epochs.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert (found.mixer_logits[0] == 1.5).all()
    assert (found.mixer_logits[-1] != 1.5).all()
    saved = load(ModelSpec(str(out / "model.safetensors"))).gates
    np.testing.assert_allclose(found.at(6).ffn_logits, saved.ffn_logits, atol=1e-3)
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["derived_gmacs"] <= line["asked_gmacs"]


def test_what_a_broken_off_run_had_noted_is_replaced(tmp_path) -> None:
    path, gates = tmp_path / "gates.safetensors", gates_of(single_path_model(), TINY)
    for epoch in (0.0, 0.5, 1.0, 1.5, 1.0, 1.5):  # the state of epoch 1 - 0.5 was resumed
        add_snapshot(path, epoch, gates)
    assert read_history(path, TINY).epochs.tolist() == [0.0, 0.5, 1.0, 1.5]
    with pytest.raises(InputError, match="no history of this model"):
        read_history(path, replace(TINY, depth=3))
    assert read_history(tmp_path / "none.safetensors", TINY) is None


# One budget, any budget


def test_one_budget_is_fine_tuned_into_a_compact_model(work) -> None:
    out = work / "half"
    where = ["--model", work / "searched.safetensors", "--data", work / "data", "--out", out, "--budget", "50%"]
    teach = ["--teacher", work / "dense.safetensors", "--distill", "hard"]
    assert run("finetune", *where, "--epochs", 1, *teach, *LOOP) == 0
    loaded = load(ModelSpec(str(out / "model.safetensors")))
    expected = derive(gates_of(single_path_model(), TINY), 0.5 * loaded.dense_macs)
    assert loaded.method == "compact"
    assert loaded.architecture.mixers == expected.mixers
    assert loaded.architecture.ffn_hidden == expected.ffn_hidden
    assert loaded.architecture.macs == expected.macs <= 0.5 * count_macs(TINY).total
    assert loaded.architecture.asked_macs == 0.5 * loaded.dense_macs
    assert loaded.stored_params > sum(p.numel() for p in loaded.model.parameters())
    with pytest.raises(InputError, match="takes no budget"):
        load(ModelSpec(str(out / "model.safetensors"), budget=1e6))


@pytest.mark.parametrize("share", [0.75, 0.45])
@torch.no_grad()
def test_a_compact_model_reloads_equal(share, tmp_path) -> None:
    model = single_path_model()
    chosen = derive(gates_of(model, TINY), share * count_macs(TINY).total)
    plain = compact(model, chosen)
    card = replace(CARD, compact=CompactCard(chosen.mixers, chosen.ffn_hidden))
    save_checkpoint(tmp_path / "compact.safetensors", plain, card, half=False)
    again = load(ModelSpec(str(tmp_path / "compact.safetensors")))
    assert torch.equal(again.model(images(3)), plain(images(3)))
    assert again.architecture.macs == chosen.macs


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "--model", "dense", "--budget", "5%"], "cannot be reached"),
        (["search", "--model", "searched"], "pruned already"),
        (["finetune", "--model", "dense", "--budget", "60%"], "has no gates"),
        (["finetune", "--model", "searched", "--budget", "5%"], "cannot be reached"),
        (["finetune", "--model", "searched"], "name it as --teacher"),
        (["finetune", "--model", "searched", "--distill", "none", "--least", "5%"], "cannot be reached"),
        (["search", "--model", "dense", "--distill", "none", "--teacher", "dense"], "learns from nobody"),
        (["search", "--model", "dense", "--distill-share", "1.5"], "between 0 and 1"),
        (["finetune", "--model", "searched", "--budget", "60%", "--distill", "soft"], "needs a --teacher"),
        (["search", "--model", "dense", "--teacher", "no_such_model"], "timm knows no model"),
        (["train", "--distill", "hard"], "needs a --teacher"),
        (["train", "--drop-path", "2"], "--drop-path is a rate"),
        (["search", "--model", "dense", "--cost-weight", "nan"], "--cost-weight takes"),
        (["search", "--model", "dense", "--gate-lr", "inf"], "numbers above 0"),
        (["search", "--model", "dense", "--lr", "inf"], "a positive rate"),
        (["search", "--model", "dense", "--batch", "128"], "60 training photos make no batch of 128"),
        (["search", "--model", "swinv2_tiny_window8_256"], "cannot be pruned here"),
        (["search", "--model", "nan"], "no numbers"),
        (["search", "--model", "dense", "--teacher", "resnet18.a1_in1k"], "could not be downloaded"),
    ],
)
def test_wrong_input_gets_one_line_and_writes_nothing(arguments, sentence, work, tmp_path, capsys, monkeypatch) -> None:
    files = {"dense": work / "dense.safetensors", "searched": work / "searched.safetensors"}
    if "nan" in arguments[2:3]:
        state, card = read_checkpoint(work / "dense.safetensors")
        state["norm.weight"][0] = float("nan")
        save_file(state, str(tmp_path / "nan.safetensors"), metadata={"prunescope": card_to_json(card)})
        files["nan"] = tmp_path / "nan.safetensors"
    monkeypatch.setattr(timm, "create_model", no_network(timm.create_model))
    arguments = [str(files.get(a, a)) if i == 2 or a == "dense" else a for i, a in enumerate(arguments)]
    assert run(*arguments[:1], "--data", work / "data", "--out", tmp_path / "out", *LOOP, *arguments[1:]) == 2
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists(), "something was written"


def no_network(create):
    """timm without its hub."""

    def build(name, pretrained=False, **settings):
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False, **settings)

    return build


@pytest.mark.parametrize("command", [["search"], ["finetune", "--selectors", "1,2", "--targets", "0.5,0.3"]])
def test_one_class_and_empty_folders_are_refused(command, work, tmp_path, capsys) -> None:
    for split in ("train", "val"):
        shutil.copytree(work / "data" / split / "red", tmp_path / "one" / split / "red")
        (tmp_path / "empty" / split / "red").mkdir(parents=True)
        (tmp_path / "empty" / split / "blue").mkdir()
    for data, sentence in (("one", "only one of the model's classes"), ("empty", "holds no photos")):
        where = ["--model", work / "dense.safetensors", "--data", tmp_path / data, "--out", tmp_path / "out"]
        assert run(*command, *where, *LOOP) == 2
        assert sentence in capsys.readouterr().err
        assert not (tmp_path / "out").exists(), "something was written"


@pytest.mark.parametrize("seed", range(4))
def test_one_budget_trains_the_architecture_that_it_saves(seed) -> None:
    model = single_path_model(seed)
    gates = gates_of(model, TINY)
    reached = derive(gates, (0.4 + 0.1 * seed) * count_macs(TINY).total)
    chosen = derive(gates, reached.macs)  # a budget that just fits: the least rounding would close one gate more
    step = BudgetStep(model, TINY, Objective(), only=chosen)
    _, told = step(images(2), torch.tensor([0, 1]), 0.0)
    assert told["share"] * count_macs(TINY).total == pytest.approx(reached.macs, abs=0.5)


# Teachers


def test_objectives_are_what_their_formulas_say() -> None:
    logits, said = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    target, photo = torch.tensor([0]), torch.zeros(1, 3, 4, 4)
    p, q = logits.softmax(-1), said.softmax(-1)
    torch.testing.assert_close(distillation(logits, said), (q * (q / p).log()).sum())
    torch.testing.assert_close(hard_distillation(logits, said), -p[0, 1].log())
    teacher = nn.Module()
    teacher.forward = lambda images: said
    alone = Objective()(logits, target, photo)
    torch.testing.assert_close(alone, task_loss(logits, target))
    mixed = Objective(teacher, "hard", share=0.25)(logits, target, photo)
    torch.testing.assert_close(mixed, 0.75 * alone - 0.25 * p[0, 1].log())
    with pytest.raises(ValueError, match="without a teacher"):
        Objective(None, "soft")


@torch.no_grad()
def test_a_teacher_sees_its_own_size_and_normalisation_and_answers_for_the_students_classes() -> None:
    seen = []

    class Fixed(nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.tensor([[10.0, 20.0, 30.0]]).expand(len(x), 3)

    own, student = Normalisation((0.5,) * 3, (0.25,) * 3), Normalisation((0.1, 0.2, 0.3), (0.5,) * 3)
    teacher = Teacher(Fixed(), img_size=8, normalisation=own, student=student, columns=[2, 0])
    grey = (torch.full((2, 3, 4, 4), 0.75) - torch.tensor(student.mean)[:, None, None]) / 0.5
    assert teacher(grey).tolist() == [[30.0, 10.0], [30.0, 10.0]]
    torch.testing.assert_close(seen[0], torch.full((2, 3, 8, 8), (0.75 - 0.5) / 0.25))


@pytest.mark.slow
def test_any_classifier_of_timm_is_trained_to_teach_and_then_teaches(work, capsys) -> None:
    out = work / "teacher"
    data = ["--data", work / "data", *LOOP]
    assert (
        run("train", "--as-teacher", "--model", "resnet10t", "--img-size", 32, "--out", out, "--epochs", 1, *data) == 0
    )
    weights = out / "model.safetensors"
    student = (CLASSES[2], CLASSES[0])  # blue, red; the folders are blue, green, red
    teacher = load_teacher(str(weights), student, Normalisation())
    assert teacher.columns.tolist() == [0, 2]
    direct = teacher.model(functional.interpolate(images(2), (32, 32)))
    torch.testing.assert_close(teacher(images(2)), direct[:, [0, 2]], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="does not know cat"):
        load_teacher(str(weights), (ClassName(None, "cat"),), Normalisation())
    with pytest.raises(InputError, match="holds resnet10t, which cannot be pruned here"):
        load(ModelSpec(str(weights)))
    taught = ["--model", work / "dense.safetensors", "--teacher", weights, "--epochs", 1]
    assert run("search", *taught, "--out", work / "taught", *data) == 0
    told = read_card(work / "taught" / "model.safetensors").training
    assert told["settings"]["teacher"] == "teacher/model.safetensors", "a weights file tells nobody's folders"


def test_a_teachers_macs_are_those_of_its_layers() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(8 * 16 * 16, 5))
    assert counted_macs(layers, 32) == 16 * 16 * 8 * 27 + 8 * 16 * 16 * 5
    with pytest.raises(InputError, match="does not take 30 x 30"):
        counted_macs(layers, 30)
    with pytest.raises(InputError, match="timm knows no model nonsense"):
        build("nonsense", 3)
    assert TeacherCard("resnet18", 32, 1, CLASSES, Normalisation()).family == "teacher"
