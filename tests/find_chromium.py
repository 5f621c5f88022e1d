"""Finds a Chromium for the browser tests; `python tests/find_chromium.py --install` gets one where there is none."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_APPS = ("Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium")
PLAYWRIGHT_PLACES = (
    "chromium-*/chrome-linux*/chrome",
    "chromium-*/chrome-mac*/*.app/Contents/MacOS/*",
    "chromium_headless_shell-*/*/*headless*shell",
)
NONE = "The browser tests need a Chromium and there is none here: apt install chromium, then run them again."


def find_chromium() -> Path | None:
    """The first Chromium or Chrome on this machine that starts."""
    return next((path for path in _candidates() if _starts(path)), None)


def install_chromium() -> Path | None:
    """Get a Chromium: Playwright's own download, else the system's package; says on stdout what it does."""
    rights = _administrator()
    _say("No Chromium here: trying Playwright's download.")
    with_deps = ["--with-deps"] if rights is not None and shutil.which("apt-get") else []
    install = [sys.executable, "-m", "playwright", "install", "--no-shell", *with_deps, "chromium"]
    if _run(install, timeout_s=600) and (path := find_chromium()):
        return path
    if rights is None or not shutil.which("apt-get"):
        return None
    _say("That gave none: trying apt-get install chromium.")
    _run([*rights, "apt-get", "update"], timeout_s=300)
    _run([*rights, "apt-get", "install", "--yes", "--no-install-recommends", "chromium"], timeout_s=600)
    return find_chromium()


def _candidates() -> Iterator[Path]:
    """Where a Chromium may be: on the path, among the applications of a Mac, in Playwright's cache."""
    for name in NAMES:
        if path := shutil.which(name):
            yield Path(path)
    for folder in (Path("/Applications"), Path.home() / "Applications"):
        yield from (folder / app for app in MAC_APPS)
    caches = [Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"]
    if (chosen := os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "0")) != "0":
        caches.insert(0, Path(chosen))
    for cache in caches:
        for pattern in PLAYWRIGHT_PLACES:
            yield from sorted(cache.glob(pattern), reverse=True)


def _starts(path: Path) -> bool:
    """Whether it tells its version: Ubuntu's `chromium-browser` may be a stub that only asks for a snap."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return "chrom" in answer.stdout.lower()


def _administrator() -> list[str] | None:
    """What to put before a command to run it as root; None where that cannot be. Asks for the password once."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    quiet = [] if sys.stdin.isatty() else ["--non-interactive"]
    return ["sudo"] if subprocess.run(["sudo", *quiet, "--validate"], check=False).returncode == 0 else None


def _run(command: list[str], timeout_s: int) -> bool:
    """Run a command and all that it starts, for so long at most; True if it succeeded."""
    _say("$ " + " ".join(command))
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "15000"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, process_group=0)
    try:
        return process.wait(timeout_s) == 0
    except subprocess.TimeoutExpired:
        _say(f"Stopped after {timeout_s} s.")
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def _say(text: str) -> None:
    """A line for the person."""
    print(text, flush=True)


if __name__ == "__main__":
    found = find_chromium() or (install_chromium() if "--install" in sys.argv[1:] else None)
    _say(f"Chromium: {found}" if found else NONE)
    sys.exit(found is None)
