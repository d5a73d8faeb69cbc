"""A real browser without a window, and a server on loopback for the pages that it looks at."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver.chrome.webdriver import WebDriver

BINARY = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BINARY and DRIVER), reason="no browser here: neither Chromium nor its driver are installed"
)
PATIENCE = 30.0
"""Seconds after which a test gives up on something that should have happened at once."""
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server", "--force-color-profile=srgb",
    # Whatever the browser itself would look for elsewhere has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip


class Pages:
    """Pages by their path, and the paths that were asked for."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.asked: list[str] = []
        pages = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pages.asked.append(self.path)
                text = pages.texts.get(self.path.lstrip("/"))
                body = (text or "").encode("utf-8")
                self.send_response(404 if text is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name: str) -> str:
        """Return the address of a page."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"


class Browser:
    """A browser, and what the tests ask it."""

    def __init__(self, driver: WebDriver, pages: Pages) -> None:
        self.driver = driver
        self.pages = pages

    def open(self, text: str, name: str = "page", *, width: int = 1280, height: int = 900) -> None:
        """Look at a page of this text, as if for the first time, in a window of this size."""
        self.settle()
        self.resize(width, height)
        self.pages.texts |= {"blank": "<title>blank</title>", name: text}
        self.driver.get(self.pages.url("blank"))
        self.ask("sessionStorage.clear(), localStorage.clear()")
        self.pages.asked.clear()
        self.logs()
        self.requests()
        self.driver.get(self.pages.url(name))

    def settle(self) -> None:
        """Take back whatever a test before asked the browser to pretend."""
        self.tell("Emulation.setScriptExecutionDisabled", value=False)
        self.tell("Emulation.setEmulatedMedia", media="", features=[])

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window as wide as this, in CSS pixels."""
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def tell(self, command: str, **parameters: Any) -> Any:
        """Send a command of the browser's own protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def ask(self, script: str, *given: Any) -> Any:
        """Return what an expression is, in the page."""
        return self.driver.execute_script(f"return ({script})", *given)

    def press(self, key: str, times: int = 1, *, modifiers: int = 0) -> None:
        """Press a key, as the keyboard would; `modifiers`: 8 is Shift."""
        code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40}.get(key, 0)
        text = {"Enter": "\r", " ": " "}.get(key)
        for _ in range(times):
            pressed = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
            more = {"text": text} if text else {}
            self.tell("Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **pressed, **more)
            self.tell("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **pressed)

    def until(self, script: str, *given: Any) -> None:
        """Wait until an expression is true in the page."""
        wait_for(lambda: self.ask(script, *given), script)

    def tree(self) -> list[dict[str, Any]]:
        """Return what assistive software sees, in its order: role, name and properties, what is ignored left out."""
        self.tell("Accessibility.enable")
        found = self.tell("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node["role"]["value"],
                "name": node.get("name", {}).get("value", ""),
                **{each["name"]: each["value"].get("value") for each in node.get("properties", ())},
            }
            for node in _in_order(found)
            if not node.get("ignored")
        ]

    def logs(self) -> list[str]:
        """Return what the console has shown since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that pages asked for since the last look."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def _in_order(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a tree, each before those below it."""
    by_id = {node["nodeId"]: node for node in nodes}
    waiting = [nodes[0]["nodeId"]]
    while waiting:
        node = by_id[waiting.pop()]
        yield node
        waiting += [each for each in reversed(node.get("childIds", ())) if each in by_id]


def wait_for(happened: Callable[[], object], what: str) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Browser]:
    """Start the browser that is installed, with everything that it keeps in `folder`, and end it in the end."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BINARY)
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.unhandled_prompt_behavior = "ignore"  # a dialog that a page opens stays, to be found
    # The driver is named, so that none is looked for.
    driver = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        with Pages() as pages:
            yield Browser(driver, pages)
    finally:
        driver.quit()
