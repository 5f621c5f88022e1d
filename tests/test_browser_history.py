"""Back and Forward: each takes back, or does again, one thing that a person has done, on any page."""

import re

from playwright.sync_api import Page, expect

from tests.browse import SLOW, open_view, settle


def entries(page: Page) -> int:
    return page.evaluate("history.length")


def chosen(page: Page) -> list[str]:
    """What is chosen in the page's groups and tabs, in their order."""
    settle(page)
    return page.locator('[data-testid="stMain"] :is([aria-checked="true"], [aria-selected="true"])').all_inner_texts()


def address(page: Page) -> str:
    settle(page)
    return page.url.rpartition("/")[2]


def test_back_and_forward_restore_picture_mode_and_tab(server: str, page: Page) -> None:
    open_view(page, f"{server}/tokens")
    assert chosen(page)[:3] == ["Coffee", "Keep ratio", "Scores"]
    start = entries(page)
    for step in (
        page.get_by_role("radio", name="Cat").or_(page.get_by_text("Cat", exact=True)).first,
        page.get_by_text("Threshold", exact=True).first,
        page.get_by_role("tab", name="Packages"),
    ):
        step.click()
        settle(page)
    assert entries(page) == start + 3
    page.go_back()
    assert chosen(page)[:3] == ["Cat", "Threshold", "Scores"]
    page.go_back()
    assert chosen(page)[:3] == ["Cat", "Keep ratio", "Scores"]
    page.go_back()
    assert chosen(page)[:3] == ["Coffee", "Keep ratio", "Scores"]
    page.go_forward()
    page.go_forward()
    assert chosen(page)[:3] == ["Cat", "Threshold", "Scores"]


def test_one_drag_and_one_page_are_one_entry_each_and_back_leads_through_them(server: str, page: Page) -> None:
    open_view(page, f"{server}/budget?pic=Cat")
    keep = page.get_by_role("slider", name=re.compile("Keep ratio")).first
    expect(keep).to_have_value("0.7", timeout=SLOW)
    settle(page)
    start, before = entries(page), address(page)
    box = keep.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.65 * box["width"], middle)
    page.mouse.down()
    for part in (0.5, 0.35, 0.2):
        page.mouse.move(box["x"] + part * box["width"], middle)
    page.mouse.up()
    settle(page)
    dragged, after = keep.input_value(), address(page)
    assert dragged != "0.7"
    assert entries(page) == start + 1

    page.get_by_role("link", name="Compare").first.click()
    expect(page.get_by_role("heading", name="Does it still agree?")).to_be_visible(timeout=SLOW)
    settle(page)
    assert entries(page) == start + 2

    page.go_back()
    expect(keep).to_have_value(dragged, timeout=SLOW)
    assert address(page) == after
    page.go_back()
    expect(keep).to_have_value("0.7", timeout=SLOW)
    assert address(page) == before
    page.go_forward()
    expect(keep).to_have_value(dragged, timeout=SLOW)
    page.go_forward()
    expect(page.get_by_role("heading", name="Does it still agree?")).to_be_visible(timeout=SLOW)
    assert entries(page) == start + 2


def test_an_architecture_that_was_dragged_is_taken_back(server: str, page: Page) -> None:
    open_view(page, f"{server}/architecture?budget=60")
    slider = page.get_by_role("slider", name=re.compile("Budget"))
    start = entries(page)
    slider.press("Home")
    expect(page).to_have_url(re.compile("budget=30"), timeout=SLOW)
    settle(page)
    assert entries(page) == start + 1
    page.go_back()
    expect(slider).to_have_value("60", timeout=SLOW)
    assert address(page) == "architecture?budget=60"


def test_what_b_of_compare_is_set_to_is_what_the_other_pages_show(server: str, page: Page) -> None:
    open_view(page, f"{server}/compare?b=bundled-tokens~threshold%3D0.4")
    page.get_by_role("link", name="Tokens").first.click()
    expect(page.get_by_role("heading", name=re.compile("^Threshold 0.40: "))).to_be_visible(timeout=SLOW)
    page.go_back()
    expect(page.get_by_role("slider", name=re.compile("Keep probability above, B"))).to_be_visible(timeout=SLOW)
    settle(page)
    page.get_by_role("combobox", name="Model B").click()
    page.get_by_role("option", name="bundled-singlepath").click()
    page.get_by_role("slider", name=re.compile("Budget of B")).press("Home")
    expect(page).to_have_url(re.compile(r"budget%3D30"), timeout=SLOW)
    settle(page)
    page.get_by_role("link", name="Architecture").first.click()
    expect(page.get_by_role("slider", name=re.compile("Budget"))).to_have_value("30", timeout=SLOW)
