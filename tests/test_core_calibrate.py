"""`calibrate`: a line below which an answer counts as none, drawn on known photos, kept in the file."""

import json

import numpy as np
import pytest
from PIL import Image

from core.__main__ import main
from core.config import ModelSpec
from core.inference.confidence import information_share, knows_none
from core.inference.trace import predict
from core.models.load import load
from core.models.weights import read_card


@pytest.fixture
def folder(tmp_path):
    """Noise under two of the bundled model's class names, and noise elsewhere."""
    names = [c.label for c in load(ModelSpec("bundled-dense"), weights=False).card.classes[:2]]
    rng = np.random.default_rng(0)
    for place in (*(f"val/{name}" for name in names), "others"):
        (tmp_path / place).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 60 * (i + 1), (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{i}.png")
    return tmp_path


def test_the_line_is_that_of_the_known_photos_and_every_answer_of_the_new_file_is_held_to_it(folder, capsys):
    out = folder / "calibrated.safetensors"
    words = ["calibrate", "--json", "--model", "bundled-dense", "--data", str(folder), "--unknown"]
    assert main([*words, str(folder / "others"), "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)

    plain, made = load(ModelSpec("bundled-dense")), load(ModelSpec(str(out)))
    answers = {path: predict(plain, Image.open(path)) for path in folder.rglob("*.png")}
    known = [information_share(said) for path, said in answers.items() if "val" in path.parts]
    assert found["least_share"] == pytest.approx(np.quantile(known, 0.1), abs=1e-6)
    assert read_card(out).least_share == found["least_share"]
    flagged = [knows_none(predict(made, Image.open(path))) for path in answers if "others" in path.parts]
    assert found["unknown_flagged"] == pytest.approx(np.mean(flagged))
    assert (found["images"], found["unknown_images"]) == (6, 3)
    for path, said in answers.items():  # nothing else changed
        np.testing.assert_allclose(predict(made, Image.open(path)).probs, said.probs, atol=1e-6)


def test_it_never_writes_over_a_file(folder, capsys):
    (folder / "there.safetensors").touch()
    words = ["calibrate", "--model", "bundled-dense", "--data", str(folder), "--out", str(folder / "there.safetensors")]
    assert main(words) == 2
    assert "takes a new file" in capsys.readouterr().err
