"""Components alone in a browser, called as Streamlit does: again at each change; what a call returned ends it."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from core.results import Architecture, ClassName, MacCount, Prediction, TokenTrace
from tests.browse import SLOW
from viz import player
from viz.components import Figure, Slider
from viz.savings import BODY as SAVINGS
from viz.savings import SCRIPT as SAVINGS_SCRIPT
from viz.savings import Track, cost_figures, savings_data
from viz.scrubber import BODY as SCRUBBER
from viz.scrubber import SCRIPT as SCRUBBER_SCRIPT
from viz.scrubber import scrubber_data

FULL = Architecture(("msa", "msa"), (10, 10), (10, 10), 100, 100)
SLIDER = Slider("Budget", 50, 25, ["50 %", "75 %", "100 %"], [50, 75, 100], "Budget, %")
FIGURES = cost_figures([50, 75, 100], 100, None, None, "", [(0.7, True)] * 3)
HARNESS = """async ([script, body, data]) => {
    const url = URL.createObjectURL(new Blob([script], {type: "text/javascript"}));
    const component = (await import(url)).default;
    window.told = [];
    window.put = () => {
        window.place?.remove();
        window.place = document.body.appendChild(document.createElement("div"));
        window.place.innerHTML = body;
    };
    window.call = (more = {}) => component({data: {...data, ...more}, parentElement: window.place,
        setStateValue: (name, at) => window.told.push(at)});
    window.move = (to) => {
        const range = window.place.querySelector("input[type=range]");
        range.value = to;
        range.dispatchEvent(new Event("input"));
        range.dispatchEvent(new Event("change"));
    };
    window.shown = () => window.place.querySelector("output").textContent;
    window.put();
}"""


@pytest.fixture(params=["scrubber", "savings"])
def component(page: Page, request: pytest.FixtureRequest) -> Page:
    """A page with `put`, `call`, `move` and `shown`, and what was `told`, of one component that stands at 50 of 100."""
    if request.param == "scrubber":
        figures = [Figure("MACs", ["1", "2", "3"], ["", "", ""])]
        data = scrubber_data(SLIDER, [FULL] * 3, [[1, 1]] * 3, figures, ("A", "B"))
        script, body, at = SCRUBBER_SCRIPT, SCRUBBER, {"value": 50, "block": 0}
    else:
        data = savings_data([Track("budget", "Single path", SLIDER, FIGURES, [])], [], None)
        script, body, at = SAVINGS_SCRIPT, SAVINGS, {"budget": 50, "cost": "macs"}
    page.clock.install()
    page.evaluate(HARNESS, [script, body, data | {"at": at, "turn": 1, "key": "it"}])
    return page


def test_end_of_a_call_that_a_newer_one_has_overtaken_ends_nothing(component: Page) -> None:
    told, shown = component.evaluate("""() => {
        const first = call();
        call();
        move(75);
        first();
        const said = told.length;
        call();
        return [said, shown()];
    }""")
    assert told == 0  # an end would tell at once
    assert shown == "75 %"
    component.wait_for_function("told.length === 1")


def test_component_that_is_taken_away_tells_what_was_due_and_comes_back_as_it_stood(component: Page) -> None:
    told, shown = component.evaluate("""() => {
        const end = call();
        move(75);
        end();
        put();
        call();
        return [told, shown()];
    }""")
    assert shown == "75 %"
    assert len(told) == 1
    assert 75 in told[0].values()
    component.clock.run_for(1000)  # whatever is due
    assert component.evaluate("told.length") == 1


def test_component_takes_another_place_in_a_new_turn_only(component: Page) -> None:
    end = {"value": 100, "block": 0, "budget": 100, "cost": "macs"}
    assert component.evaluate("at => { call(); move(75); call({at}); return shown(); }", end) == "75 %"
    assert component.evaluate("at => { call({at, turn: 2}); return shown(); }", end) == "100 %"


def test_component_that_ends_and_goes_on_in_its_place_is_there_once(component: Page) -> None:
    once, again = component.evaluate("""() => {
        const parts = () => [...place.querySelectorAll("*")].map(each => `${each.tagName} ${each.className}`).join();
        const end = call();
        const once = parts();
        end();
        call();
        return [once, parts()];
    }""")
    assert again == once


def put_player(page: Page, stage: int) -> None:
    """A player of four patches, of which one leaves at each of two selectors."""
    kept = np.array([[False, True, True, True], [False, False, True, True]])
    weight = np.array([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    heads = (np.full((2, 4, 2), 0.5),) * 2
    said = Prediction(np.array([0.75, 0.25]), (ClassName(None, "cat"), ClassName(None, "dog")))
    trace = TokenTrace((2, 2), (1, 2), kept, kept * 0.5, weight, *heads, (5,) * 4, said, MacCount(1, 2, 0, 3, 1, 1), 20)
    photo = player.photo_url(Image.new("RGB", (64, 64), "teal"))
    data = player.player_data(trace) | {"photo": photo, "stage": stage, "token": None, "keep": None, "rev": "1"}
    page.evaluate(HARNESS, [player.JS, f"<style>{player.CSS}</style>{player.HTML}", data])


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_patches_fly_into_their_package_once_for_each_photo_and_never_for_those_who_want_calm(
    page: Page, motion: str
) -> None:
    page.emulate_media(reduced_motion=motion)
    put_player(page, stage=0)
    page.evaluate("""() => {
        call();
        window.flights = 0;
        new MutationObserver((changes) => {
            const added = changes.flatMap((change) => [...change.addedNodes]);
            window.flights += added.filter((node) => node.className === "flying").length;
        }).observe(place, { childList: true, subtree: true });
    }""")
    page.wait_for_selector(".player[data-rendered='1']", state="attached")
    flights = []
    for button in (".forth", ".forth", ".back", ".forth", ".back", ".back"):
        page.locator(button).click()
        expect(page.locator(".flying")).to_have_count(0, timeout=SLOW)
        flights.append(page.evaluate("window.flights"))
    assert flights == ([1, 2, 2, 2, 2, 2] if motion == "no-preference" else [0] * 6)

    photo = player.photo_url(Image.new("RGB", (64, 64), "navy"))
    page.evaluate("photo => call({photo, stage: 0, rev: '2'})", photo)
    page.wait_for_selector(".player[data-rendered='2']", state="attached")
    page.locator(".forth").click()
    expect(page.locator(".flying")).to_have_count(0, timeout=SLOW)
    assert page.evaluate("window.flights") == (3 if motion == "no-preference" else 0)


def test_player_that_ends_and_goes_on_in_its_place_has_each_package_once_and_lights_its_stage_up(page: Page) -> None:
    put_player(page, stage=2)

    def drawn(script: str, rev: str) -> str:
        page.evaluate(script)
        page.wait_for_selector(f".player[data-rendered='{rev}']", state="attached")
        return page.evaluate("place.querySelector('canvas').toDataURL()")

    once = drawn("window.end = call()", "1")
    other = drawn("end(); call({stage: 0, rev: '2'})", "2")
    assert drawn("call({stage: 2, rev: '3'})", "3") == once
    packages, stage = page.evaluate("""() => {
        const chips = place.querySelectorAll("button.chip");
        chips[1].focus();
        return [chips.length, place.querySelectorAll(".ticks button")[2].className];
    }""")
    assert packages == 2
    assert "lit" in stage
    assert drawn("put(); call({stage: 0, rev: '4'})", "4") == other, "what is drawn again is drawn as on a new page"
