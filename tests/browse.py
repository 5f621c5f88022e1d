"""Opening pages of the app in a browser, and measuring what a person would notice: sideways scrolling, jumps."""

from weakref import WeakKeyDictionary

from playwright.sync_api import Page, WebSocket, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

SLOW = 180_000
"""Milliseconds after which what must come is given up; no claim, since the machine may be busy with other work."""
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


class Traffic:
    """What a page asks of its server, and whether the last of that has been answered."""

    ENDS = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)

    def __init__(self, page: Page) -> None:
        """Of a page that has not been opened yet."""
        self.waits_for = ""
        """What has still to come: a run that was asked for, its end, or nothing."""
        page.on("websocket", self._meet)

    def _meet(self, socket: WebSocket) -> None:
        socket.on("framesent", self._asked)
        socket.on("framereceived", self._heard)

    def _asked(self, said: str | bytes) -> None:
        if isinstance(said, bytes):
            asked = BackMsg.FromString(said)
            if asked.WhichOneof("type") == "rerun_script" and not asked.rerun_script.is_auto_rerun:
                self.waits_for = "run"

    def _heard(self, said: str | bytes) -> None:
        if isinstance(said, bytes):
            heard = ForwardMsg.FromString(said)
            kind = heard.WhichOneof("type")
            if kind == "new_session" and self.waits_for == "run":
                self.waits_for = "end"
            elif kind == "script_finished" and self.waits_for == "end" and heard.script_finished in self.ENDS:
                self.waits_for = ""


_TRAFFIC: WeakKeyDictionary[Page, Traffic] = WeakKeyDictionary()


def watch_traffic(page: Page) -> Page:
    """For `settle`: before the page is opened."""
    if page not in _TRAFFIC:
        _TRAFFIC[page] = Traffic(page)
    return page


def open_view(page: Page, url: str) -> None:
    """Go to an address of the app and wait until nothing runs there any more."""
    watch_traffic(page)
    page.goto(url)
    settle(page)


def settle(page: Page) -> None:
    """Wait until what the page has asked its server for has been answered, and what came of it is drawn."""
    page.wait_for_selector("h1", timeout=SLOW)
    page.wait_for_timeout(150)  # a click takes a moment until the page asks
    for _ in range(SLOW // 50):  # it may ask for a part of a page that is gone, which nobody answers
        if page not in _TRAFFIC or not _TRAFFIC[page].waits_for:
            break
        page.wait_for_timeout(50)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=SLOW)
    page.wait_for_function("!document.querySelector('[data-stale=\"true\"]')", timeout=SLOW)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=SLOW)  # scripts of parts
    page.wait_for_timeout(250)


def measured(page: Page) -> None:
    """Wait until no note says any more that something is being measured: it ends in a number or in a sentence."""
    expect(page.locator(".note", has_text="being measured")).to_have_count(0, timeout=SLOW)


def width_of(page: Page) -> int:
    """How wide the page is; more than the window means scrolling sideways."""
    return page.evaluate("document.documentElement.scrollWidth")


def take_shifts(page: Page) -> list[dict]:
    """Layout shifts since the last call; `page.add_init_script(WATCH_SHIFTS)` first."""
    return page.evaluate("window.shifts.splice(0)")


def wrong_room(page: Page, most: float) -> list[str]:
    """Where the room kept for what comes late differs by more than `most` pixels from what it takes."""
    return page.evaluate(WRONG_ROOM, most)
