"""Opening pages of the app in a browser, and measuring what a person would notice: sideways scrolling, jumps."""

from playwright.sync_api import Page

SLOW = 60_000
"""Milliseconds; the first visit imports torch and loads weights."""
PAGES = ("", "tokens", "architecture", "budget", "compare")
WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(entry => ({
    value: entry.value, at_ms: entry.startTime,
    moved: entry.sources.slice(0, 3).map(({node, previousRect: a, currentRect: b}) => {
        const near = (node?.nodeType === 1 ? node : node?.parentElement)?.closest("[data-testid]");
        return `${near?.dataset.testid} "${(near?.innerText ?? "").slice(0, 40)}" from ${a.y} to ${b.y}`;
    }),
})))).observe({type: "layout-shift", buffered: true});
"""

WRONG_ROOM = """most => [...document.querySelectorAll('[class*="st-key-"]')].flatMap(e => {
    const kept = parseFloat(getComputedStyle(e).minHeight) || 0;
    const taken = Math.max(0, ...[...e.children].map(child => child.getBoundingClientRect().height));
    const fits = kept < 32 || Math.abs(kept - taken) <= most;
    return fits ? [] : [`${e.className.match(/st-key-\\S+/)[0]}: ${kept} for ${taken}`];
})"""


def open_view(page: Page, url: str) -> None:
    """Go to an address of the app and wait until nothing runs there any more."""
    page.goto(url)
    settle(page)


def settle(page: Page) -> None:
    """Wait until the page has a title and its script has run, and what came from it is drawn."""
    page.wait_for_selector("h1", timeout=SLOW)
    page.wait_for_timeout(150)  # a click takes a moment until the script starts
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=SLOW)
    page.wait_for_function("!document.querySelector('[data-stale=\"true\"]')", timeout=SLOW)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=SLOW)  # scripts of parts
    page.wait_for_timeout(250)


def width_of(page: Page) -> int:
    """How wide the page is; more than the window means scrolling sideways."""
    return page.evaluate("document.documentElement.scrollWidth")


def take_shifts(page: Page) -> list[dict]:
    """Layout shifts since the last call; `page.add_init_script(WATCH_SHIFTS)` first."""
    return page.evaluate("window.shifts.splice(0)")


def wrong_room(page: Page, most: float) -> list[str]:
    """Where the room kept for what comes late differs by more than `most` pixels from what it takes."""
    return page.evaluate(WRONG_ROOM, most)
