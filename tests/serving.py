"""A server of the app as a process, and how a Chromium is started: for the browser tests and for the benchmarks."""

import signal
import subprocess
import time
import urllib.request

START_S = 300
"""No claim: a server that has not ended answers by then, however busy the machine is."""
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def healthy(url: str, process: subprocess.Popen) -> bool:
    """Wait until the server answers; False if it ended or is silent for too long."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no part in this
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with direct.open(f"{url}/_stcore/health", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.1)
    return False


def end(process: subprocess.Popen) -> None:
    """End this process and no other."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
