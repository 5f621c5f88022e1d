"""The compare page under AppTest: A and B in the URL, evidence on request, many photos that one can stop."""

import dataclasses
import io
import re
import shutil
import zipfile

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.models import load as checkpoints
from core.models import registry
from core.results import ClassName
from pages.server import inference
from tests import test_pages
from tests.test_pages import photo_bytes, texts

assets, visit = test_pages.assets, test_pages.visit


def metrics(at: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in at.metric}


def link(at: AppTest, key: str) -> str:
    """What the link says of `key`."""
    return "".join(at.query_params[key])


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def press(at: AppTest, label: str) -> AppTest:
    return next(button for button in at.button if button.label == label).click().run()


def test_model_compared_with_itself_agrees_in_everything(visit) -> None:
    at = visit("compare", a="bundled-dense", b="bundled-dense")
    found = metrics(at)
    assert "Both say " in at.header[0].value
    assert found["KL of B from A, nats"] == "0.000"
    assert found["MACs of B against A"] == "0 %"


@pytest.mark.parametrize(
    ("b", "control", "value"),
    [
        ("bundled-tokens~keep=0.35", "b_keep", 0.35),
        ("bundled-tokens~keep=0.36", "b_keep", 0.35),
        ("bundled-tokens~threshold=0.2", "b_threshold", 0.2),
        ("bundled-singlepath~budget=80", "b_budget", 80),
        ("bundled-singlepath", "b_budget", 100),
    ],
)
def test_link_reopens_the_setting_of_a_side(visit, b: str, control: str, value: float) -> None:
    at = visit("compare", b=b)
    assert not at.exception
    assert (at.select_slider if control == "b_keep" else at.slider)(key=control).value == value
    assert at.selectbox(key="b_model").value == b.split("~")[0]


def test_setting_goes_into_the_link_and_comes_back_after_another_page(visit) -> None:
    at = visit("compare")
    assert "b" not in at.query_params
    at.select_slider(key="b_keep").set_value(0.3).run()
    assert link(at, "b") == "bundled-tokens~keep=0.3"
    at.select_slider(key="b_keep").set_value(0.6).run()
    assert link(at, "b") == "bundled-tokens~keep=0.6"
    at.selectbox(key="a_model").set_value("bundled-singlepath").run()
    assert link(at, "a") == "bundled-singlepath~budget=75"
    at.switch_page("pages/tokens.py").run()
    at.switch_page("pages/compare.py").run()
    assert at.select_slider(key="b_keep").value == 0.6
    assert at.slider(key="a_budget").value == 75


def test_what_tokens_or_architecture_showed_is_b_until_b_is_set(visit) -> None:
    at = visit("tokens", method="Threshold", threshold="0.4")
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-tokens~threshold=0.4"
    at.switch_page("pages/architecture.py").run()
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-singlepath~budget=75"
    at.slider(key="b_budget").set_value(80).run()
    at.switch_page("pages/tokens.py").run()
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-singlepath~budget=80"


def test_what_the_budget_page_is_set_to_is_b(visit) -> None:
    at = visit("budget", keep="0.45")
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-tokens~keep=0.45"
    at = visit("budget", model="bundled-singlepath", budget="60")
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-singlepath~budget=60"


def test_what_tokens_shows_follows_to_b_again_and_again(visit) -> None:
    at = visit("tokens", method="Threshold", threshold="0.37")
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-tokens~threshold=0.37"
    at.switch_page("pages/tokens.py").run()
    at.slider(key="threshold").set_value(0.8).run()
    at.switch_page("pages/compare.py").run()
    assert link(at, "b") == "bundled-tokens~threshold=0.8"


def test_a_link_to_models_that_are_not_here_says_which_are_shown_instead(visit, tmp_path) -> None:
    at = visit("compare", a="nobody`s model", b=f"{tmp_path}/gone.safetensors~keep=0.5")
    assert [warning.value.split(";")[0] for warning in at.warning[:2]] == [
        "There is no model `nobodys model`",
        f"There is no file {tmp_path}/gone.safetensors",
    ]
    assert at.warning[0].value.endswith("Until then you see bundled-dense.")
    assert at.warning[1].value.endswith("Until then you see bundled-tokens.")


def test_a_link_to_a_weights_file_compares_that(visit, tmp_path) -> None:
    test_pages.save(tmp_path, "mine", test_pages.CARD)
    at = visit("compare", a=f"{tmp_path}/mine.safetensors")
    assert at.selectbox(key="a_model").value == f"{tmp_path}/mine.safetensors"
    assert not [warning for warning in at.warning if "Until then" in warning.value]


def test_another_photo_is_explained_by_its_own_first_answer(visit) -> None:
    last = group(visit("compare", pic="Temple"), "cls").options[-1]
    at = visit("compare", cls=last)
    assert group(at, "cls").value == last
    group(at, "pic").set_value("Temple").run()
    assert group(at, "cls").value == group(at, "cls").options[0]


def group(at: AppTest, key: str):
    """Pills or a segmented control, by key."""
    return next(found for found in at.get("button_group") if found.key == key)


def test_controls_are_those_that_the_model_has(visit) -> None:
    at = visit("compare", a="bundled-dense", b="bundled-tokens")
    assert [s.key for s in at.slider] == []  # its own decision, and nothing
    group(at, "b_how").set_value("Threshold").run()
    assert [s.key for s in at.slider] == ["b_threshold"]
    at.selectbox(key="a_model").set_value("bundled-singlepath").run()
    assert [s.key for s in at.slider] == ["a_budget", "b_threshold"]


def test_smaller_keep_ratio_costs_less(visit) -> None:
    cost = [metrics(visit("compare", b=f"bundled-tokens~keep={k}"))["MACs of Pruned against Dense"] for k in (0.9, 0.3)]
    assert int(cost[0].split()[0].replace("\N{MINUS SIGN}", "-")) > int(
        cost[1].split()[0].replace("\N{MINUS SIGN}", "-")
    )


def test_nothing_is_attributed_until_a_method_is_chosen(visit, monkeypatch) -> None:
    asked = []
    inner = inference.attribution.attribute
    monkeypatch.setattr(inference.attribution, "attribute", lambda *args: asked.append(args[2:]) or inner(*args))
    at = visit("compare")
    assert not asked
    assert "Choose a method" in texts(at)
    visit("compare", by="Occlusion", cls="dog")
    assert asked == [(3, "occlusion")] * 2  # A and B, for the class of the link


@pytest.mark.parametrize("by", ["Integrated gradients", "Occlusion", "Attention rollout"])
def test_each_method_gives_three_maps_and_says_what_was_held(visit, by: str) -> None:
    at = visit("compare", by=by, b="bundled-tokens~keep=0.5")
    assert not at.exception
    assert len(at.get("plotly_chart")) == (6 if by == "Attention rollout" else 5)  # top-5, three maps, scales
    said = texts(at)
    assert "Rank correlation of the two maps" in said
    assert ("convergence error" in said) is (by == "Integrated gradients")
    assert ("decisions of its 2 selectors are held" in said) is (by != "Attention rollout")


def test_attribution_is_kept_for_the_session_and_a_rollout_for_every_class(visit, monkeypatch) -> None:
    asked = []
    inner = inference.attribution.attribute
    monkeypatch.setattr(inference.attribution, "attribute", lambda *args: asked.append(args[2:]) or inner(*args))
    at = visit("compare", by="Attention rollout")
    at.select_slider(key="b_keep").set_value(0.5).run()
    before = len(asked)
    at.get("button_group")[0].set_value("Flower").run()
    at.get("button_group")[0].set_value(test_pages.FIRST).run()
    assert len(asked) == before + 2


def test_class_of_a_link_that_nobody_names_becomes_the_first_answer(visit) -> None:
    at = visit("compare", by="Occlusion", cls="<b>unicorn")
    assert not at.exception
    assert "unicorn" not in texts(at)


def test_many_photos_are_compared_counted_and_forgotten(visit) -> None:
    at = visit("compare", view="Many photos", b="bundled-tokens~keep=0.5")
    assert "Drop some photos" in texts(at)
    data = zip_of({"one.jpg": photo_bytes(), "two.png": b"no picture", "more.zip": zip_of({"x.jpg": photo_bytes()})})
    at.file_uploader[0].upload("mine.zip", data).run()
    assert "mine.zip: Skipped 1 file that is not a photo (1 .zip)." in texts(at)
    press(at, "Compare 2 photos")
    at.run()
    assert not at.exception
    assert "two.png: That file is not a picture that can be read" in texts(at)
    assert metrics(at)["Same first answer"] in ("0 %", "100 %")
    assert len(at.dataframe[0].value) == 1
    assert at.get("download_button")
    press(at, "Remove photos")
    assert "batch" not in at.session_state or not at.session_state["batch"].photos
    assert "Drop some photos" in texts(at)


def test_stop_keeps_what_was_found_and_go_on_finds_the_rest(visit, monkeypatch) -> None:
    from pages.parts.compare import many_photos

    monkeypatch.setattr(many_photos, "SLICE_S", 0.0)  # one photo at a time
    at = press(visit("compare", view="Many photos"), "Take the sample pictures")
    press(at, "Compare 6 photos")
    press(at, "Stop")
    found = len(at.dataframe[0].value)
    assert 1 <= found < 6
    assert not at.session_state["comparing"]
    press(at, "Go on")
    for _ in range(8):
        at.run()
    assert len(at.dataframe[0].value) == 6
    assert any(button.label == "Compare again" for button in at.button)


def test_photos_that_changed_their_mind_come_first_with_their_picture(visit) -> None:
    at = press(visit("compare", view="Many photos", b="bundled-tokens~keep=0.1"), "Take the sample pictures")
    press(at, "Compare 6 photos")
    for _ in range(8):
        at.run()
    table = at.dataframe[0].value
    changed = [value == "no" for value in table["Same first answer"]]
    assert changed == sorted(changed, reverse=True)
    assert len(at.image) == sum(changed)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (zip_of({"../x.jpg": photo_bytes()}), "leads outside of the zip's own folder"),
        (b"PK, but no zip", "not a zip, or it is damaged"),
    ],
)
def test_bad_zip_gets_one_sentence_and_the_page_goes_on(visit, data: bytes, sentence: str) -> None:
    at = visit("compare", view="Many photos")
    at.file_uploader[0].upload("bad.zip", data).run()
    assert not at.exception
    assert len(at.warning) == 1
    assert sentence in at.warning[0].value
    assert "Drop some photos" in texts(at)


def other_model(assets, tmp_path, monkeypatch, *labels: str) -> None:
    """A dense model of these classes beside the others, as bundled-other."""
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    geometry = dataclasses.replace(test_pages.GEOMETRY, classes=len(labels))
    card = dataclasses.replace(test_pages.CARD, geometry=geometry, classes=tuple(ClassName(None, x) for x in labels))
    test_pages.save(tmp_path, "bundled-other", card)
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    st.cache_data.clear()


def test_models_of_other_classes_are_compared_on_those_that_both_know(visit, assets, tmp_path, monkeypatch) -> None:
    other_model(assets, tmp_path, monkeypatch, "fox", "gnu", "bee", "ant")
    at = visit("compare", b="bundled-other", by="Occlusion")
    assert not at.exception
    assert at.info[0].value.startswith("Compared on the 3 classes that both know (A knows 6, B 4).")
    assert set(group(at, "cls").options) == {"ant", "bee", "fox"}
    assert "KL of B from A, nats" in metrics(at)
    assert "Rank correlation of the two maps" in texts(at)


def test_models_without_a_common_class_stand_side_by_side_and_are_not_compared(
    visit, assets, tmp_path, monkeypatch
) -> None:
    other_model(assets, tmp_path, monkeypatch, "gnu", "hen")
    at = visit("compare", b="bundled-other")
    assert not at.exception
    assert at.info[0].value.startswith("They have no class in common (A knows 6, B 2)")
    assert len(at.get("plotly_chart")) == 2
    assert not at.metric
    at = visit("compare", b="bundled-other", view="Many photos")
    assert "cannot be compared on many photos" in texts(at)
    assert not at.exception


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ("bundled-dense", "bundled-tokens~keep=0.5", ("Dense", "Pruned")),
        ("bundled-singlepath~budget=50", "bundled-dense", ("Pruned", "Dense")),
        ("bundled-tokens", "bundled-tokens~keep=0.5", ("A", "B")),
        ("bundled-dense", "bundled-dense", ("A", "B")),
    ],
)
def test_sides_are_called_what_they_are(visit, a: str, b: str, names: tuple[str, str]) -> None:
    at = visit("compare", a=a, b=b)
    assert f"MACs of {names[1]} against {names[0]}" in metrics(at)
    assert sum(f"**{names[0]}** (side A)" in said.value for said in at.markdown) == (names[0] != "A")
    assert link(at, "b") == b if b != "bundled-tokens" else "b" not in at.query_params


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        (
            "bundled-dense",
            "bundled-tokens~keep=0.5",
            r"in Dense and [\d.< ]+ % in Pruned lies on the \d+ patch\w* that",
        ),
        ("bundled-dense", "bundled-singlepath~budget=100", r"both see all \d+ patches, and rank them [a-z ]+\."),
        (
            "bundled-tokens~keep=0.5",
            "bundled-tokens~keep=0.9",
            r"in A lies on the \d+ patch\w* that it keeps.*; .* in B",
        ),
    ],
)
def test_why_both_say_it_is_one_sentence_above_the_maps(visit, a: str, b: str, sentence: str) -> None:
    said = texts(visit("compare", a=a, b=b, by="Integrated gradients"))
    assert re.search(rf"\*\*They (agree|differ): .*{sentence}", said)
