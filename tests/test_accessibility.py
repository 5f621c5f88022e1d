"""Every page, light and dark, from a phone to a large screen: axe-core, sideways scrolling, names, the keyboard."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.axe import findings
from tests.browse import PAGES, SLOW, open_view, settle, watch_traffic, width_of

WIDTHS = (390, 768, 1440, 1920)
AXE_WIDTHS = (390, 1440)
VIEWS = [
    pytest.param(theme, name, marks=() if (theme == "dark") is bool(index % 2) else pytest.mark.slow)
    for theme in ("light", "dark")
    for index, name in enumerate(PAGES)
]
"""Themes take turns from page to page; what they leave out is slow."""


@pytest.fixture(scope="module")
def themed(request, browser: Browser) -> Iterator[Page]:
    """A page in a theme, kept from test to test: a visit costs less than a new window."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme=request.param)
    page = watch_traffic(context.new_page())
    page.emulate_media(reduced_motion="reduce")
    yield page
    context.close()


NAMELESS = """() => [...document.querySelectorAll("main img, main canvas, main [role=img], main svg.main-svg")]
    .filter(e => e.checkVisibility() && !e.closest("[aria-hidden=true]") && !e.closest("[aria-label]")
        && !e.hasAttribute("alt") && !e.closest("[role=img][aria-labelledby]"))
    .map(e => e.outerHTML.slice(0, 200))"""
"""Pictures without a text; axe does not know canvases and charts."""
UNNAMED = re.compile(r"^\s*- (?:slider|combobox|radio|textbox|checkbox|button)(?: \[.*\])?:?$", re.MULTILINE)
"""A control without a name, in Playwright's snapshot of what a screen reader finds."""


def faults(page: Page) -> list[str]:
    """What axe finds on the page, a line each."""
    return [f"{f.rule}: {f.html}\n    in {f.inside}\n    {f.why}" for f in findings(page)]


@pytest.mark.parametrize(("themed", "name"), VIEWS, indirect=["themed"])
def test_page_has_no_serious_finding_no_sideways_scrolling_and_a_name_for_everything(
    server: str, themed: Page, name: str
) -> None:
    themed.set_viewport_size({"width": 1440, "height": 900})
    open_view(themed, f"{server}/{name}")
    assert themed.evaluate(NAMELESS) == []
    assert UNNAMED.findall(themed.locator("main").aria_snapshot()) == []
    if name:
        themed.get_by_text("Share this view").click()
        settle(themed)
    for width in WIDTHS:
        themed.set_viewport_size({"width": width, "height": 900})
        themed.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width, timeout=SLOW)
        if width in AXE_WIDTHS:
            assert not faults(themed), "\n".join(faults(themed))


@pytest.mark.parametrize("themed", ["light", pytest.param("dark", marks=pytest.mark.slow)], indirect=True)
def test_pickers_and_errors_have_no_serious_finding(server: str, themed: Page) -> None:
    dark = themed.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    width = AXE_WIDTHS[dark]  # each theme on one screen: the other axe runs above cover both
    themed.set_viewport_size({"width": width, "height": 900})
    open_view(themed, f"{server}/tokens?pic=Your+own")
    themed.get_by_test_id("stFileUploader").filter(has_text="A picture of your own").locator(
        "input[type=file]"
    ).set_input_files({"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    expect(themed.get_by_text("That file is not a picture that can be read")).to_be_visible(timeout=SLOW)
    assert not faults(themed), "\n".join(faults(themed))
    themed.get_by_role("button", name="Other models").click()
    for source in ("Bundled", "timm", "Released", "Local file"):
        themed.get_by_role("radio", name=source).click()
        settle(themed)
        themed.mouse.move(0, 0)
        assert width_of(themed) <= width
        assert not faults(themed), "\n".join(faults(themed))
    themed.get_by_role("button", name="Open this file").click()
    expect(themed.get_by_text("No file was given")).to_be_visible(timeout=SLOW)
    assert not faults(themed), "\n".join(faults(themed))
