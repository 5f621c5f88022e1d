"""A person in front of the pickers, with a mouse, with a keyboard alone, without a network, with somebody's link."""

import io
import re

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browse import PAGES, SLOW, WATCH_SHIFTS, measured, open_view, settle, take_shifts, width_of, wrong_room
from tests.small_assets import SMALL_ASSETS

MOST_SHIFT = 0.05
"""Layout shift of one change of settings; up to 0.1 counts as good on the web, and what is named here is felt."""
ROOM_PX = 85  # three lines of text: some sentences come only where the machine is slow
QUICK = (("tokens", 1440), ("compare", 390))
VIEWS = [
    pytest.param(name, width, marks=() if (name, width) in QUICK else pytest.mark.slow)
    for name in PAGES[1:]
    for width in (390, 1440)
]
WEIGHTS = SMALL_ASSETS / "bundled-tokens.safetensors"


def png(colour: str) -> dict:
    """A picture of one colour, as a browser hands it over: no model here knows it."""
    data = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(data, "PNG")
    return {"name": f"{colour}.png", "mimeType": "image/png", "buffer": data.getvalue()}


def focused(page: Page) -> str:
    """Role and name of what has the focus."""
    return page.evaluate(
        """() => { const e = document.activeElement;
            const role = e.getAttribute("role") ?? e.tagName.toLowerCase();
            const name = e.getAttribute("aria-label") ?? e.innerText ?? "";
            return `${role} ${name}`.replace(/\\s+/g, " ").slice(0, 80); }"""
    )


def tab_to(page: Page, wanted: str, most: int = 40) -> None:
    """Press Tab until the focus is on what matches."""
    seen = []
    for _ in range(most):
        page.keyboard.press("Tab")
        seen.append(focused(page))
        if re.search(wanted, seen[-1]):
            return
    pytest.fail(f"Tab never reached {wanted}; it went {seen}")


def shown(page: Page) -> str:
    """All text of the page below its pickers: from the first heading under the title on."""
    return page.locator("main").inner_text().split("\n", 1)[1]


@pytest.mark.parametrize(("name", "width"), VIEWS)
def test_another_picture_gives_other_answers_without_a_jump_and_a_bad_one_gets_a_sentence(
    server: str, page: Page, name: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(WATCH_SHIFTS)
    open_view(page, f"{server}/{name}")
    measured(page)  # its end moves things too
    settle(page)
    before = shown(page)
    assert wrong_room(page, ROOM_PX) == []
    take_shifts(page)
    page.get_by_role("radio", name="Temple").click()
    expect(page).to_have_url(re.compile("pic=Temple"), timeout=SLOW)
    settle(page)
    shifts = take_shifts(page)
    assert sum(shift["value"] for shift in shifts) <= MOST_SHIFT, shifts
    assert shown(page) != before or name in ("budget", "architecture")  # where nothing but a figure may change
    page.get_by_role("radio", name="Your own").click()
    page.get_by_test_id("stFileUploader").filter(has_text="A picture of your own").locator(
        "input[type=file]"
    ).set_input_files({"name": "cut.png", "mimeType": "image/png", "buffer": png("gray")["buffer"][:60]})
    expect(page.get_by_text("The file ends early, is damaged or of a rare kind.")).to_be_visible(timeout=SLOW)
    expect(page.locator(".player")).to_have_count(0)
    assert width_of(page) <= width


@pytest.mark.slow
def test_a_picture_of_nothing_is_said_to_be_none_of_the_classes(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens?pic=Your+own")
    page.get_by_test_id("stFileUploader").filter(has_text="A picture of your own").locator(
        "input[type=file]"
    ).set_input_files(png("gray"))
    expect(page.get_by_text("Probably nothing that this model knows.")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(re.compile("African elephant, banana, bell pepper.*tractor"))).to_be_visible()


@pytest.mark.slow
def test_a_download_without_a_network_says_how_much_and_then_what_to_do(server: str, page: Page) -> None:
    open_view(page, f"{server}/compare")
    page.get_by_role("button", name="Other models").click()
    page.get_by_role("radio", name="timm").click()
    expect(page.get_by_text("a download of about 23 MB, once; needs a network")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Download, about 23 MB").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_text("cannot be reached from this machine")).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("button", name="Try again, about 23 MB")).to_be_visible()


def test_a_weights_file_is_refused_with_the_wrong_names_and_then_used(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens")
    page.get_by_role("button", name="Other models").click()
    page.get_by_role("radio", name="Local file").click()
    page.get_by_role("textbox", name="Path on the machine").fill(str(WEIGHTS))
    names = page.get_by_role("region", name="Class names").locator("input[type=file]")
    names.set_input_files({"name": "names.txt", "mimeType": "text/plain", "buffer": b"one\ntwo\n"})
    expect(page.get_by_text("names.txt")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Open this file").click()
    expect(page.get_by_text("There are 2 class names, but the model knows 26 classes")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Remove names.txt").or_(page.get_by_label("Remove file")).first.click()
    page.get_by_role("button", name="Open this file").click()
    page.get_by_role("button", name="Use it here").click(timeout=SLOW)
    settle(page)
    page.keyboard.press("Escape")
    expect(page.get_by_text("Real trained weights: bundled-tokens.safetensors").first).to_be_visible(timeout=SLOW)
    assert "model=" in page.url


def test_the_keyboard_alone_reaches_picture_models_and_panel(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens")
    page.keyboard.press("Tab")
    assert "Skip to main content" in focused(page)
    tab_to(page, "^radio Coffee")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page).to_have_url(re.compile("pic=Koala"), timeout=SLOW)
    settle(page)
    tab_to(page, "Model")
    tab_to(page, "^button .*Other models")
    page.keyboard.press("Enter")
    expect(page.get_by_role("radio", name="timm")).to_be_visible(timeout=SLOW)
    tab_to(page, "^radio Bundled")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_text("a download of about 23 MB")).to_be_visible(timeout=SLOW)
    tab_to(page, "^button .*Download, about 23 MB")
    page.keyboard.press("Escape")
    expect(page.get_by_role("radio", name="timm")).to_be_hidden(timeout=SLOW)
    tab_to(page, "Share this view", most=60)
    page.keyboard.press("Enter")
    expect(page.get_by_text("python -m core predict tests/assets/samples/koala.jpg").first).to_be_visible(timeout=SLOW)
    tab_to(page, "python -m core predict")  # Streamlit's copy button takes no focus; its block of text does


@pytest.mark.slow
def test_the_link_of_the_panel_reopens_the_view_on_a_fresh_server(
    server: str, fresh_server: str, browser: Browser
) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    open_view(page, f"{server}/tokens?pic=Temple&method=Keep+ratio&keep=0.5")
    page.get_by_text("Share this view").click()
    link = page.get_by_text(re.compile(r"^http://127\.0\.0\.1:\d+/tokens\?")).first.inner_text()
    headline = page.get_by_role("heading", level=2).first.inner_text()
    context.close()
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    open_view(page, link.replace(server, fresh_server))
    expect(page.get_by_role("heading", name=headline)).to_be_visible(timeout=SLOW)
    expect(page.get_by_role("radio", name="Temple")).to_be_checked()
    context.close()
