"""Draw the pictures of docs/studio.md: the studio at work against the stand-in, phone and desktop.

    python tools/studio_shots.py

Writes docs/images/studio-note.jpg, studio-phone.jpg and studio-run.jpg. Needs Debian's chromium,
playwright (in the dev dependencies); the Chinese is drawn with the package's own faces.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
STORY = (ROOT / "examples" / "hutong.txt").read_text("utf-8")
SPEED = 5
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>{faces}</dir>
<cachedir>{folder}</cachedir></fontconfig>"""


def use_own_faces(folder: Path) -> None:
    """A browser started from here on finds the package's faces, whatever the system has."""
    fonts = folder / "fonts.conf"
    faces = ROOT / "src" / "redloom" / "typeset" / "faces"
    fonts.write_text(FONTS.format(faces=faces, folder=folder / "fonts"), "utf-8")
    os.environ["FONTCONFIG_FILE"] = str(fonts)


def spawn(environment: dict[str, str], *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """Start a command of ours; what its first line says."""
    program = subprocess.Popen(
        [sys.executable, "-m", "redloom", *words], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip
    assert program.stdout is not None
    told: dict[str, Any] = json.loads(program.stdout.readline())
    return program, told


def shot(page: Any) -> Image.Image:
    """The page as it is seen."""
    return Image.open(BytesIO(page.screenshot())).convert("RGB")


def keep(picture: Image.Image, name: str, width: int) -> None:
    """A JPEG at most ``width`` wide and under 150 KB."""
    small = picture.resize(
        (width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS
    )
    for quality in range(88, 40, -6):
        data = BytesIO()
        small.save(data, "JPEG", quality=quality, optimize=True, progressive=True)
        if len(data.getvalue()) < 150_000:
            break
    (IMAGES / name).write_bytes(data.getvalue())
    print(name, len(data.getvalue()))


def make_note(page: Any, url: str) -> str:
    """A note from its story; the address of its page."""
    page.goto(url)
    page.fill("textarea.story", STORY)
    page.click("details.settings summary")
    page.click("label.theme:has(input[value=guochao])")
    page.get_by_label("谁来写文字").select_option("local")
    page.click("button:has-text('织成笔记')")
    page.wait_for_selector("button.card", timeout=60_000)
    page.wait_for_timeout(800)
    return str(page.url)


def draw(browser: Any, url: str) -> None:
    """All three pictures."""
    desktop = browser.new_page(viewport={"width": 1280, "height": 820}, device_scale_factor=1.5)
    note = make_note(desktop, url)
    keep(shot(desktop), "studio-note.jpg", 1400)
    phones = []
    for scheme, path in (("light", note), ("dark", url)):
        phone = browser.new_page(
            viewport={"width": 390, "height": 780}, device_scale_factor=2, color_scheme=scheme
        )
        phone.goto(path)
        phone.wait_for_selector("button.card, .recent a.tile")
        if path == url:
            phone.fill("textarea.story", STORY)
            phone.evaluate("document.querySelector('textarea.story').scrollTop = 0")
        phone.wait_for_timeout(1800)
        phones.append(shot(phone))
    both = Image.new("RGB", (phones[0].width * 2 + 40, phones[0].height), "#d8d2c8")
    both.paste(phones[0], (0, 0))
    both.paste(phones[1], (phones[0].width + 40, 0))
    keep(both, "studio-phone.jpg", 980)
    draw_run(browser, url)


def draw_run(browser: Any, url: str) -> None:
    """A run under way, in the dark."""
    page = browser.new_page(
        viewport={"width": 1280, "height": 760}, device_scale_factor=1.5, color_scheme="dark"
    )
    page.goto(url + "#/batch")
    colours = "红橙黄绿青蓝紫黑白灰"
    page.fill(
        "textarea", "\n".join(f"一条{one}色的围巾，搭在旧木椅上，窗边的光" for one in colours)
    )
    page.click("button.primary:has-text('开始')")
    page.wait_for_selector(".cell.ok >> nth=3", timeout=60_000)
    page.wait_for_timeout(500)
    keep(shot(page), "studio-run.jpg", 1400)


def main() -> int:
    """Start service and studio, draw, end them; 2 where the browser is missing."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed", file=sys.stderr)
        return 2
    clock = {"REDLOOM_CLOCK_SPEED": str(SPEED), "REDLOOM_CLOCK_START": str(int(time.time()))}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        emulate = ("emulate", "dashscope", "--json", "--latency", "12,0.5,6,30")
        service, told = spawn(clock, *emulate, "--rps", "2", "--concurrency", "4")
        here = {**clock, **told["environment"], "REDLOOM_HOME": folder}
        server, said = spawn(here, "serve", "--port", "0", "--json")
        use_own_faces(Path(folder))
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], env=dict(os.environ)
        )
        try:
            draw(browser, said["url"])
        finally:
            browser.close()
            for program in (server, service):
                program.terminate()
                program.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
