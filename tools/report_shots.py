"""Draw the pictures of docs/report.md: a run of 100 pictures on the stand-in, as its report shows it.

    python tools/report_shots.py

Writes docs/images/report.png (English) and report.zh-CN.png. Needs Debian's chromium and playwright
(in the dev dependencies); the Chinese is drawn with the package's own faces. Takes three minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from studio_shots import IMAGES, spawn, use_own_faces

SPEED = 10
PICTURES = 100
BUTTONS = {"report.png": "", "report.zh-CN.png": "中文"}
"""What is clicked first: the page begins in English."""


def made(folder: Path) -> Path:
    """The report of a run with mild faults."""
    clock = {"REDLOOM_CLOCK_SPEED": str(SPEED), "REDLOOM_CLOCK_START": str(int(time.time()))}
    faults = "answer_lost=0.01,poll_error=0.02,task_failed=0.03,bad_download=0.05"
    service, told = spawn(clock, "--json", "emulate", "dashscope", "--faults", faults)
    home = {**os.environ, **clock, **told["environment"], "REDLOOM_HOME": str(folder / "home")}
    prompts = folder / "covers.txt"
    prompts.write_text("".join(f"a cover, number {n}\n" for n in range(PICTURES)), "utf-8")
    out = folder / "covers"
    redloom = [sys.executable, "-m", "redloom", "--lang", "en"]
    try:
        batch = ["batch", str(prompts), "--out", str(out), "--yes", "--quiet"]
        subprocess.run([*redloom, *batch], env=home, check=False)
        subprocess.run([*redloom, "report", str(out), "--quiet"], env=home, check=True)
    finally:
        service.kill()
        service.communicate()
    return out / "report.html"


def draw(report: Path, folder: Path) -> None:
    """The upper part of the page, in both languages."""
    from playwright.sync_api import sync_playwright

    use_own_faces(folder)
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for name, button in BUTTONS.items():
            shoot(browser, report, button, IMAGES / name)
        browser.close()


def shoot(browser: Any, report: Path, button: str, to: Path) -> None:
    """One picture."""
    size = {"width": 960, "height": 1430}
    page = browser.new_page(viewport=size, device_scale_factor=1.25)
    page.goto(report.as_uri())
    if button:
        page.click(f"button:has-text('{button}')")
    page.wait_for_timeout(600)
    page.screenshot(path=to)
    print(to.name, to.stat().st_size)


def main() -> None:
    """Both pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(made(folder), folder)


if __name__ == "__main__":
    main()
