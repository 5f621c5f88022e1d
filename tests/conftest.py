"""What the browser tests share: a fresh server of the app, a Chromium, and a page in it; and what all tests leave."""

import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streamlit.components.v2 import manifest_scanner

from tests.browse import SLOW, watch_traffic
from tests.find_chromium import NONE, find_chromium
from tests.serving import CHROMIUM_FLAGS, end, healthy
from tests.small_assets import SMALL_ASSETS

os.environ["PRUNESCOPE_ASSETS"] = str(SMALL_ASSETS)  # before `core` is imported; commands and servers inherit it

ROOT = Path(__file__).resolve().parent.parent
expect.set_options(timeout=SLOW)


ONE_SERVER = pytest.StashKey[str]()
"""Base URL of the server of the app that all processes of this run visit, where there is one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make test-slow` records, and what `make test` shares."""
    parser.addoption("--record", metavar="FILE", type=Path, help="write what was found, as Markdown")
    parser.addoption("--one-server", action="store_true", help="one server of the app for all processes of this run")


def pytest_configure(config: pytest.Config) -> None:
    """Start the one server in the process that starts all others; it ends with that."""
    if hasattr(config, "workerinput"):
        if "one_server" in config.workerinput:
            config.stash[ONE_SERVER] = config.workerinput["one_server"]
    elif config.getoption("--one-server"):
        stack = ExitStack()
        config.add_cleanup(stack.close)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        config.stash[ONE_SERVER] = stack.enter_context(run_server(Path(folder)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each of the other processes of it; a hook of pytest-xdist."""
    if ONE_SERVER in node.config.stash:
        node.workerinput["one_server"] = node.config.stash[ONE_SERVER]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the outcome and the time of each test of this run, slowest first."""
    path = config.getoption("--record")
    if path is None or hasattr(config, "workerinput"):
        return
    took: dict[str, float] = {}
    failed: set[str] = set()
    for report in (r for kind in ("passed", "failed", "error") for r in terminalreporter.getreports(kind)):
        took[report.nodeid] = took.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            failed.add(report.nodeid)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout
    lines = [
        f"{len(took) - len(failed)} of {len(took)} passed on {time.strftime('%Y-%m-%d')}, at {commit.strip()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores.",
        "",
        "| test | outcome | seconds |",
        "| --- | --- | ---: |",
        *(
            f"| `{name.removeprefix('tests/')}` | {'failed' if name in failed else 'passed'} | {seconds:.0f} |"
            for name, seconds in sorted(took.items(), key=lambda item: -item[1])
        ),
    ]
    path.write_text("# The slow tests, as `make test-slow` found them last\n\n" + "\n".join(lines) + "\n")


@pytest.fixture(scope="session", autouse=True)
def components_are_looked_for_once() -> Iterator[None]:
    """AppTest reads what all installed packages say of themselves for each app that it opens; here none changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True)
def precision_of_its_own() -> Iterator[None]:
    """One process has one precision of training, as accelerate sees it; tests that train come in any order."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state()


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a server of the app, without a slash at the end."""
    if ONE_SERVER in pytestconfig.stash:
        yield pytestconfig.stash[ONE_SERVER]
        return
    with run_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[str]:
    """The same, for one test: nobody has visited this one yet."""
    with run_server(tmp_path) as url:
        yield url


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """A server with its log in `folder`; it has no weights of timm's and reaches no hub, whatever this machine has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")]
    command += [f"--{name}={value}" for name, value in options.items()]
    environment = os.environ | {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "10000",
        "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there
        "HF_HUB_CACHE": str(folder / "hub"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}"
            if not healthy(url, process):
                pytest.fail(f"The app did not start; its last words:\n{log.read_text(errors='replace')[-2000:]}")
            yield url
        finally:
            end(process)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium without a window, with an empty profile. Where there is none, the test fails; it is never skipped.

    Playwright's event loop then runs in this thread: `asyncio.run` fails until the session ends (AppTest works).
    """
    path = find_chromium()
    if path is None:
        pytest.fail(NONE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of 1440 x 900 that no other test has seen: no cookies, no storage.

    It asks for calm: without a graphics card what moves takes Chromium three times as long as all else on a page. Tests
    of what moves ask for that: `page.emulate_media(reduced_motion="no-preference")`.
    """
    context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(SLOW)
    yield watch_traffic(context.new_page())
    context.close()
