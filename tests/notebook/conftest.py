"""The configuration's section `games`, a notebook that is served, and a browser."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pjap_bench import config

NOTEBOOK = config.ROOT / "pjap_bench" / "notebook" / "games.py"
# Set by .ci/run: then a machine without a browser is a failure, not a reason to skip.
REQUIRED = "PJAP_BENCH_NEEDS_BROWSER"


@pytest.fixture(scope="session")
def games() -> dict:
    return config.load("paper")["games"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of the notebook, served as `make notebook` does."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "MARIMO_"))}
    command = [sys.executable, "-m", "marimo", "run", NOTEBOOK, "--headless", "--include-code", "--port", str(port)]
    log = home / "server.log"
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command, cwd=config.ROOT, env=environment | {"HOME": str(home)}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _await_server(server, f"{address}/health", log)
        yield address
    finally:
        _end_group(server)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, through its driver."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        reason = "needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    profile = tmp_path_factory.mktemp("chromium")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(programs["chromedriver"], popen_kw={"start_new_session": True})
    try:
        driver = webdriver.Chrome(options=options, service=service)
        try:
            driver.set_page_load_timeout(60)
            yield driver
        finally:
            driver.quit()
    finally:
        if getattr(service, "process", None):
            _end_group(service.process)
        _end_processes_of(profile)


def _await_server(server: subprocess.Popen, address: str, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(address, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    pytest.fail(f"no answer within a minute: {log.read_text()}")


def _end_group(process: subprocess.Popen) -> None:
    """Ends a process and what it started, which is its group."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return


def _end_processes_of(profile: Path) -> None:
    """Chromium's processes have groups of their own; the profile's folder in their arguments tells them from others'."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(profile) in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
