"""How fast the app answers: `make bench-app`. Moves each control of each page, times it, writes assets/app-speed.md.

Server: what Python computes from a control's event to the last element of the new page, in the light theme, under
AppTest, which adds the reading of all elements. First paint: Chromium, a visitor without a cache, a server that has
served the page before. To measure another control, add a line to `CONTROLS`.
"""

import argparse
import logging
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import streamlit
import torch
from playwright.sync_api import sync_playwright
from streamlit.runtime.context import ContextProxy
from streamlit.testing.v1 import AppTest

from core.latency.measure import clock, timed
from pages.server import queues
from tests.find_chromium import NONE, find_chromium
from tests.serving import CHROMIUM_FLAGS, end, healthy

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "assets" / "app-speed.md"
TARGET_MS, TARGET_PAINT_S = 200, 3
LIGHT = SimpleNamespace(type="light")
"""The theme: charts are drawn in another ink there than Streamlit's."""
PICTURES = ("Cat", "Goldfish", "Frying pan", "Rocket", "Koala", "Coffee")
RATIOS = tuple(round(0.1 + 0.05 * step, 2) for step in range(19))
BUDGETS = tuple(range(50, 100, 3))


@dataclass(frozen=True)
class Control:
    """One control, and what it is set to in turn."""

    page: str
    name: str
    key: str
    """Of the widget; a component's, or one that is not drawn, is set through the URL."""
    values: Sequence
    query: Mapping[str, str] = field(default_factory=dict)
    """The link that the page is opened with."""


KEEP, PATH = {"method": "Keep ratio"}, {"b": "bundled-singlepath~budget=60"}
CONTROLS = (
    Control("tokens", "Picture", "pic", PICTURES),
    Control("tokens", "Selection rule", "method", ("Keep ratio", "The model")),
    Control("tokens", "Keep ratio", "keep", RATIOS, KEEP),
    Control("tokens", "Stage", "stage", (0, 1, 2, 3), KEEP),
    Control("tokens", "Model", "model", ("bundled-dense", "bundled-tokens")),
    Control("tokens", "Threshold", "threshold", RATIOS[:-2], {"method": "Threshold"}),
    Control("tokens", "Patch", "token", (1, 40, 78, 130), KEEP),
    Control("tokens", "Tab", "details", ("Packages", "All patches", "Scores")),
    Control("tokens", "Selector of the heads", "heads_of", (2, 3, 1)),
    Control("architecture", "Picture", "pic", PICTURES),
    Control("architecture", "Budget", "budget", BUDGETS),
    Control("architecture", "Block", "block", (2, 7, 11, 0)),
    Control("architecture", "Published architecture", "published", ("deit_bs_l006_t100", "swin_tn_l28_t32")),
    Control("budget", "Picture", "pic", PICTURES),
    Control("budget", "Keep ratio", "keep", RATIOS),
    Control("budget", "Budget", "budget", BUDGETS),
    Control("budget", "Model", "model", ("bundled-singlepath", "bundled-tokens")),
    Control("budget", "Limit", "limit", (30.0, 20.0, 12.0)),
    Control("budget", "Axis of the frontier", "cost", ("ms", "macs")),
    Control("compare", "Picture", "pic", PICTURES),
    Control("compare", "Model A", "a_model", ("bundled-singlepath", "bundled-tokens", "bundled-dense")),
    Control("compare", "Tab", "view", ("Many photos", "One photo")),
    Control("compare", "Model B", "b_model", ("bundled-singlepath", "bundled-tokens", "bundled-dense")),
    Control("compare", "Selection rule in B", "b_how", ("The model", "Threshold", "Keep ratio")),
    Control("compare", "Keep ratio of B", "b_keep", RATIOS),
    Control("compare", "Threshold of B", "b_threshold", RATIOS[:-2], {"b": "bundled-tokens~threshold=0.5"}),
    Control("compare", "Budget of B", "b_budget", BUDGETS, PATH),
    Control("compare", "Class", "cls", ("pizza", "teapot")),
)
PAGES = ("", "tokens", "architecture", "budget", "compare")


def server_times(control: Control, count: int) -> np.ndarray:
    """Milliseconds of `count` moves of a control, (count, 2): on the clock, and of all cores together."""
    ContextProxy.theme = LIGHT  # AppTest has none
    streamlit.cache_data.clear()  # a visitor's findings are another's here, since AppTest has no sessions; models stay
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    at.switch_page(f"pages/{control.page}.py")
    for key, value in control.query.items():
        at.query_params[key] = value
    at.run()
    queues.measurements().wait()  # what is measured beside the page would share the cores
    at.run()
    times = []
    for step in range(count):
        move(at, control.key, control.values[step % len(control.values)])
        busy = time.process_time()
        took_ms, _ = timed(at.run)
        times.append((took_ms, 1e3 * (time.process_time() - busy)))
        if at.exception:
            raise SystemExit(f"{control.page}, {control.name}: {at.exception[0].value}")
    return np.array(times)


def move(at: AppTest, key: str, value: object) -> None:
    """Set the widget of this key, or the URL where there is none."""
    if key in ("details", "view"):  # tabs are no widgets of AppTest's
        at.session_state[key] = value
        return
    for kind in ("slider", "select_slider", "selectbox", "button_group", "number_input"):
        for widget in at.get(kind):
            if widget.key == key:
                widget.set_value(value)
                return
    at.query_params[key] = str(value)


@contextmanager
def served() -> Iterator[str]:
    """The address of a server of the app."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if not healthy(f"http://127.0.0.1:{port}", process):
            raise SystemExit("The app did not start.")
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def paint_times(count: int) -> dict[str, list[tuple[float, float]]]:
    """Per page `count` times seconds to its heading, and to all of it, for a new visitor of a warm server."""
    path = find_chromium()
    if path is None:
        raise SystemExit(NONE)
    found: dict[str, list[tuple[float, float]]] = {page: [] for page in PAGES}
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        for turn in range(count + 1):
            for name in PAGES:
                context = browser.new_context(viewport={"width": 1440, "height": 900})
                page = context.new_page()
                begun = clock()
                page.goto(f"{url}/{name}", wait_until="commit")
                page.get_by_role("heading", level=1).wait_for(timeout=120_000)
                heading = clock() - begun
                page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=120_000)
                if turn:  # the first visit warms the server
                    found[name].append((heading, clock() - begun))
                context.close()
        browser.close()
    return found


def machine() -> str:
    """What it was measured on, in a sentence."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads for torch {torch.__version__}, "
        f"Python {platform.python_version()}, Streamlit {streamlit.__version__}, {time.strftime('%Y-%m-%d')}; "
        f"load average at the start {load:.1f} (0 is an idle machine)."
    )


def report(where: str, rows: list[tuple[Control, np.ndarray]], paints: dict[str, list[tuple[float, float]]]) -> str:
    """The two tables as Markdown."""
    lines = [
        "# How fast the app answers",
        "",
        f"Measured by `make bench-app` on: {where}",
        "",
        "## From a control to the new page, on the server",
        "",
        "Milliseconds that Python takes from a control's event to the last element, in the light theme; target: at "
        f"most {TARGET_MS} ms at the 95th percentile. Each move goes to a value that this session has not seen until "
        "all were seen. Processor time is that of all cores together; where it is far below the clock, others were at "
        "work on the machine.",
        "",
        "| page | control | moves | median | 95th percentile | processor, median | within the target |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for control, times in rows:
        (median, late), busy = np.percentile(times[:, 0], (50, 95)), np.median(times[:, 1])
        within = "yes" if late <= TARGET_MS else "no"
        lines.append(
            f"| {control.page} | {control.name} | {len(times)} | {median:.0f} | {late:.0f} | {busy:.0f} | {within} |"
        )
    if paints:
        lines += [
            "",
            "## First paint on a warm server",
            "",
            f"Seconds in Chromium from the address to the heading, and until nothing is computed any more, for a "
            f"visitor without a cache; target: {TARGET_PAINT_S} s.",
            "",
            "| page | visits | heading, median | all, median | all, slowest |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for page, times in paints.items():
            heading, whole = np.array(times).T
            lines.append(
                f"| {page or 'home'} | {len(times)} | {np.median(heading):.2f} | {np.median(whole):.2f} | "
                f"{whole.max():.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40, help="of each control")
    parser.add_argument("--visits", type=int, default=5, help="of each page; 0 measures no first paint")
    parser.add_argument("--only", default="", help="only this page, and write nothing")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    where, rows = machine(), []
    for control in CONTROLS:
        if chosen.only in ("", control.page):
            times = server_times(control, chosen.moves)
            rows.append((control, times))
            median, late = np.percentile(times, (50, 95))
            print(
                f"{control.page:14}{control.name:26}median {median:5.0f} ms   95th percentile {late:5.0f} ms",
                flush=True,
            )
    paints = paint_times(chosen.visits) if chosen.visits else {}
    text = report(where, rows, paints)
    print(text)
    if not chosen.only:
        OUT.write_text(text)


if __name__ == "__main__":
    main()
