"""Hostile weights files: nothing that a file says of itself is believed before its weights bear it out."""

import copy
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from core.config import ModelSpec, Normalisation
from core.costs.lvvit import LvvitGeometry
from core.errors import InputError
from core.families import deit, lvvit, pit, swin
from core.models import load as checkpoints
from core.models.cards import SelectorCard, SinglePathCard, TeacherCard, card_to_json
from core.models.load import load
from core.models.weights import CARD_KEY
from core.training.teachers import load_teacher
from tests.tiny import CARD, CLASSES, backbone, single_path_model, token_model
from tests.tiny_pit import PIT_CARD, pit_backbone
from tests.tiny_swin import SWIN, SWIN_CARD

pytestmark = pytest.mark.filterwarnings("ignore::core.errors.FileNote")
LVVIT = LvvitGeometry(32, 8, 32, 1, 2, 64, 3, stem_channels=4)
CARDS = {
    "dense": (CARD, backbone),
    "tokens": (replace(CARD, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True)), token_model),
    "singlepath": (replace(CARD, single_path=SinglePathCard(0.01, True)), single_path_model),
    "swin": (SWIN_CARD, lambda: swin.build(SWIN)),
    "pit": (PIT_CARD, pit_backbone),
    "lvvit": (replace(CARD, family=lvvit.FAMILY, geometry=LVVIT), lambda: lvvit.build(LVVIT)),
}
COMPACT = {"mixers": ["msa"] * 4, "ffn_hidden": [64] * 4, "asked_macs": None, "stored_params": None}
SAID: list[tuple[str, str, Any]] = [  # card, field, what a hostile file says there
    *[("dense", f"geometry.{key}", value)
      for key in ("depth", "width", "img_size", "patch", "heads", "ffn_hidden", "classes")
      for value in (10**5, 10**9, 10**30, -1, 0, 3.5, "4", True, None, [4], float("nan"))],
    *[("dense", "geometry.timm", value) for value in
      ("hf-hub:../../etc", "hf_hub:timm/x", "local-dir:/etc", "vit_gigantic_patch14_224", "../x", "resnet18", 3, "x\0",
       "", "swin_tiny_patch4_window7_224", "deit_tiny_patch16_224")],
    *[("dense", "geometry.stem", value) for value in
      ([10**6, 10**6, 10**6], [2] * 10**4, ["8", 16, 32], [-8, 16, 32], 7)],
    *[("dense", "geometry.prefix_tokens", value) for value in (-1, 0, 10**9, 1.5, "1")],
    *[("dense", "geometry.distilled", value) for value in (1, "yes", None)],
    *[("dense", "geometry.unknown", value) for value in (1,)],
    *[("dense", "normalisation.mean", value) for value in ([0.5], ["a", "b", "c"], [float("nan")] * 3, None, 0.5)],
    *[("dense", "normalisation.std", value) for value in ([0.0] * 3, [-1.0] * 3, [float("inf")] * 3)],
    *[("dense", "normalisation.crop_pct", value) for value in (0, -1, 1e-9, 5, "1", float("nan"))],
    *[("dense", "normalisation.interpolation", value) for value in ("magic", 3, ["bicubic"])],
    *[("dense", "classes", value) for value in
      ([], [{}] * 3, ["a", "b", "c"], None, [{"wnid": 1, "label": 2}] * 3, {"a": 1})],
    *[("dense", key, value) for key in ("family", "format") for value in ("x", None, ["deit"], {"a": 1}, "x" * 10**5)],
    *[("dense", "training", value) for value in (3, None, [1])],
    *[("dense", "notes", value) for value in (3, [3], "x")],
    *[("tokens", "selectors.blocks", value) for value in
      ([1, 2, 3.5], [1, 2, 10**9], [-1, 2, 3], [3, 2, 1], [1, 1, 2], ["1", 2, 3], [1, 2], [[1], 2, 3], None, 3)],
    *[("tokens", "selectors.targets", value) for value in
      ([0.7, 0.5, float("nan")], [0.7, 0.5, -0.3], [7, 5, 3], ["a", "b", "c"], [0.7], [float("inf")] * 3, [0, 0, 0])],
    *[("tokens", "selectors.trained", value) for value in (1, "yes", None)],
    *[("tokens", "selectors", value) for value in (3, "x", [1], {"a": 1})],
    *[("singlepath", "single_path.alpha", value) for value in (float("nan"), 0, -1, "a", float("inf"), None)],
    *[("singlepath", "single_path.budgets", value) for value in
      ([float("nan")], [-0.5], [2.0], [0.9, 0.3], ["a"], [0.5, 0.5], 0.5)],
    *[("dense", "compact", COMPACT | {key: value}) for key, value in
      [("mixers", ["msa"] * 3), ("mixers", ["magic"] * 4), ("mixers", None), ("ffn_hidden", [-1] * 4),
       ("ffn_hidden", [1.5] * 4), ("ffn_hidden", ["64"] * 4), ("asked_macs", float("nan")), ("asked_macs", -1),
       ("stored_params", -3), ("stored_params", "many"), ("skip_passes", "yes"), ("unknown", 1)]],
    *[("swin", "geometry.depths", value) for value in ([2, 2, 10**9], [2] * 10**4, [2, 2.5, 2], [2, -2, 2], [], 6)],
    *[("swin", "geometry.img_size", value) for value in (32 * 10**6, 16 * 1024)],
    *[("swin", "geometry.window", value) for value in (10**9, 0, 2.5)],
    *[("swin", "geometry.heads", value) for value in ([2, 4], [2, 4, 3], [0, 0, 0], "248")],
    *[("pit", "geometry.widths", value) for value in ([16, 32, 64 * 10**6], [16, 16, 17], [16], ["16", 32, 64])],
    *[("pit", "geometry.depths", value) for value in ([2, 4, 10**8], [2, 4], [0, 4, 2])],
    *[("pit", "geometry.stride", value) for value in (0, -4, 10**9, 0.5)],
    *[("pit", "geometry.ffn_ratio", value) for value in (10**8, 0, 2.5)],
    *[("lvvit", "geometry.residual", value) for value in (float("nan"), 0, -1, float("inf"), "2")],
    *[("lvvit", "geometry.stem_channels", value) for value in (10**6, 10**9, -4, 4.5)],
]  # fmt: skip


@pytest.fixture(scope="module")
def states() -> dict[str, dict]:
    return {name: {k: v.contiguous() for k, v in make().state_dict().items()} for name, (_, make) in CARDS.items()}


def save(path: Path, state: dict, card: str) -> Path:
    save_file(state, path, metadata={CARD_KEY: card})
    return path


def spoilt(card: str, field: str, value: Any) -> str:
    """The card's text with another value in one field."""
    whole = json.loads(card)
    *outer, last = field.split(".")
    inner = whole
    for key in outer:
        inner = inner[key]
    inner[last] = copy.deepcopy(value)
    return json.dumps(whole)


def sentence(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(ModelSpec(path))
    said = str(caught.value)
    said.encode()
    assert "\n" not in said
    assert len(said.replace(str(path), "")) < 400
    return said


@pytest.mark.parametrize(("card", "field", "value"), SAID, ids=lambda value: str(value)[:30])
def test_what_a_card_says_against_its_weights_is_refused_before_anything_is_built(
    card, field, value, states, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(checkpoints, "empty_model", lambda card: pytest.fail("something was built"))
    sentence(save(tmp_path / "m.safetensors", states[card], spoilt(card_to_json(CARDS[card][0]), field, value)))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"x"', "[" * 10**5, '{"a":' * 10**5, "{}", '{"format": 1}',
     '{"format": 1, "family": []}', '{"format": ' + "9" * 5000 + "}", "\\ud800"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_no_card_is_refused(text, states, tmp_path) -> None:
    sentence(save(tmp_path / "m.safetensors", states["dense"], text))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timm", "hf-hub:timm/x"),
        ("timm", "local-dir:/etc"),
        ("timm", 3),
        ("img_size", 10**9),
        ("img_size", "x"),
        ("macs", None),
    ],
)
def test_a_teachers_card_is_not_believed_either(field, value, states, tmp_path) -> None:
    card = card_to_json(TeacherCard("resnet18", 32, 1, CLASSES, Normalisation()))
    path = save(tmp_path / "t.safetensors", states["dense"], spoilt(card, field, value))
    with pytest.raises(InputError):
        load_teacher(str(path), CLASSES, Normalisation())


def test_a_teacher_of_another_size_than_its_weights_is_not_built(states, monkeypatch, tmp_path) -> None:
    card = card_to_json(TeacherCard("vit_gigantic_patch14_224", 32, 1, CLASSES, Normalisation()))
    path = save(tmp_path / "t.safetensors", states["dense"], card)
    monkeypatch.setattr("core.training.teachers.load_weights", lambda *args: pytest.fail("it was built"))
    with pytest.raises(InputError, match="does not hold the weights"):
        load_teacher(str(path), CLASSES, Normalisation())


# Pickles


def plain() -> dict[str, torch.Tensor]:
    """The weights of a small ViT."""
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=16, patch_size=4, embed_dim=64, depth=1, num_heads=1, mlp_ratio=0.5, num_classes=3
    )
    return model.state_dict()


class Runs:
    """Runs code when unpickled."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call[0], self.call[1:]


STRIDED = torch.ones(1).expand(10**7, 10**5)
"""10^12 numbers in the memory of one."""
WEIGHTS: dict[str, Callable[[], Any]] = {
    "block 10^9": lambda: plain() | {"blocks.1000000000.norm1.weight": torch.ones(64)},
    "blocks without numbers": lambda: plain() | {"blocks.x.norm1.weight": torch.ones(64)},
    "an enormous tensor of no memory": lambda: plain() | {"pos_embed": STRIDED[None]},
    "a head of 10^7 classes without memory": lambda: plain() | {"head.weight": torch.ones(1).expand(10**7, 64)},
    "patches of 10^9 pixels": lambda: plain() | {"patch_embed.proj.weight": torch.empty(64, 3, 10**9, 0)},
    "10^9 channels": lambda: plain() | {"patch_embed.proj.weight": torch.empty(10**9, 0, 4, 4)},
    "10^9 classes": lambda: plain() | {"head.weight": torch.empty(10**9, 0)},
    "10^9 hidden units": lambda: plain() | {"blocks.0.mlp.fc1.weight": torch.empty(10**9, 0)},
    "positions without width": lambda: plain() | {"pos_embed": torch.empty(1, 10**12, 0)},
    "a scalar patch embedding": lambda: plain() | {"patch_embed.proj.weight": torch.tensor(1.0)},
    "sparse weights": lambda: plain() | {"head.weight": torch.ones(3, 64).to_sparse()},
    "complex weights": lambda: plain() | {"head.weight": torch.ones(3, 64, dtype=torch.complex64)},
    "weights elsewhere": lambda: plain() | {"head.weight": torch.ones(3, 64, device="meta")},
    "infinite weights": lambda: plain() | {"head.weight": torch.full((3, 64), torch.inf)},
    "stage 10^9 of a Swin": lambda: {"layers.0.blocks.0.norm1.weight": torch.ones(4), "head.weight": torch.ones(3, 4),
                                     "layers.1000000000.blocks.0.norm1.weight": torch.ones(4)},
    "a Swin's merging without a number": lambda: {"layers.0.blocks.0.norm1.weight": torch.ones(4),
                                                  "layers.x.downsample.norm.weight": torch.ones(4),
                                                  "head.weight": torch.ones(3, 4)},
    "stage 10^9 of a PiT": lambda: {"transformers.0.blocks.0.norm1.weight": torch.ones(4),
                                    "head.weight": torch.ones(3, 4),
                                    "transformers.1000000000.blocks.0.norm1.weight": torch.ones(4)},
    "a pooling of a PiT with many digits": lambda: {"transformers.0.blocks.0.norm1.weight": torch.ones(4),
                                                    f"pools.{'9' * 5000}.x": torch.ones(1),
                                                    "head.weight": torch.ones(3, 4)},
    "names of 10^6 letters": lambda: {"x" * 10**6: torch.ones(1)},
    "names with line breaks": lambda: plain() | {"a\nb\0\ud800": torch.ones(1)},
    "dictionaries in dictionaries": lambda: {"model": {"model": {"model": {"model": {"model": plain()}}}}},
    "numbers for names": lambda: {1: torch.ones(1), 2.5: torch.ones(1)},
    "no dictionary": lambda: [plain()],
    "nothing": lambda: None,
    "exec": lambda: {"model": plain(), "args": Runs(exec, "raise SystemExit('this code ran')")},
    "eval in a key": lambda: {"model": Runs(eval, "exit()")},
    "getattr": lambda: {"model": plain(), "x": Runs(getattr, plain, "__globals__")},
}  # fmt: skip


@pytest.mark.parametrize("what", WEIGHTS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old form"])
def test_hostile_weights_get_one_sentence_and_are_not_built(what, zipped, monkeypatch, tmp_path) -> None:
    for family in (deit, lvvit, swin, pit):
        monkeypatch.setattr(family, "build", lambda *args, **more: pytest.fail("something was built"))
    if what in ("names with line breaks",):
        monkeypatch.undo()  # sizes are right there, so that it is built and the name is found to be none
    torch.save(WEIGHTS[what](), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    sentence(tmp_path / "x.pth")


SETTINGS = [
    {"arch": "hf-hub:../../etc"},
    {"args": {"model": "local-dir:/etc", "num_heads": float("nan")}},
    {"args": {"num_heads": "4", "mean": [float("nan")] * 3, "std": [0, 0, 0], "crop_pct": -1, "interpolation": []}},
    {"args": {"num_heads": -1, "img_size": 10**30, "mean": "x", "class_to_idx": {"a": 10**9}}},
    {"args": {"num_heads": [10**9] * 3, "model": "x" * 10**6, "interpolation": {}, "classes": [1, 2, 3]}},
    {"config": {1: 2, "model": {"name": {"name": {"name": []}}}}, "classes": ["a\0", "b", "c"]},
]


@pytest.mark.parametrize("beside", SETTINGS, ids=range(len(SETTINGS)))
def test_settings_that_make_no_sense_tell_nothing(beside, tmp_path) -> None:
    torch.save({"model": plain(), **beside}, tmp_path / "x.pth")
    card = load(ModelSpec(tmp_path / "x.pth")).card
    assert card.geometry.heads == 1
    assert card.normalisation == Normalisation(crop_pct=0.875)
    assert card.classes[0].label == "class 0"


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
        archive.writestr("x/data/0", bytes(10**7))
    assert "is packed" in sentence(tmp_path / "bomb.pth")


def test_an_old_file_that_declares_more_than_it_holds_is_refused(tmp_path) -> None:
    torch.save({"w": torch.ones(7)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pth").read_bytes()
    seven, many = b"cpuq\x06K\x07", b"cpuq\x06J" + (2**31 - 1).to_bytes(4, "little")
    assert seven in whole
    (tmp_path / "x.pth").write_bytes(whole.replace(seven, many))
    sentence(tmp_path / "x.pth")
