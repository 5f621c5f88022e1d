"""The square that the models see on the pages: from the link, of one picture alone, the same everywhere."""

import io
import json
import shlex
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from core.config import ModelSpec
from core.inference.trace import trace_tokens
from core.models.load import load
from core.photos.crop import read_crop
from core.photos.image import load_photo
from pages.parts.shared import pictures
from tests.test_along import run_all, run_python
from tests.test_pages import ROOT, assets, opened, photo_bytes, player_of, texts, visit  # noqa: F401
from viz.player import step_data

CROP = "0.3,0.1,0.6"


def crop_of(at) -> str | None:
    """What the page's URL says of the crop."""
    said = at.query_params.get("crop")
    return said[0] if isinstance(said, list) else said


def bytes_of(size: tuple[int, int], kind: str, **more) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(buffer, kind, **more)
    return buffer.getvalue()


def test_a_link_crops_the_photo_and_what_the_panel_prints_gives_the_same(visit, assets, monkeypatch, capsys) -> None:  # noqa: F811
    monkeypatch.chdir(ROOT)
    at = opened(visit("tokens", pic="Flower", crop=CROP))
    assert not at.exception
    link, commands, python, *_ = (block.value for block in at.code)
    model = load(ModelSpec("bundled-tokens", keep=(0.7, 0.49)))
    photo = load_photo(assets / "samples" / "flower.jpg", read_crop(CROP))
    assert player_of(at)["now"] == step_data(trace_tokens(model, photo))
    assert parse_qs(urlsplit(link).query)["crop"] == [CROP]
    assert all(CROP in shlex.split(line) for line in commands.splitlines() if not line.startswith("#"))
    dense, pruned = (found["images"][0] for found in run_all(commands, capsys))
    kept = f"{pruned['macs']} {tuple(pruned['kept'])}"
    assert run_python(python) == [
        str(dense["macs"]),
        *(f"{g['label']} {g['prob']}" for g in dense["top5"]),
        kept,
        *(f"{g['label']} {g['prob']}" for g in pruned["top5"]),
    ]


@pytest.mark.parametrize("wrong", ["x", "0,0", "0.9,0,1", "0,0,7"])
def test_a_link_with_a_wrong_crop_shows_the_usual_square(visit, wrong) -> None:  # noqa: F811
    at = visit("tokens", pic="Flower", crop=wrong)
    assert not at.exception
    assert crop_of(at) is None
    assert player_of(at)["photo"] == player_of(visit("tokens", pic="Flower"))["photo"]


def test_a_crop_goes_to_other_pages_and_not_to_another_picture(visit) -> None:  # noqa: F811
    at = visit("tokens", pic="Flower", crop=CROP)
    cropped = player_of(at)["photo"]
    at.switch_page("pages/compare.py").run()
    assert crop_of(at) == CROP
    at.switch_page("pages/tokens.py").run()
    assert player_of(at)["photo"] == cropped
    at.get("button_group")[0].set_value("Cat").run()
    assert crop_of(at) is None
    at.get("button_group")[0].set_value("Flower").run()
    assert crop_of(at) is None


def test_the_tool_shows_all_of_the_photo_and_the_square(visit) -> None:  # noqa: F811
    at = visit("tokens", pic="Koala", crop="0,0.2,0.5")
    at.session_state["square_open"] = True
    at.run()
    tool = next(d for d in (json.loads(c.proto.json) for c in at.get("bidi_component")) if "usual" in d)
    assert (tool["width"], tool["height"]) == (480, 640)
    assert tool["at"] == {"x": 0, "y": 0.2, "size": 0.5}
    assert tool["usual"] == {"x": 0, "y": 0.125, "size": 1}  # (640 - 480) / 2 of 640


@pytest.mark.parametrize("name", ["tokens", "architecture", "budget", "compare"])
def test_nothing_of_a_sample_stands_where_a_picture_of_ones_own_is_waited_for(visit, name) -> None:  # noqa: F811
    at = visit(name, pic="Your own", crop=CROP)
    assert not at.exception
    for _ in range(2):
        said = texts(at)
        assert "Both say" not in said
        assert "Exact for this photo" not in said
        assert (pictures.WAITS in said) is (name != "tokens")  # which has nothing else to show
        assert crop_of(at) is None
        at.file_uploader[0].upload("cut.jpg", photo_bytes()[:600]).run()
    assert len([error for error in at.error if "ends early" in error.value]) == 1


def test_an_animation_says_that_its_first_picture_is_read(visit) -> None:  # noqa: F811
    at = visit("tokens", pic="Your own")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:])
    at.file_uploader[0].upload("moving.gif", data.getvalue()).run()
    assert texts(at).count("holds several pictures; the first one is read") == 1
    assert at.metric
