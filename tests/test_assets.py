"""What is bundled: models that load, say what they say of the samples, and are what their records are about."""

import json
from pathlib import Path

import pytest

from core.config import ModelSpec
from core.inference.trace import predict
from core.models.load import load
from core.models.weights import read_card
from core.photos.image import load_photo

ASSETS = Path(__file__).resolve().parent.parent / "assets"
WEIGHTS = sorted(ASSETS.glob("bundled-*.safetensors"))
SAMPLES = json.loads((ASSETS / "samples" / "samples.json").read_text())
MB = 1 << 20


def test_nothing_is_too_large_for_a_repository() -> None:
    sizes = [path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(sizes) <= 160 * MB
    assert max(sizes) <= 95 * MB


@pytest.mark.parametrize("path", [path for path in WEIGHTS if not path.stem.endswith("-gates")], ids=lambda p: p.stem)
def test_all_know_the_same_119_classes_at_the_same_size(path: Path) -> None:
    card = read_card(path)
    assert card.classes == read_card(ASSETS / "bundled-dense.safetensors").classes
    assert (len(card.classes), card.geometry.img_size, card.geometry.grid) == (119, 224, (16, 16))


def test_dense_is_right_about_every_sample_that_shows_one_of_its_classes_and_one_shows_none() -> None:
    dense = load(ModelSpec(str(ASSETS / "bundled-dense.safetensors")))
    known = {name.label for name in dense.card.classes}
    right = []
    for sample in SAMPLES:
        if shown := known & set(sample["shows"]):
            said = predict(dense, load_photo(ASSETS / "samples" / sample["file"])).top(1)[0].label
            right.append(said in shown)
    assert right == [True] * (len(SAMPLES) - 1)


def test_every_sample_has_its_licence_written_down() -> None:
    told = (ASSETS / "samples" / "LICENCES.md").read_text()
    assert {sample["file"] for sample in SAMPLES} == {path.name for path in (ASSETS / "samples").glob("*.jpg")}
    assert all(f"`{sample['file']}`" in told for sample in SAMPLES)


def test_every_record_is_of_a_model_that_is_bundled() -> None:
    names = {path.stem for path in WEIGHTS}
    rows = json.loads((ASSETS / "evaluations.json").read_text())["rows"]
    assert {row["model"] for row in rows} == names - {name for name in names if name.endswith("-gates")}
