"""How the app bears many people at once: `make bench-load`. Visitors move a slider, and what they see is checked.

Each visitor is a browser context of its own with its own picture, and moves the threshold on the Tokens page, thinks a
while, and moves it again. What the headline says for a picture and a threshold is first noted with one visitor alone;
under load another text is counted as wrong. The browser runs on the same machine as the server, and takes its share.

How long 200 people would wait on several such servers follows from those service times, by simulation: arrivals at
random, one queue a server, first come first served.
"""

import argparse
import asyncio
import json
import random
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from core.latency.measure import clock
from tests.bench_app import ROOT, machine, served
from tests.find_chromium import NONE, find_chromium
from tests.serving import CHROMIUM_FLAGS

OUT = ROOT / "assets" / "app-load.md"
WAIT_MS = 300_000
STEP = 0.01
"""Of the slider."""
VALUES = tuple(f"{value / 100:.2f}" for value in range(45, 56))
THINK_S = 8.0
"""Mean pause between what a visitor sees and the next move."""
SERVERS = (1, 4, 8)


@dataclass(frozen=True)
class Move:
    """One move of one visitor."""

    picture: str
    value: str
    seconds: float
    """From the control to the headline that says this value."""
    headline: str


def pictures() -> list[str]:
    """Titles of the app's own pictures."""
    told = json.loads((ROOT / "assets" / "samples" / "samples.json").read_text(encoding="utf-8"))
    return [one["title"] for one in (told.values() if isinstance(told, dict) else told)]


async def visit(browser: Browser, url: str, picture: str) -> Page:
    """A new visitor before the Tokens page, threshold in hand."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    page = await context.new_page()
    await page.goto(f"{url}/tokens?method=Threshold&threshold=0.5&pic={picture.replace(' ', '+')}")
    await expect(headline_of(page)).to_have_text(re.compile("^Threshold 0.50: "), timeout=WAIT_MS)
    return page


def headline_of(page: Page) -> Locator:
    """What the page says in large."""
    return page.get_by_role("heading", level=2).first


async def move(page: Page, picture: str, value: str, now: str) -> Move:
    """Set the threshold as a person at the keyboard does, and wait for the headline that says so."""
    slider = page.get_by_role("slider", name=re.compile("Keep a patch"))
    await slider.focus()
    presses = round((float(value) - float(now)) / STEP)
    begun = clock()
    for _ in range(abs(presses)):
        await page.keyboard.press("ArrowRight" if presses > 0 else "ArrowLeft")
    await expect(headline_of(page)).to_have_text(re.compile(f"^Threshold {re.escape(value)}: "), timeout=WAIT_MS)
    seconds = clock() - begun
    return Move(picture, value, seconds, await headline_of(page).inner_text())


async def visitor(browser: Browser, url: str, picture: str, until: float, seed: int) -> list[Move]:
    """One person, until the time is up."""
    draw = random.Random(seed)
    await asyncio.sleep(draw.uniform(0, THINK_S))
    page, moves, last = await visit(browser, url, picture), [], "0.50"
    while clock() < until:
        await asyncio.sleep(draw.expovariate(1 / THINK_S))
        now, last = last, draw.choice([value for value in VALUES if value != last])
        moves.append(await move(page, picture, last, now))
    await page.context.close()
    return moves


async def alone(browser: Browser, url: str) -> list[Move]:
    """Every picture at every threshold, seen by one visitor."""
    found = []
    for picture in pictures():
        page = await visit(browser, url, picture)
        way = ("0.50", *VALUES, "0.50")
        found += [await move(page, picture, value, now) for now, value in pairwise(way) if now != value]
        await page.context.close()
    return found


def memory_mb(port: int) -> float:
    """Resident memory of the server that listens on this port, megabytes."""
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"--server.port={port}".encode() in status.read_bytes():
                text = (status.parent / "status").read_text()
                return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024
        except (OSError, AttributeError):
            continue
    return float("nan")


def simulated(service_s: np.ndarray, people: int, servers: int, seed: int = 0) -> tuple[float, float]:
    """Median and 95th percentile of the seconds from a control to its answer.

    Args:
        service_s: What one move takes of a server that has nothing else to do, drawn from at random.
        people: Each thinks for `THINK_S` in the mean once its answer is there, then moves again.
        servers: Each with one queue; a person stays with one.
        seed: Of the draws.
    """
    draw = np.random.default_rng(seed)
    free = np.zeros(servers)
    ready = sorted((float(draw.exponential(THINK_S)), person) for person in range(people))
    waits = []
    for _ in range(100 * people):
        at, person = ready.pop(0)
        server = person % servers
        end = max(at, free[server]) + float(draw.choice(service_s))
        free[server] = end
        waits.append(end - at)
        later = (end + float(draw.exponential(THINK_S)), person)
        ready.insert(int(np.searchsorted([when for when, _ in ready], later[0])), later)
    return tuple(float(value) for value in np.percentile(waits[10 * people :], (50, 95)))


async def measure(people: int, minutes: float) -> str:
    """Run it, as Markdown."""
    path = find_chromium()
    if path is None:
        raise SystemExit(NONE)
    where = machine()
    with served() as url:
        port = int(url.rsplit(":", 1)[1])
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
            reference = await alone(browser, url)
            first_mb, until = memory_mb(port), clock() + 60 * minutes
            names = pictures()
            crowd = (visitor(browser, url, names[n % len(names)], until, n) for n in range(people))
            moves = [one for found in await asyncio.gather(*crowd) for one in found]
            last_mb = memory_mb(port)
            await browser.close()
    said = {(one.picture, one.value): one.headline for one in reference}
    wrong = sum(said[one.picture, one.value] != one.headline for one in moves)
    single, many = (np.array([one.seconds for one in group]) for group in (reference, moves))
    rows = [("one visitor", single), (f"{people} visitors, {minutes:g} minutes", many)]
    lines = [
        "# How the app bears many people",
        "",
        f"Measured by `make bench-load` on: {where} The browser ran on the same machine.",
        "",
        "Seconds from a control (the threshold on the Tokens page) to the headline that says its answer; each visitor "
        f"has a session of its own, pauses {THINK_S:g} s in the mean, and moves again.",
        "",
        "| who | moves | median | 95th percentile | slowest |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, times in rows:
        median, late = np.percentile(times, (50, 95))
        lines.append(f"| {name} | {len(times)} | {median:.2f} | {late:.2f} | {times.max():.2f} |")
    lines += [
        "",
        f"Answers that were another picture's or another setting's: {wrong} of {len(moves)}. Memory of the server: "
        f"{first_mb:.0f} MB before, {last_mb:.0f} MB after.",
        "",
        "## 200 people, simulated",
        "",
        "From the single visitor's times, browser included: arrivals at random, each person on one server throughout, "
        "one queue a server.",
        "",
        "| servers | median | 95th percentile |",
        "| ---: | ---: | ---: |",
    ]
    for servers in SERVERS:
        median, late = simulated(single, 200, servers)
        lines.append(f"| {servers} | {median:.1f} s | {late:.1f} s |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--print", action="store_true", help="write no file")
    chosen = parser.parse_args()
    text = asyncio.run(measure(chosen.people, chosen.minutes))
    print(text)
    if not chosen.print:
        OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
