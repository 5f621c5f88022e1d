"""A person opens a link, drops a photo, watches the masks, moves the budget."""

import re

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from core.models.weights import read_card
from core.soft_tokens.decide import keep_count
from tests.browse import SLOW, measured, open_view, settle, width_of
from tests.small_assets import SMALL_ASSETS

GEOMETRY = read_card(SMALL_ASSETS / "bundled-tokens.safetensors").geometry
PATCHES, SIDE = GEOMETRY.patches, GEOMETRY.grid[1]
QUARTER = f"Selector 2 before block 7: {keep_count(0.25, PATCHES)} of {PATCHES}"
"""Said at a keep ratio of 0.5."""
PHONE_FIRST = pytest.mark.parametrize("width", [390, pytest.param(1440, marks=pytest.mark.slow)])
DESK_FIRST = pytest.mark.parametrize("width", [pytest.param(390, marks=pytest.mark.slow), 1440])
"""Both widths, of which one is slow: they take turns from test to test."""
HEIGHT = 900
PHOTO = SMALL_ASSETS / "samples" / "flower.jpg"


def kept_sentence(page: Page) -> str:
    """What the page says of the stage that it shows."""
    return page.locator(".player .sentence").inner_text()


def rendered(page: Page) -> str:
    """The name of what the token player has drawn, once it has drawn anything."""
    player = page.locator(".player")
    expect(player).to_have_attribute("data-rendered", re.compile("."), timeout=SLOW)
    return player.get_attribute("data-rendered") or ""


def picture(page: Page) -> str:
    """The pixels of the token player."""
    return page.locator(".player canvas").evaluate("canvas => canvas.toDataURL()")


def becomes_another(page: Page, seen: str) -> None:
    """Wait until the player's pixels are no longer `seen`: a new picture fades in over the old one."""
    for _ in range(SLOW // 50):
        if picture(page) != seen:
            return
        page.wait_for_timeout(50)
    raise AssertionError("The player's picture has not changed.")


@DESK_FIRST
def test_a_photo_goes_in_and_the_page_shows_what_pruning_does_to_it(server: str, page: Page, width: int) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_viewport_size({"width": width, "height": HEIGHT})

    # A deep link, not the home page.
    page.goto(f"{server}/tokens?method=Keep+ratio&keep=0.5&stage=2")
    expect(page.get_by_role("heading", name="Which patches does the model keep?")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(f"{QUARTER} patches kept")).to_be_visible(timeout=SLOW)
    assert "stage=2" in page.url
    player = page.locator(".player")
    expect(player).to_have_attribute("data-stage", "2")
    before, seen = rendered(page), picture(page)

    # A file that is no picture gets one sentence, and the page goes on working.
    page.get_by_role("radio", name="Your own").or_(page.get_by_text("Your own", exact=True)).first.click()
    chooser = page.locator("input[type=file]")
    chooser.set_input_files({"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    expect(page.get_by_text("That file is not a picture that can be read")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(f"{QUARTER} patches kept")).to_be_hidden(timeout=SLOW)  # nor of a sample meanwhile

    # A photo goes in; other patches are folded, in another picture.
    chooser.set_input_files(str(PHOTO))
    expect(page.get_by_text("That file is not a picture that can be read")).to_be_hidden(timeout=SLOW)
    expect(page.get_by_text("Stays in this session only")).to_be_visible(timeout=SLOW)
    expect(player).not_to_have_attribute("data-rendered", before, timeout=SLOW)
    becomes_another(page, seen)
    assert kept_sentence(page).startswith(QUARTER)

    # Its own decision instead of a ratio.
    page.get_by_role("radio", name="The model").or_(page.get_by_role("button", name="The model")).first.click()
    expect(page.get_by_role("slider", name="Keep ratio")).to_be_hidden(timeout=SLOW)
    assert re.search(rf"before block 7: \d+ of {PATCHES} patches kept", kept_sentence(page))
    assert width_of(page) <= width
    assert not problems, problems


@PHONE_FIRST
def test_home_plays_a_pruned_photo_and_leads_to_a_telling_view_and_to_ones_own_photo(
    server: str, page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_view(page, server)
    rendered(page)
    calm = picture(page)
    page.locator(".player button.chip").first.focus()
    becomes_another(page, calm)
    assert width_of(page) <= width
    page.get_by_role("link", name="Take a quarter out").click()
    expect(page.get_by_role("heading", name="What does each layer become?")).to_be_visible(timeout=SLOW)
    expect(page).to_have_url(re.compile("budget=75"))
    page.goto(server)
    page.get_by_role("button", name="Try it with your own photo").click(timeout=SLOW)
    expect(page.get_by_text("Drop a picture of your own.")).to_be_visible(timeout=SLOW)
    expect(page).to_have_url(re.compile(r"/tokens\?.*pic=Your\+own"))


def test_the_player_is_worked_by_keyboard_and_a_link_reopens_what_it_shows(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens?stage=1")
    rendered(page)
    sentence = page.locator(".player .sentence")
    expect(sentence).to_contain_text("Selector 1 before block 4")
    page.get_by_role("button", name="One stage forward").focus()
    page.keyboard.press("ArrowRight")
    expect(sentence).to_contain_text("Selector 2")
    page.keyboard.press("Home")
    expect(sentence).to_contain_text(f"Input: all {PATCHES} patches")
    expect(page).to_have_url(re.compile(r"stage=0"), timeout=SLOW)
    page.keyboard.press("End")
    expect(sentence).to_contain_text("Selector 3")
    expect(page).to_have_url(re.compile(r"stage=3"), timeout=SLOW)

    # What its tokens are; the photo without the mask while a key is held; the mask as dark as one wants it.
    expect(page.locator(".player .sum")).to_have_text(
        re.compile(r"^1 class token \+ \d+ kept patches \+ 3 packages = \d+")
    )
    masked = picture(page)
    page.get_by_role("button", name="Hold to see the photo").focus()
    page.keyboard.down("Space")
    becomes_another(page, masked)
    page.keyboard.up("Space")
    expect(page.locator(".player .peek")).to_have_attribute("aria-pressed", "false")
    assert picture(page) == masked
    page.get_by_role("slider", name="Darkness of what left").press("ArrowLeft")
    becomes_another(page, masked)

    # The cursor over the patches, and what the chosen one tells.
    page.get_by_role("application", name="Patches").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    said = page.locator(".player .patch-said")
    expect(said).to_contain_text("Patch in row 2, column 3")
    expect(page.locator(".player tbody tr")).to_have_count(3)
    expect(page).to_have_url(re.compile(rf"token={SIDE + 2}\b"), timeout=SLOW)

    # Another control leaves the stage and the patch alone; a link brings both back.
    page.get_by_text("Threshold", exact=True).first.click()
    expect(page.get_by_role("slider", name=re.compile("Keep a patch"))).to_be_visible(timeout=SLOW)
    expect(page.locator(".player")).to_have_attribute("data-stage", "3")
    expect(said).to_contain_text("Patch in row 2, column 3")
    open_view(page, f"{server}/tokens?stage=1&token={SIDE + 2}")
    rendered(page)
    expect(page.locator(".player .patch-said")).to_contain_text("Patch in row 2, column 3")
    expect(page.locator(".player")).to_have_attribute("data-stage", "1")


def test_packages_and_patches_light_each_other_up(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens?method=Keep+ratio&keep=0.5&stage=3")
    rendered(page)
    calm = picture(page)
    chip = page.locator(".player button.chip").nth(1)
    chip.focus()
    becomes_another(page, calm)
    expect(page.locator(".player .ticks button").nth(2)).to_have_class(re.compile("lit"))
    chip.blur()
    assert picture(page) == calm
    canvas = page.locator(".player canvas")
    box = canvas.bounding_box()
    for patch in range(PATCHES):
        row, column = divmod(patch, SIDE)
        page.mouse.move(box["x"] + (column + 0.5) * box["width"] / SIDE, box["y"] + (row + 0.5) * box["height"] / SIDE)
        if "lit" in (chip.get_attribute("class") or ""):
            break
    else:
        raise AssertionError("no patch lights up its package")


@DESK_FIRST
def test_keep_ratio_is_live_while_one_drags_and_told_on_release(server: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_view(page, f"{server}/tokens?method=Keep+ratio&keep=0.5&stage=1")
    page.locator(".player .keep-input").hover()
    expect(page.locator(".player")).to_have_attribute("data-steps", "19", timeout=SLOW)
    slider = page.get_by_role("slider", name="Keep ratio")
    slider.scroll_into_view_if_needed()
    before = rendered(page)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 4 / 9, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    expect(page.locator(".player .sentence")).not_to_contain_text(f": {PATCHES // 2} of {PATCHES}")
    assert rendered(page) == before  # Python has not been asked
    assert "keep=0.5" in page.url
    shown = page.locator(".player .sentence").inner_text()
    page.mouse.up()
    expect(page.locator(".player")).not_to_have_attribute("data-rendered", before, timeout=SLOW)
    expect(page).to_have_url(re.compile(r"keep=0.9"), timeout=SLOW)
    assert page.locator(".player .sentence").inner_text() == shown


WATCH_STAGES = """
window.stages = [];
const find = root => root.querySelector(".player")
    ?? [...root.querySelectorAll("*")].map(e => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
setInterval(() => {
    const stage = find(document)?.dataset.stage;
    if (stage !== undefined && stage !== window.stages.at(-1)) window.stages.push(stage);
}, 30);
"""
"""What the player shows one after the other: it passes by sooner than a test looks."""


def test_the_player_plays_by_itself_once_and_not_for_those_who_want_calm(server: str, page: Page) -> None:
    page.emulate_media(reduced_motion="no-preference")
    page.add_init_script(WATCH_STAGES)
    open_view(page, f"{server}/tokens")
    rendered(page)
    page.wait_for_function("window.stages.join(' ').endsWith('3 0 1 2 3')", timeout=SLOW)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    calm = page.context.browser.new_context(reduced_motion="reduce").new_page()
    calm.add_init_script(WATCH_STAGES)
    calm.clock.install()
    calm.goto(f"{server}/tokens")
    page.clock.install()
    page.reload()  # the second view
    for still in (page, calm):
        rendered(still)
        still.clock.run_for(10_000)  # what is due in that time comes now, and so would the play
        assert still.evaluate("window.stages") == ["3"]
    calm.context.close()


class Late:
    """A page that hears late: what the server says to it can be held back. It must not have been opened yet."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.held: list[tuple[WebSocketRoute, str | bytes]] = []
        self.holding_back = False
        page.route_web_socket(re.compile("_stcore/stream"), self._stand_between)

    def _stand_between(self, socket: WebSocketRoute) -> None:
        def pass_on(said: str | bytes) -> None:
            if self.holding_back:
                self.held.append((socket, said))
            else:
                socket.send(said)

        socket.connect_to_server().on_message(pass_on)

    def hold_back(self) -> None:
        """From now on the page hears nothing."""
        self.holding_back = True

    def let_through(self) -> None:
        """All that was held back, in its order, whatever comes meanwhile; then the page hears at once again."""
        while self.held:
            socket, said = self.held.pop(0)
            socket.send(said)
        self.holding_back = False

    def wait_for_answers(self, count: int) -> None:
        """Until the server has come to the end of so many runs, of which the page has not heard yet."""
        for _ in range(SLOW // 50):
            heard = [ForwardMsg.FromString(said) for _, said in self.held if isinstance(said, bytes)]
            ends = [each.script_finished for each in heard if each.WhichOneof("type") == "script_finished"]
            if ends.count(ForwardMsg.FINISHED_SUCCESSFULLY) >= count:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"{count} runs of the page have not ended: {ends}")


BOTH_MOVES = re.compile(r"(?=.*budget=30)(?=.*pic=Koala)")


def test_a_browser_that_hears_late_loses_neither_of_two_moves(server: str, page: Page) -> None:
    late = Late(page)
    open_view(page, f"{server}/architecture?budget=60")
    slider = page.get_by_role("slider", name=re.compile("Budget"))

    late.hold_back()
    slider.press("Home")
    late.wait_for_answers(1)  # and yet the URL here is that of before
    assert "budget=60" in page.url
    page.get_by_role("radio", name="Koala").or_(page.get_by_text("Koala", exact=True)).first.click()
    late.wait_for_answers(2)  # or one of them is the page's own, when a measurement has ended meanwhile
    late.let_through()

    expect(page).to_have_url(BOTH_MOVES, timeout=SLOW)
    settle(page)
    assert BOTH_MOVES.search(page.url)
    expect(slider).to_have_value("30")

    # Who goes back is taken back.
    slider.press("End")
    expect(page).to_have_url(re.compile("budget=100"), timeout=SLOW)
    settle(page)
    page.go_back()
    expect(slider).to_have_value("30", timeout=SLOW)
    settle(page)
    assert "budget=30" in page.url

    # And a link leads where it says, though the slider was moved here before.
    page.get_by_role("link", name="Prunescope").first.click()
    page.get_by_role("link", name=re.compile("quarter")).first.click()
    expect(page).to_have_url(re.compile("budget=75"), timeout=SLOW)
    expect(slider).to_have_value("75", timeout=SLOW)


def test_a_headline_says_for_which_threshold_it_holds_also_while_the_next_answer_is_on_its_way(
    server: str, page: Page
) -> None:
    late = Late(page)
    open_view(page, f"{server}/tokens?method=Threshold&threshold=0.5")
    headline = page.get_by_role("heading", level=2).first
    expect(headline).to_have_text(re.compile("^Threshold 0.50: "))
    late.hold_back()
    page.get_by_role("slider", name=re.compile("Keep a patch")).press("End")
    expect(page).to_have_url(re.compile("threshold=0.95"))  # the browser writes it, before the server has heard of it
    expect(headline).to_have_text(re.compile("^Threshold 0.50: "))
    late.let_through()
    expect(headline).to_have_text(re.compile("^Threshold 0.95: "), timeout=SLOW)


@PHONE_FIRST
def test_scrubber_follows_the_pointer_and_tells_the_page_on_release(server: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_view(page, f"{server}/architecture?budget=60")
    scrubber = page.locator(".scrubber[data-rendered]").first
    expect(scrubber).to_be_visible(timeout=SLOW)
    slider = page.get_by_role("slider", name=re.compile("Budget"))
    sentence = page.locator(".scrubber .sentence").first
    slider.scroll_into_view_if_needed()
    box, first = slider.bounding_box(), sentence.inner_text()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.43, y)
    page.mouse.down()
    for part in (0.4, 0.3, 0.2, 0.1):
        page.mouse.move(box["x"] + box["width"] * part, y)
    expect(sentence).not_to_have_text(first)  # before it is let go, and so without the server
    assert "budget=60" in page.url
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"budget=3\d"), timeout=SLOW)

    # The keyboard moves it too.
    slider.focus()
    slider.press("Home")
    expect(page).to_have_url(re.compile(r"budget=30"), timeout=SLOW)

    # A click in the diagram chooses block and budget at once.
    diagram = page.locator(".scrubber .holder canvas").first
    area = diagram.bounding_box()
    diagram.click(position={"x": area["width"] * 0.6, "y": 36 * 4 + 10})
    expect(page).to_have_url(re.compile(r"block=4"), timeout=SLOW)
    expect(page.get_by_role("button", name=re.compile("^Block 5")).first).to_have_attribute("aria-pressed", "true")


@DESK_FIRST
def test_budget_page_follows_both_sliders_and_the_limit_sets_them(server: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_view(page, f"{server}/budget?keep=0.7&budget=60")
    here = page.get_by_text(re.compile("^You are here: Tokens at 70 %")).first
    expect(here).to_be_visible(timeout=SLOW)
    slider = page.get_by_role("slider", name=re.compile("Keep ratio of each selector.*, Tokens"))
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.66, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.45, y)
    expect(page.get_by_text(re.compile("^You are here: Tokens at [45]")).first).to_be_visible()  # without the server
    assert "keep=0.7" in page.url
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"keep=0\.[45]"), timeout=SLOW)

    limit = page.get_by_role("spinbutton", name="Limit for one photo, ms")
    measured(page)
    expect(limit).to_be_enabled()
    expect(page.get_by_role("button", name="Predicted latency")).to_be_enabled()
    limit.fill("5000")
    limit.press("Enter")
    expect(page).to_have_url(re.compile(r"budget=100"), timeout=SLOW)
    expect(page.get_by_text(re.compile("^You are here: Tokens at 100 %")).first).to_be_visible(timeout=SLOW)
    joint = page.locator(".key", has_text="Joint, recorded")
    expect(joint).to_be_visible()
    page.get_by_role("button", name="Predicted latency").click()
    expect(page.get_by_text(re.compile("^no latency predicted: (?!.*Joint).*ToMe"))).to_be_visible()
    expect(joint).to_be_visible()
    assert width_of(page) <= width


@PHONE_FIRST
def test_compare_tells_whether_another_model_agrees_and_what_either_looked_at(
    server: str, page: Page, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    open_view(page, f"{server}/compare?pic=Temple")
    verdict = page.get_by_role("heading", level=2).first
    expect(verdict).to_have_text(re.compile("^(Both say|Dense says) "), timeout=SLOW)
    saved = (
        page.get_by_test_id("stMetric").filter(has_text="MACs of Pruned against Dense").get_by_test_id("stMetricValue")
    )
    before = saved.inner_text()
    page.get_by_role("combobox", name="Model B").click()
    page.get_by_role("option", name="bundled-singlepath").click()
    expect(page).to_have_url(re.compile("b=bundled-singlepath"), timeout=SLOW)
    expect(saved).not_to_have_text(before, timeout=SLOW)
    assert re.fullmatch(r"\N{MINUS SIGN}\d+ %", saved.inner_text())
    page.get_by_text("Occlusion", exact=True).click()
    expect(page.get_by_text("Change, Pruned \N{MINUS SIGN} Dense")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(re.compile("^Rank correlation of the two maps: "))).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(re.compile("both see all .* patches, and rank them "))).to_be_visible()
    assert width_of(page) <= width
