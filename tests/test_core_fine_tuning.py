"""Fine-tuning as people expect it: layer decay, a probe, an average, states within an epoch, some photos of a class."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from core.__main__ import main
from core.commands import train
from core.config import ModelSpec
from core.families import deit
from core.models.load import load
from core.models.weights import read_checkpoint, save_checkpoint
from core.photos.class_folders import classes_under, photos
from core.training import loop
from core.training.data import ShrinkTo, limited, within_root
from core.training.loop import LoopSettings, fit, make_accelerator
from core.training.objectives import Objective
from core.training.probe import DECAYS, features, fit_head
from core.training.runs import Run, open_run, read_metrics
from tests import tiny
from tests.tiny import draw_folder

LOOP = ["--batch", "16", "--workers", "0", "--precision", "no"]


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("fine-tuning") / "data")


@pytest.fixture
def dense(tmp_path):
    save_checkpoint(tmp_path / "dense.safetensors", tiny.backbone(), tiny.CARD, half=False)
    return tmp_path / "dense.safetensors"


def test_each_layer_learns_a_quarter_slower_than_the_one_above_and_the_head_at_its_own_rate() -> None:
    model = tiny.backbone()  # four blocks; timm counts the embedding below them, the last norm with the last of them
    args = SimpleNamespace(rate=1.0, weight_decay=0.05, layer_decay=0.75, head_lr=None)
    rates = {}
    for group in train._optimizer(model, args).param_groups:
        for parameter in group["params"]:
            rates[id(parameter)] = group["lr_scale"]
    of = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert len(of) == len(rates)
    assert of["norm.weight"] == of["blocks.3.mlp.fc1.weight"] == 0.75
    assert of["blocks.0.attn.qkv.weight"] == pytest.approx(0.75**4)
    assert of["pos_embed"] == pytest.approx(0.75**5)
    assert of["head.weight"] == of["head.bias"] == 5.0
    args.head_lr = 2.0
    scales = [g["lr_scale"] for g in train._optimizer(model, args).param_groups]
    assert max(scales) == 2.0


def test_trained_weights_are_fine_tuned_unless_a_flag_says_otherwise(dense, data, tmp_path) -> None:
    arguments = ["train", "--start-from", dense, "--data", data, "--out", tmp_path / "run", "--epochs", 1, *LOOP]
    assert run(*arguments) == 0
    told = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert (told["layer_decay"], told["average"], told["mixup"], told["cutmix"]) == (0.75, 0.998, 0.0, 0.0)
    assert told["lr"] == pytest.approx(1.6e-3 * 16 / 512)
    assert " photos/s, " in (tmp_path / "run" / "train.log").read_text()


class Numbered(Dataset):
    """Eight fixed points and their labels."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([float(index), 1.0]), index % 2


class Line(nn.Module):
    """A step around a linear classifier that can be told to stop after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model, self.left, self.seen = nn.Linear(2, 2), stop_after, []

    def forward(self, points, targets, epoch):
        if self.left is not None:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
        self.seen += points[:, 0].tolist()
        return functional.cross_entropy(self.model(points), targets), {}


def trained(folder, step: Line, *, resume: bool = False) -> tuple[dict, ModelEmaV3]:
    settings = LoopSettings(epochs=2, batch=2, warmup_epochs=0, workers=0, save_minutes=0)
    average = ModelEmaV3(step.model, decay=0.9)
    torch.manual_seed(1)
    fit(
        step,
        torch.optim.AdamW(step.parameters(), lr=0.1),
        Numbered(),
        settings,
        open_run(folder, {}, resume=resume),
        make_accelerator(torch.device("cpu")),
        classes=2,
        after_epoch=lambda module, epoch: {},
        average=average,
    )
    return step.model.state_dict(), average


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_a_run_stopped_within_an_epoch_goes_on_with_the_photos_not_yet_seen(tmp_path, stop) -> None:
    whole = Line()
    expected, average = trained(tmp_path / "whole", whole)
    first, second = Line(stop_after=stop), Line()
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", first)
    found, other = trained(tmp_path / "stopped", second, resume=True)
    assert first.seen + second.seen == whole.seen
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(other.module.state_dict(), average.module.state_dict())
    losses = [[line["loss"] for line in read_metrics(open_run(tmp_path / name, {}, resume=True))] for name in
              ("whole", "stopped")]  # fmt: skip
    assert losses[1] == pytest.approx(losses[0])


def test_the_average_is_what_a_run_saves_and_judges(dense, data, tmp_path, monkeypatch) -> None:
    kept = {}
    plain = loop.fit

    def spy(step, *rest, average=None, **more):
        plain(step, *rest, average=average, **more)
        kept["last"], kept["average"] = step.model.state_dict(), average.module.state_dict()

    monkeypatch.setattr("core.commands.session.fit", spy)
    arguments = ["--start-from", dense, "--data", data, "--epochs", 1, "--lr", "1e-2", *LOOP]
    assert run("train", *arguments, "--average", "0.9", "--out", tmp_path / "run") == 0
    saved = load_file(tmp_path / "run" / "model.safetensors")
    torch.testing.assert_close(saved["head.weight"].float(), kept["average"]["head.weight"], atol=1e-3, rtol=1e-3)
    assert (saved["head.weight"].float() - kept["last"]["head.weight"]).abs().max() > 1e-3


def test_at_most_so_many_photos_of_each_class_are_trained_on(data) -> None:
    some = limited(photos([data / "train"], ["blue", "green", "red"], None), 4)
    assert [some.dataset.targets[i] for i in some.indices] == [0] * 4 + [1] * 4 + [2] * 4
    assert some.indices[:4] == [0, 5, 10, 15]  # of twenty
    assert len(limited(some.dataset, 100)) == 60


def test_sharp_photos_are_shrunk_to_one_short_side_and_small_ones_left_alone() -> None:
    shrink = ShrinkTo(64)
    assert shrink(Image.new("RGB", (300, 200))).size == (96, 64)
    assert shrink(Image.new("RGB", (64, 100))).size == (64, 100)
    assert shrink(Image.new("RGB", (40, 50))).size == (40, 50)


def test_patches_are_left_out_in_training_and_never_afterwards() -> None:
    model = tiny.backbone()
    train._drop_patches(model, 0.5)
    images = tiny.images(1)
    assert model.train().patch_drop(model._pos_embed(model.patch_embed(images))).shape[1] == 1 + 8
    assert model.eval().patch_drop(model._pos_embed(model.patch_embed(images))).shape[1] == 1 + 16


def test_the_head_of_a_probe_is_the_minimum_of_its_penalised_loss() -> None:
    """At a minimum the gradient is zero: sum over photos of (p - y) x / M = -decay weight, on standardised features."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    x = torch.randn(300, 4, generator=generator) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + 5
    x[:, 0] += labels
    weight, bias, held = fit_head(x, labels, 3)
    mean, std = x.mean(dim=0), x.std(dim=0)
    residual = (x @ weight.T + bias).softmax(dim=1) - functional.one_hot(labels, 3)
    gradient = residual.T @ ((x - mean) / std) / len(x)  # of the standardised weight, weight * std
    slopes = [(gradient + decay * weight * std).abs().max() for decay in DECAYS]
    assert min(slopes) < 2e-4  # the penalty that was chosen; the gradient itself is up to 0.01
    assert gradient.abs().max() > 1e-3
    assert 0.3 < held < 1


def test_a_probe_reads_what_the_head_reads() -> None:
    model = tiny.backbone()
    images, labels = tiny.images(5), torch.arange(5)
    x, found = features(model, [(images[:3], labels[:3]), (images[3:], labels[3:])])
    torch.testing.assert_close(model.head(x), model(images))
    assert found.tolist() == labels.tolist()


def test_a_backbone_without_a_head_gets_one_and_keeps_its_weights(data, tmp_path) -> None:
    card = replace(tiny.CARD, geometry=replace(tiny.TINY, classes=0), classes=())
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "bare.safetensors", deit.build(card.geometry), card, half=False)
    arguments = ["train", "--probe", "--start-from", tmp_path / "bare.safetensors", "--data", data, *LOOP]
    assert run(*arguments, "--out", tmp_path / "run", "--limit-per-class", 10) == 0
    state, made = read_checkpoint(tmp_path / "run" / "model.safetensors")
    bare, _ = read_checkpoint(tmp_path / "bare.safetensors")
    assert [c.label for c in made.classes] == ["blue", "green", "red"]
    torch.testing.assert_close(state["blocks.2.mlp.fc1.weight"], bare["blocks.2.mlp.fc1.weight"], atol=1e-3, rtol=1e-3)
    line = read_metrics(Run(tmp_path / "run"))[0]
    assert line["val_top1"] > 0.9, "colours are a linear matter even of random features"
    assert load(ModelSpec(str(tmp_path / "run" / "model.safetensors"))).card.training["settings"]["probe"]


def test_a_backbone_without_a_head_is_refused_for_predicting(tmp_path, capsys) -> None:
    card = replace(tiny.CARD, geometry=replace(tiny.TINY, classes=0), classes=())
    save_checkpoint(tmp_path / "bare.safetensors", deit.build(card.geometry), card)
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    assert run("predict", tmp_path / "photo.png", "--model", tmp_path / "bare.safetensors") == 2
    assert "has no head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--layer-decay", "1.5"], "--layer-decay takes"),
        (["--average", "1"], "--average"),
        (["--head-lr", "-1"], "positive rate"),
        (["--patch-drop", "1"], "--patch-drop is a share"),
        (["--probe", "--within-root"], "omit --within-root"),
        (["--shrink-to", "0"], "1 or more"),
        (["--limit-per-class", "0"], "1 or more"),
        (["--save-minutes", "0"], "above 0"),
    ],
)
def test_wrong_values_get_one_line(dense, data, tmp_path, capsys, flags, sentence) -> None:
    assert run("train", "--start-from", dense, "--data", data, "--out", tmp_path / "run", *LOOP, *flags) == 2
    captured = capsys.readouterr().err
    assert sentence in captured
    assert captured.strip().count("\n") == 0


def test_a_probe_needs_a_trained_backbone(data, tmp_path, capsys) -> None:
    assert run("train", "--probe", "--data", data, "--out", tmp_path / "run", *LOOP) == 2
    assert "give --start-from" in capsys.readouterr().err


def test_a_photo_competes_within_its_root_alone() -> None:
    rivals = torch.tensor([[True, True, True, True], [False, True, True, False]])
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0], [9.0, 1.0, 0.0, 9.0]], requires_grad=True)
    targets = torch.tensor([0 * 4 + 3, 1 * 4 + 1])  # root x C + class
    loss = Objective(rivals=rivals)(logits, targets, torch.zeros(2, 3, 4, 4))
    alone = functional.cross_entropy(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), label_smoothing=0.1)
    usual = functional.cross_entropy(logits[:1].detach(), torch.tensor([3]), label_smoothing=0.1)
    torch.testing.assert_close(loss.detach(), (alone + usual) / 2)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[1, [0, 3]].tolist() == [0, 0], "what the second root has no folder for is not pushed down"
    assert (logits.grad[0] != 0).all()


def test_photos_are_labelled_by_root_and_class(tmp_path) -> None:
    colours = {"a": (255, 0, 0), "b": (0, 255, 0), "c": (0, 0, 255)}
    for root, names in {"small": "abc", "large": "bc"}.items():
        for name in names:
            (tmp_path / root / name).mkdir(parents=True)
            Image.new("RGB", (8, 8), colours[name]).save(tmp_path / root / name / "1.png")
    roots = [tmp_path / "small", tmp_path / "large"]
    found = within_root(photos(roots, ["a", "b", "c"], None))
    told = {(path.removeprefix(str(tmp_path)), label) for path, label in found.samples}
    assert told == {
        ("/small/a/1.png", 0),
        ("/small/b/1.png", 1),
        ("/small/c/1.png", 2),
        ("/large/b/1.png", 4),
        ("/large/c/1.png", 5),
    }
    assert sorted(found[i][1] for i in range(len(found))) == [0, 1, 2, 4, 5]
    assert classes_under(roots, ["a", "b", "c"]).tolist() == [[True] * 3, [False, True, True]]
    assert len(limited(found, 1)) == 5, "so many of each class of each root"


def test_train_within_roots(dense, data, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    for split in ("train", "val"):
        for name in ("blue", "red"):
            shutil.copytree(data / split / name, other / split / name)
    flags = ["--start-from", dense, "--out", tmp_path / "run", *LOOP, "--epochs", "1", "--within-root"]
    assert run("train", "--data", data, other, *flags) == 0
    assert read_metrics(Run(tmp_path / "run"))[0]["val_images"] > 0
    settings = tmp_path / "run" / "settings.json"
    settings.write_text(json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "within_root"}))
    assert run("train", "--data", data, other, *flags, "--resume") == 2, "as if begun before there was that flag"
    assert "within_root None, now True" in capsys.readouterr().err
    assert run("train", "--data", data, other, *flags[:-1], "--resume") == 0
    shutil.rmtree(other / "train" / "red")
    for given, sentence in ([data], "several roots"), ([data, other], "two classes to tell apart"):
        assert run("train", "--data", *given, *flags, "--resume") == 2
        assert sentence in capsys.readouterr().err
