"""Each page under AppTest, entered through app.py, with tiny models in a folder of their own."""

import atexit
import dataclasses
import gc
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.config import KEEP_RANGE, ModelSpec, Normalisation
from core.costs.deit import DeitGeometry
from core.costs.macs import count_macs
from core.evaluation import recorded
from core.evaluation.recorded import add_row
from core.latency import parts as timed_parts
from core.models import load as checkpoints
from core.models import registry
from core.models.cards import CompactCard, ModelCard, SelectorCard, SinglePathCard
from core.models.weights import save_checkpoint
from core.results import MIXERS, ClassName, Recorded
from core.results.timings import Latency, LatencyTable, PathCosts
from core.single_path.history import add_snapshot
from core.single_path.searched import Gates
from pages.parts.shared import frame
from pages.parts.timing import part_times
from pages.server import forget, giving_way, queues, timings
from tests.small_assets import SMALL_ASSETS

ROOT = Path(__file__).resolve().parent.parent
FIRST = json.loads((SMALL_ASSETS / "samples" / "samples.json").read_text())[0]["title"]
RUN_S = 600
"""No claim: a page that takes so long hangs, however busy the machine is."""
PAGES = ("home", "tokens", "architecture", "budget", "compare")
TIMED = ("architecture", "budget")
"""These predict latency."""
GEOMETRY = DeitGeometry(img_size=32, patch=8, width=32, depth=4, heads=2, ffn_hidden=48, classes=6)
CARD = ModelCard(
    "deit",
    GEOMETRY,
    tuple(ClassName(None, name) for name in ("ant", "bee", "cat", "dog", "elk", "fox")),
    Normalisation(),
    training={"val_top1": 0.5},
)


def photo_bytes() -> bytes:
    """A JPEG of noise, 80 x 60."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def save(folder: Path, name: str, card: ModelCard) -> None:
    """A model of this card with random weights, as if bundled."""
    torch.manual_seed(0)
    module = checkpoints.empty_model(card)
    with torch.no_grad():
        for key, values in module.named_parameters():
            if "logits" in key:
                values.normal_(1, 1)
    save_checkpoint(folder / f"{name}.safetensors", module, card)


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples, and one model of each method; the single-path one may predict."""
    folder = tmp_path_factory.mktemp("assets")
    shutil.copytree(SMALL_ASSETS / "samples", folder / "samples")
    save(folder, "bundled-dense", CARD)
    save(folder, "bundled-tokens", dataclasses.replace(CARD, selectors=SelectorCard((1, 2), (0.7, 0.5), True)))
    save(folder, "bundled-singlepath", dataclasses.replace(CARD, single_path=SinglePathCard(0.01, True)))
    return folder


@pytest.fixture
def visit(assets: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Opens a page, with a query, as a browser would."""
    monkeypatch.setattr(checkpoints, "ASSETS", assets)
    monkeypatch.setattr(registry, "ASSETS", assets)
    monkeypatch.setattr(recorded, "ASSETS", assets)
    monkeypatch.setattr(timed_parts, "PATIENCE_MS", 0.0)  # the fewest timings, and none waits for quiet
    monkeypatch.setattr(giving_way, "QUIET_S", 0.0)
    monkeypatch.setattr(frame, "SHEET_S", 0.0)  # nor for a browser
    st.cache_data.clear()
    st.cache_resource.clear()

    def open_page(name: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=RUN_S)
        if name != "home":
            at.switch_page(f"pages/{name}.py")
        for key, value in query.items():
            at.query_params[key] = value
        at.run()
        return beside(at) if name in TIMED else at

    yield open_page
    queues.measurements().wait()


def beside(at: AppTest) -> AppTest:
    """The page once what parts of models take, which is measured beside it, has been measured or has failed."""
    queues.measurements().wait()
    return at.run()


def opened(at: AppTest) -> AppTest:
    """The page with the panel to take along open."""
    at.session_state["along"] = True
    return at.run()


def texts(at: AppTest) -> str:
    """All that the page says in headings, paragraphs and messages."""
    kinds = (at.title, at.header, at.subheader, at.markdown, at.info, at.warning, at.error, at.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def player_of(at: AppTest) -> dict:
    """What the token player was given to show."""
    (component,) = at.get("bidi_component")
    return json.loads(component.proto.json)


def sentence_of(at: AppTest) -> str:
    """What the token player says of the stage that it shows."""
    shown = player_of(at)
    return shown["now"]["sentences"][shown["stage"]]


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_a_click_and_its_title_is_a_question(visit, name: str) -> None:
    at = visit(name)
    assert not at.exception
    assert not at.error
    assert at.title[0].value.endswith("?")


@pytest.mark.parametrize("name", PAGES)
def test_page_says_what_is_missing_where_there_are_no_weights(visit, name, tmp_path, monkeypatch) -> None:
    shutil.copytree(SMALL_ASSETS / "samples", tmp_path / "samples")
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    at = visit(name)
    assert not at.exception
    assert at.info


@pytest.mark.parametrize("name", PAGES[1:])
def test_page_survives_a_link_that_makes_no_sense(visit, name: str) -> None:
    keys = ("pic", "model", "keep", "threshold", "budget", "stage", "token", "method", "a", "b")
    nonsense = dict.fromkeys(keys, "<b>'; 9e99")
    at = visit(name, **nonsense)
    assert not at.exception
    assert at.get("button_group")[0].value == FIRST


@pytest.mark.parametrize("name", PAGES[1:])
def test_page_says_once_that_papers_call_the_count_flops(visit, name: str) -> None:
    assert texts(visit(name)).count("FLOPs") == 1


def test_link_reopens_the_same_tokens_view(visit) -> None:
    at = visit("tokens", pic="Flower", method="Keep ratio", keep="0.5", stage="1", token="7")
    shown = player_of(at)
    assert (shown["keep"]["value"], shown["stage"], shown["token"]) == (0.5, 1, 7)
    assert sentence_of(at) == "Selector 1 before block 2: 8 of 16 patches kept, 8 folded into package 1."


@pytest.mark.parametrize(
    ("query", "stage", "token"),
    [({}, 2, None), ({"stage": "9", "token": "16"}, 2, None), ({"stage": "-1", "token": "15"}, 0, 15)],
)
def test_player_shows_a_stage_and_a_patch_that_exist(visit, query, stage, token) -> None:
    shown = player_of(visit("tokens", **query))
    assert (shown["stage"], shown["token"]) == (stage, token)


def test_keep_slider_is_there_only_where_a_ratio_decides_and_gets_all_its_steps(visit) -> None:
    assert player_of(visit("tokens", method="The model"))["keep"] is None
    assert player_of(visit("tokens"))["keep"]["value"] == 0.7
    at = visit("tokens", method="Keep ratio", keep="0.52")
    assert player_of(at)["steps"] is None, "nobody has come to the slider yet"
    at.session_state["wants_steps"] = True  # as the player tells
    shown = player_of(at.run())
    assert shown["keep"] == {"value": 0.5, "min": 0.1, "max": 1.0, "step": 0.05}
    assert len(shown["steps"]) == 19
    assert shown["steps"]["0.50"] == shown["now"]
    assert shown["steps"]["1.00"]["left"] == [[0] * 16]


def test_threshold_decides_where_it_is_asked_to(visit) -> None:
    at = visit("tokens", method="Threshold", threshold="0.0")
    assert at.slider(key="threshold").value == 0
    assert sentence_of(at).startswith("Selector 2 before block 3: 16 of 16 patches kept, none dropped")
    at.slider(key="threshold").set_value(0.95).run()
    assert not at.exception
    assert "0 of 16 patches kept" in sentence_of(at)
    assert at.header[0].value.startswith("Threshold 0.95: ")


def test_player_does_not_play_by_itself_on_a_link_to_a_stage(visit) -> None:
    assert player_of(visit("tokens"))["autoplay"]
    assert not player_of(visit("tokens", stage="1"))["autoplay"]


def test_only_the_open_tab_is_there(visit) -> None:
    at = visit("tokens")
    closed = len(at.get("plotly_chart"))
    assert "weighted by their keep probabilities" not in texts(at)
    at.session_state["details"] = "Packages"
    at.run()
    assert not at.exception
    assert "weighted by their keep probabilities" in texts(at)
    assert len(at.get("plotly_chart")) == closed - 2  # its heat maps


@pytest.mark.parametrize("tab", ["Scores", "Packages", "All patches", "Other methods at the same MACs", "Downloads"])
def test_tab_opens(visit, tab: str) -> None:
    at = visit("tokens", method="Keep ratio", keep="0.5")
    at.session_state["details"] = tab
    at.run()
    assert not at.exception
    assert not at.error


def test_other_methods_stand_beside_ours_at_its_cost_and_are_timed_on_demand(visit) -> None:
    at = visit("tokens", method="Keep ratio", keep="0.5")
    at.session_state["details"] = "Other methods at the same MACs"
    at.run()
    assert not at.exception
    table = at.dataframe[0].value
    assert list(table["Method"]) == ["The selectors", "Class attention", "Chance", "ToMe", "EViT", "Random dropping"]
    assert list(table["Weights"]) == ["pruned, trained"] * 3 + ["dense, untouched"] * 3
    assert table["MACs, % of ours"].between(93, 107).all(), "4 x 4 patches, so a token is some percent"
    assert table["Overlap with ours, %"][0] == 100
    assert "ms median" not in texts(at)
    at.button(key="peers").click().run()
    assert not at.exception
    measured = [text for text in texts(at).splitlines() if "ms median" in text]
    assert [text.split(":")[0].strip("* ") for text in measured][-5:] == (
        ["Dense", "The selectors", "ToMe", "EViT", "Random dropping"]
    )
    assert all("thread" in text and "batch 1" in text and "from quartile to quartile" in text for text in measured)


def test_what_another_method_cannot_reach_is_said_in_its_place(visit) -> None:
    at = visit("tokens", method="Keep ratio", keep="1.0")
    at.session_state["details"] = "Other methods at the same MACs"
    at.run()
    assert not at.exception
    assert [info.value.split(" costs")[0] for info in at.info if " costs" in info.value] == (
        ["Token merging (ToMe)", "Fusing inattentive tokens (EViT)", "Random dropping"]
    )


def test_removal_is_checked_on_demand(visit) -> None:
    at = visit("tokens", method="Keep ratio", keep="0.5")
    at.session_state["details"] = "Masked or removed?"
    at.run()
    assert "Tokens in each block, removed: 17, 10, 7, 7." in texts(at)
    at.button(key="check_removal").click().run()
    assert not at.exception
    assert "Masked and removed agree" in texts(at)


def test_keep_ratio_takes_tokens_and_macs_away(visit) -> None:
    tokens = {
        keep: next(m.value for m in visit("tokens", method="Keep ratio", keep=keep).metric if "Tokens" in m.label)
        for keep in ("1.0", "0.5")
    }
    assert tokens == {"1.0": "17 of 17", "0.5": "7 of 17"}  # 4 patches, 2 packages, class token


def test_more_macs_than_dense_are_not_called_a_saving(visit) -> None:
    assert "Nothing saved" in texts(visit("tokens", method="Keep ratio", keep="1.0"))


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("notes.jpg", b"no picture at all", "not a picture that can be read"),
        ("empty.png", b"", "file is empty"),
        ("cut.jpg", photo_bytes()[:600], "ends early"),
    ],
)
def test_bad_upload_gets_one_sentence_and_no_result_stands_below(visit, name, data, sentence) -> None:
    at = visit("tokens", pic="Your own")
    at.file_uploader[0].upload(name, data).run()
    assert not at.exception
    assert len(at.error) == 1
    assert sentence in at.error[0].value
    assert not at.metric


def test_upload_is_shown_on_other_pages_too_and_can_be_forgotten(visit) -> None:
    at = visit("tokens", pic="Your own")
    assert "never carries" in at.info[0].value
    at.file_uploader[0].upload("mine.jpg", photo_bytes()).run()
    assert not at.error
    assert "Stays in this session only" in texts(at)
    at.switch_page("pages/compare.py").run()
    assert not at.exception
    assert "Stays in this session only" in texts(at)
    next(button for button in at.button if button.label == "Remove photo").click().run()
    assert not at.session_state.get("uploaded")
    assert "Stays in this session only" not in texts(at)


def test_picture_survives_a_page_switch(visit) -> None:
    at = visit("tokens", pic="Flower")
    at.switch_page("pages/architecture.py").run()
    assert at.get("button_group")[0].value == "Flower"


def test_model_of_one_page_becomes_its_sibling_on_the_other(visit) -> None:
    assert visit("architecture", model="bundled-tokens").selectbox(key="model").value == "bundled-singlepath"


def sent(at: AppTest, index: int = 0) -> dict:
    """What a component on the page was given."""
    return json.loads(at.get("bidi_component")[index].proto.json)


def test_no_budget_is_exceeded_and_the_step_is_said(visit) -> None:
    scrubber = sent(visit("architecture"))
    size = {"k": 1e3, "M": 1e6}
    asked, achieved = (
        [float(value.split()[0]) * size[value.split()[1]] for value in figure["values"]]
        for figure in scrubber["figures"][:2]
    )
    notes = scrubber["figures"][1]["notes"]
    assert len(asked) > 100
    assert notes[-1] == "this is the dense network"
    for wanted, came, note in zip(asked[:-1], achieved[:-1], notes[:-1], strict=True):
        number, unit, _ = note.partition("next gate: ")[2].split()
        rounding = 0.01 * wanted  # both are written with three digits
        assert -rounding <= wanted - came <= float(number) * size[unit] + rounding


@pytest.mark.parametrize(
    ("query", "value", "block"),
    [
        ({"budget": "70"}, 70, 0),
        ({"budget": "70.3", "block": "3"}, 70.5, 3),
        ({"budget": "900", "block": "99"}, 100, 3),
    ],
)
def test_link_sets_budget_and_block_of_the_scrubber(visit, query, value, block) -> None:
    assert sent(visit("architecture", **query))["at"] == {"value": value, "block": block}


def test_latency_is_predicted_for_every_budget_after_the_first_paint(visit) -> None:
    predicted = sent(visit("architecture"))["figures"][3]
    assert predicted["label"] == "Predicted latency"
    assert all(value.endswith(" ms") for value in predicted["values"])
    times = [float(value.removeprefix("≈").removesuffix("ms")) for value in predicted["values"]]
    assert times[0] <= times[-1]
    assert "threads, batch 1" in predicted["notes"][0] or "thread, batch 1" in predicted["notes"][0]


def track(at: AppTest, name: str) -> dict:
    """One slider of the budget page's component: its figures by label, at the present value."""
    data = sent(at)
    found = next(made for made in data["tracks"] if made["name"] == name)
    index = round((data["at"][found["key"]] - found["slider"]["min"]) / found["slider"]["step"])
    return {made["label"]: (made["values"][index], made["notes"][index]) for made in found["figures"]}


def test_each_setting_on_the_budget_page_leads_to_the_page_that_shows_it(visit) -> None:
    links = [element.proto for element in visit("budget", keep="0.5", budget="60").get("page_link")]
    assert [(link.label, link.query_string) for link in links] == [
        ("Which patches stay: Tokens, keep 50 %", "model=bundled-tokens&keep=0.5"),
        ("On your own photos: Tokens, keep 50 %", "b=bundled-tokens~keep%3D0.5&view=Many+photos"),
        ("What each block becomes: Single path, 60 %", "model=bundled-singlepath&budget=60"),
        ("On your own photos: Single path, 60 %", "b=bundled-singlepath~budget%3D60&view=Many+photos"),
    ]


def test_keep_ratio_and_budget_of_the_link_stand_on_the_sliders(visit) -> None:
    at = visit("budget", keep="0.52", budget="70.4")
    assert sent(at)["at"] == {"keep": 0.5, "budget": 70, "cost": "macs"}
    assert track(at, "Tokens")["MACs"][1].endswith("saved")


def parts(monkeypatch: pytest.MonkeyPatch, *, path_block: float, selector: float) -> None:
    """Blocks of the token model take 3 ms, whatever the tokens, and the rest 1 ms: 13 ms dense."""
    table = LatencyTable("here", 1, 1, 32, 2, 48, (2, 20), (3.0, 3.0), (selector, selector), 1.0)
    costs = PathCosts("here", 1, 1, dict.fromkeys(MIXERS, path_block), (0, 48), (0.0, 0.0), 1.0)
    monkeypatch.setattr(part_times, "measure_table", lambda *given, **more: table)
    monkeypatch.setattr(part_times, "measure_path", lambda *given, **more: costs)


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        (0.5, ("14.0 ms", "slower than dense here (13.0 ms)")),  # two selectors on top of what dense takes
        (0.0, ("13.0 ms", "dense 13.0 ms")),
    ],
)
def test_keeping_every_token_saves_nothing_and_is_said_to_be_slower_where_selectors_take_time(
    visit, monkeypatch, selector, said
) -> None:
    parts(monkeypatch, path_block=3.0, selector=selector)
    figures = track(visit("budget", keep="1"), "Tokens")
    assert figures["MACs"][1] == "nothing saved"
    assert figures["Predicted latency"] == said


def test_macs_of_the_slider_are_those_of_the_photo(visit) -> None:
    at = visit("budget", keep="0.5", budget="80")
    said = texts(at)
    for name in ("Tokens", "Single path"):
        assert f"{track(at, name)['MACs'][0]} MACs" in said


def test_limit_that_cannot_be_kept_names_the_least_and_moves_nothing(visit) -> None:
    at = visit("budget", keep="0.5", budget="80")
    at.number_input(key="limit").set_value(0.1).run()
    assert len(at.warning) == 2
    assert all("0.1 ms cannot be reached; the least possible is" in warning.value for warning in at.warning)
    assert sent(at)["at"] == {"keep": 0.5, "budget": 80, "cost": "macs"}


def test_limit_moves_both_sliders_to_the_largest_setting_that_keeps_it(visit) -> None:
    at = visit("budget", keep="0.5", budget="80")
    at.number_input(key="limit").set_value(60_000.0).run()
    assert not at.exception
    assert sent(at)["at"] == {"keep": 1.0, "budget": 100, "cost": "macs"}
    assert len(at.success) == 2
    assert "".join(at.query_params["budget"]) == "100"


def dense_ms(at: AppTest, name: str) -> float:
    """What a track of the budget page says that the dense network is predicted to take."""
    return float(re.search(r"dense (?:here \()?([\d.]+) ms", track(at, name)["Predicted latency"][1])[1])


@pytest.mark.parametrize(("path_block", "apart"), [(3.0, None), (3.3, "9 %")])  # 4 blocks + 1 to 13 ms
def test_both_methods_are_predicted_beside_one_dense_network(visit, monkeypatch, path_block, apart) -> None:
    parts(monkeypatch, path_block=path_block, selector=0.0)
    at = visit("budget", keep="0.5", budget="80")
    assert dense_ms(at, "Tokens") == dense_ms(at, "Single path") == pytest.approx(4 * path_block + 1)
    assert ("longer one time than another" in texts(at)) == (apart is not None)
    assert apart is None or f"took {apart} longer one time" in texts(at)
    assert "predictions are rough" not in texts(at)


@pytest.mark.parametrize(
    ("path_block", "tokens", "around"),  # the dense network took 13 ms once, and 4 blocks + 1 before
    [(4.0, "≈ 17 ms", "13 to 17"), (2.0, "≈ 9 ms", "9 to 13")],
)
def test_a_prediction_made_on_a_busy_machine_is_greyed_with_its_range_until_it_is_measured(
    visit, monkeypatch, path_block, tokens, around
) -> None:
    parts(monkeypatch, path_block=path_block, selector=0.0)
    took = {name: Latency(ms, 0.1, "cpu", 1, 1, "float32", 20) for name, ms in (("dense", 12.0), ("tokens", 11.0))}
    took["singlepath"] = took["tokens"]
    monkeypatch.setattr(
        timings, "measured", lambda specs, *given: tuple(took[spec.name.removeprefix("bundled-")] for spec in specs)
    )
    at = visit("budget", keep="0.5", budget="80")
    assert track(at, "Tokens")["Predicted latency"] == (tokens, f"rough, {around} ms: the machine was busy")
    latency = sent(at)["tracks"][0]["figures"][1]
    assert all(latency["rough"])
    assert "predictions are rough" in texts(at)

    next(button for button in at.button if button.label == "Measure latency here").click().run()
    assert not at.exception
    assert track(at, "Tokens")["Latency"] == ("11.0 ms", "measured; dense 12.0 ms")
    latency = sent(at)["tracks"][0]["figures"][1]
    assert [label for label, rough in zip(KEEP_RANGE.values, latency["rough"], strict=True) if not rough] == [0.5]
    assert sent(at)["tracks"][0]["points"][0]["ms"] == pytest.approx(11.0)  # blocks take alike for all tokens here

    next(button for button in at.button if button.label == "Predict again").click().run()
    assert track(beside(at), "Tokens")["Predicted latency"][0] == tokens


def test_parts_that_cannot_be_measured_get_a_sentence_and_another_try(visit, monkeypatch) -> None:
    def fail(*given, **more):
        raise RuntimeError("no memory left")

    with monkeypatch.context() as patched:
        patched.setattr(part_times, "measure_path", fail)
        at = visit("architecture")
    assert "bundled-singlepath takes could not be measured here (no memory left)" in at.warning[-1].value
    next(button for button in at.button if button.label == "Try again").click().run()
    assert not any("could not be measured" in warning.value for warning in beside(at).warning)
    assert part_times.parts_of("bundled-singlepath") is not None


def test_a_model_whose_file_changes_while_it_is_measured_is_measured_again(visit, monkeypatch) -> None:
    """And so the note on the page ends: the page looks each second, and asks where nothing is under way."""
    found = []

    def measure(*given, **more):
        if not found:
            forget.forget_model("bundled-singlepath")  # as when its file is opened anew
        found.append(PathCosts("here", 1, 1, dict.fromkeys(MIXERS, 3.0), (0, 48), (0.0, 0.0), float(len(found))))
        return found[-1]

    monkeypatch.setattr(part_times, "measure_path", measure)
    at = beside(visit("architecture"))
    assert sent(at)["figures"][3]["values"][-1] == "13.0 ms", "of the file as it was: 12.0 ms"
    assert len(found) == 2


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opened by the test, or at its end: nothing waits for it longer."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_note_that_stands_for_long_ends_in_a_sentence_and_a_button(visit, gate, monkeypatch) -> None:
    monkeypatch.setattr(part_times, "measure_path", lambda *given, **more: gate.wait())
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=RUN_S).run()
    at.switch_page("pages/architecture.py").run()
    assert not any("busy" in warning.value for warning in at.warning)
    monkeypatch.setattr(part_times, "LONG_S", -1)
    at.run()
    assert "is not done yet: the machine is busy" in at.warning[-1].value
    assert any(button.label == "Measure it again" for button in at.button)


def table_text(device: str = "toaster") -> bytes:
    """A latency table for GEOMETRY, 17 tokens; 1 ms per token and block."""
    rows = [f"block,{n},{n},32,2,48,{device},1,1" for n in range(2, 21, 2)]
    head = "part,tokens,ms,width,heads,ffn_hidden,device,threads,batch"
    return "\n".join([head, f"rest,0,5,32,2,48,{device},1,1", *rows]).encode()


def test_table_of_another_device_is_predicted_for_and_can_be_removed(visit) -> None:
    at = visit("budget", keep="0.5", budget="80")
    at.file_uploader[0].upload("t.csv", table_text()).run()
    assert not at.error
    # 17 tokens in block 1; 1 + 8 + 1 in block 2; 1 + 4 + 2 in blocks 3 and 4: 41 ms and the rest
    assert track(at, "Tokens")["Predicted latency"] == ("46.0 ms", "dense 73.0 ms")
    assert track(at, "Single path")["Predicted latency"] == ("unknown", "not in the table of toaster")
    assert "**toaster, 1 thread, batch 1**" in texts(at)
    next(button for button in at.button if "this machine" in button.label).click().run()
    assert "toaster" not in texts(at)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a,b\n1,2\n", "is no latency table"),
        (b"\xff\xfe\x00", "is no text"),
        (table_text().replace(b",32,2,48,", b",64,2,48,"), "blocks of width 64"),
        (table_text().replace(b",1,1", b",1,16"), "is of 16 photos at once; measure a table with --batch 1."),
        (b"x" * 200_000, "is no latency table"),
    ],
)
def test_wrong_table_gets_one_sentence_and_changes_nothing(visit, data, sentence) -> None:
    at = visit("budget")
    before = track(at, "Tokens")
    at.file_uploader[0].upload("t.csv", data).run()
    assert not at.exception
    assert len(at.error) == 1
    assert sentence in at.error[0].value
    assert track(at, "Tokens") == before


def test_the_budget_page_shows_the_model_that_is_chosen_with_those_that_go_with_it(visit, assets, tmp_path) -> None:
    """Another model with selectors takes the place of the bundled one; the others have its input and classes."""
    at = visit("budget")
    assert at.selectbox(key="model").options == ["bundled-tokens", "bundled-singlepath", "bundled-dense"]
    own = tmp_path / "mine.safetensors"
    save(tmp_path, "mine", dataclasses.replace(CARD, selectors=SelectorCard((2,), (0.5,), False)))
    at.session_state["files"] = {str(own): registry.entry_of_file(str(own), checkpoints.load(ModelSpec(str(own))).card)}
    at.selectbox(key="model").set_value("bundled-singlepath").run()
    assert {made["name"] for made in sent(at)["tracks"]} == {"Tokens", "Single path"}
    assert "in a row: they multiply" in sent(at)["tracks"][0]["slider"]["label"]
    at.selectbox(key="model").set_value(str(own)).run()
    assert not at.exception
    assert sent(at)["tracks"][0]["slider"]["label"] == "Keep ratio of each selector"  # it has one
    assert "Selectors not trained yet: mine.safetensors" in texts(at)


@pytest.mark.parametrize(
    ("page", "key", "value", "usual"),
    [
        ("tokens", "details", "Packages", "Scores"),
        ("budget", "engine", "onnxruntime", "eager"),
    ],
)
def test_a_link_opens_the_same_tab_and_engine(visit, page, key, value, usual) -> None:
    at = visit(page, **{key: value})
    assert at.session_state[key] == value
    at = visit(page, **{key: "none such"})
    assert at.session_state[key] == usual


def test_a_link_draws_accuracy_against_the_same_cost(visit) -> None:
    assert sent(visit("budget", cost="ms"))["at"]["cost"] == "ms"
    assert sent(visit("budget", cost="euros"))["at"]["cost"] == "macs"


def test_recorded_evaluations_make_the_frontier(visit, assets, tmp_path, monkeypatch) -> None:
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    file, dense = tmp_path / "evaluations.json", count_macs(GEOMETRY).total
    for setting, top1, macs in (
        ("--budget 100%", 0.6, 1.0),
        ("--budget 50%", 0.5, 0.5),
        ("--budget 1%", 0.1, 0.01),  # out of reach
        ("--method odd", 0.1, 0.4),
    ):
        add_row(file, Recorded("bundled-singlepath", setting, top1, 0.9, macs * dense, dense, 400))
    add_row(file, Recorded("bundled-tokens", "--keep 0.5,0.2,0.1", 0.6, 0.9, dense, dense, 400))  # three, not two
    add_row(file, Recorded("bundled-dense", "", 0.6, 0.9, 9, 9, 400))  # another model of this name
    for module in (checkpoints, registry):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    monkeypatch.setattr(recorded, "RECORDED", file)
    at = visit("budget")
    (series,) = sent(at)["series"]
    assert series["name"] == "Single path"
    assert [point["label"] for point in series["points"]] == ["budget 100%", "budget 50%"]
    assert "400 validation photos" in texts(at)
    assert "4.9 percentage points" in texts(at)  # 1.96 sqrt(0.25 / 400)


def test_other_methods_are_points_of_their_own_on_the_frontier(visit, assets, tmp_path, monkeypatch) -> None:
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    file, dense = tmp_path / "evaluations.json", count_macs(GEOMETRY).total
    rows = (
        ("bundled-tokens", "--method tome", 0.5),
        ("bundled-tokens", "--keep 0.5,0.3 --method tome", 0.4),
        ("bundled-dense", "--budget 50% --method evit", 0.45),
        ("bundled-tokens", "--method random", 0.3),  # other choices by the same model are no method of their own
    )
    for model, setting, top1 in rows:
        add_row(file, Recorded(model, setting, top1, 0.9, top1 * dense, dense, 400))
    for module in (checkpoints, registry):
        monkeypatch.setattr(module, "ASSETS", tmp_path)
    monkeypatch.setattr(recorded, "RECORDED", file)
    at = visit("budget")
    series = {made["name"]: made for made in sent(at)["series"]}
    assert list(series) == ["ToMe", "EViT"]
    assert [point["label"] for point in series["ToMe"]["points"]] == (
        ["at the MACs of the pruned model", "at the MACs of the pruned model at keep 0.5,0.3"]
    )
    assert [point["label"] for point in series["EViT"]["points"]] == ["budget 50%"]
    assert not any(made["joined"] for made in series.values())
    assert "ToMe, EViT: the untouched dense weights" in texts(at)


def test_unfit_search_shows_gates_and_no_prediction(visit, assets, tmp_path, monkeypatch) -> None:
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    save(tmp_path, "bundled-singlepath", dataclasses.replace(CARD, single_path=SinglePathCard(0.01, False)))
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    at = visit("architecture")
    assert "not got far enough" in at.warning[0].value
    assert sent(at)["mixers"]  # network and diagram
    assert "top5" not in str([chart.proto.id for chart in at.get("plotly_chart")])
    assert not any("singlepath" in option for option in visit("compare").selectbox(key="a_model").options)


def test_latency_is_measured_on_demand_with_all_that_belongs_to_it(visit) -> None:
    at = visit("tokens")
    assert "threads" not in texts(at)
    next(button for button in at.button if button.label == "Measure latency here").click().run()
    assert not at.exception
    for said in ("**Dense:**", "**Pruned:**", "ms median", "quartile to quartile", "batch 1"):
        assert said in texts(at)


def test_untrained_selectors_are_said_to_be_untrained(visit, assets, tmp_path, monkeypatch) -> None:
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    save(tmp_path, "bundled-tokens", dataclasses.replace(CARD, selectors=SelectorCard((1, 2), (0.7, 0.5), False)))
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    assert "Selectors not trained yet" in texts(visit("tokens"))


def test_presets_of_the_home_page_lead_to_settings_that_exist(visit) -> None:
    assert len(visit("home").page_link) == 3  # the presets
    query = next(link.proto.query_string for link in visit("home").page_link if "breaks" in link.label)
    at = visit("compare", **dict(parse_qsl(query)))
    assert at.selectbox(key="b_model").value == "bundled-tokens"
    assert at.select_slider(key="b_keep").value == 0.4


def test_two_files_of_one_name_stand_beside_the_network_each_as_it_is(visit, tmp_path) -> None:
    at, entries = visit("architecture"), {}
    for folder, hidden in (("a", 12), ("b", 24)):
        card = dataclasses.replace(CARD, compact=CompactCard(("msa",) * 4, (hidden,) * 4))
        path = tmp_path / folder / "model.safetensors"
        path.parent.mkdir()
        save_checkpoint(path, checkpoints.empty_model(card), card)
        entries[str(path)] = registry.entry_of_file(str(path), card)
    at.session_state["files"] = entries
    at.run()
    shares = [sent(at.selectbox(key="published").select(path).run())["beside"]["shares"][0] for path in entries]
    assert shares == [12 / 48, 24 / 48]


def test_link_opens_a_published_architecture_without_its_weights(visit) -> None:
    at = visit("architecture", published="swin_tn_l28_t32")
    assert not at.exception
    figures = {m.label: (m.value, m.delta) for m in at.metric}
    assert figures["MACs, closed form"] == ("3.33 G", "74 % of dense")
    assert figures["MACs asked"] == ("3.20 G", "exceeded by 4 %")
    assert figures["Parameters, compact"] == ("26.2 M", "26.3 M stored for training")
    assert figures["Top-1, as published"] == ("80.1 %", "distilled: 81.0 %")
    assert "8 of 12 blocks keep their attention" in texts(at)


def test_published_architecture_stands_beside_and_nonsense_picks_none(visit) -> None:
    at = visit("architecture", published="<b>9e99")
    assert at.selectbox(key="published").value is None
    assert sent(at)["beside"] is None
    at.selectbox(key="published").select("deit_bs_l008_t60").run()
    beside = sent(at)["beside"]
    assert "deit_bs_l008_t60" in beside["title"]
    assert len(beside["mixers"]) == 12
    assert beside["shares"][0] == 1118 / 3072


def test_published_top1_that_was_never_published_is_said_to_be_so(visit) -> None:
    at = visit("architecture", published="deit_bs_l006_t100")
    assert "distilled: not published" in [m.delta for m in at.metric]


def test_block_of_the_link_is_shown_with_gates_kernel_and_cost(visit) -> None:
    at = visit("architecture", budget="100", block="2")
    assert "Block 3: MSA at 100 %" in texts(at)
    assert "Nothing saved" in texts(at)
    assert "nine offsets" in texts(at)
    assert "| Gate | Opens | Probability | Logit | At this budget |" in texts(at)
    assert "No history of the gates" in texts(at)  # beside these weights


def test_search_can_be_played_where_its_history_was_kept(visit, assets, tmp_path, monkeypatch) -> None:
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    rng = np.random.default_rng(0)
    for epoch in range(3):
        gates = Gates(GEOMETRY, rng.normal(1, 1, (4, 3)), rng.normal(1, 1, (4, 48)))
        add_snapshot(tmp_path / "bundled-singlepath-gates.safetensors", float(epoch), gates)
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    search = sent(visit("architecture", budget="60", block="1"), 1)
    assert search["labels"] == ["epoch 0.00", "epoch 1.00", "epoch 2.00"]
    assert search["playable"]
    assert search["at"] == {"value": 2, "block": 1}
    assert len({json.dumps(step) for step in search["hidden"]}) == 3
    assert sent(visit("architecture", budget="60", moment="1"), 1)["at"]["value"] == 1


def test_home_says_where_we_differ(visit) -> None:
    said = "\n".join(m.value for m in visit("home").markdown)
    assert "Kernel offsets" in said
    assert "Gumbel noise" in said
    assert (ROOT / "assets" / "differences.md").read_text().strip() in said


def test_garbage_is_not_looked_for_among_what_was_imported_when_the_first_page_opened(visit, monkeypatch) -> None:
    """Objects of a module that was imported are looked through by no later collection; those of a page are."""
    monkeypatch.setattr(atexit, "register", lambda call: None)
    frame._set_imports_aside.cache_clear()
    imported = [[]]  # lists, which the collector tracks
    imported.append(imported)
    visit("tokens")
    kept = {id(found) for found in gc.get_objects()}
    assert id(imported) not in kept, "it would be looked through"
    before = gc.get_freeze_count()
    made = [[]]
    made.append(made)
    visit("tokens")
    assert id(made) in {id(found) for found in gc.get_objects()}, "garbage of pages must not be kept"
    assert gc.get_freeze_count() <= before
    gc.unfreeze()
