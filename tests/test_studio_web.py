"""The studio's pages in a real browser: a note from its story to its ZIP, a server that dies."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import redloom
from helpers import waiting
from helpers.front import front
from redloom.emulators.ledger import read_ledger

api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
WEB = Path(redloom.__file__).parent / "studio" / "web"
STORY = Path(__file__).parents[1] / "examples" / "hutong.txt"
SPEED = 10
PAGES = ("#/", "#/history", "#/history/runs", "#/batch", "#/queue", "#/endpoints")
browser_only = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
pytestmark = pytest.mark.slow


class Studio:
    """A service and our server in processes of their own, and the browser."""

    def __init__(self, folder: Path, browser: Any, *faults: str) -> None:
        self.folder, self.browser, self.start = folder, browser, int(time.time())
        self.running: list[subprocess.Popen[str]] = []
        self.contexts: list[Any] = []
        self.violations: list[str] = []
        told = self._spawn(
            "emulate", "dashscope", "--json", "--ledger", str(self.ledger), "--latency",
            "12,0.3,6,20", "--rps", "4", "--concurrency", "3", *faults,
        )[1]  # fmt: skip
        self.service = told["environment"]
        self.server, self.url = self.serve(0)

    @property
    def ledger(self) -> Path:
        """Where the service writes what it sold."""
        return self.folder / "ledger.jsonl"

    def sold(self) -> Counter[str]:
        """How often each prompt was sold."""
        return Counter(one.prompt for one in read_ledger(self.ledger).purchases)

    def serve(self, port: int, *more: str) -> tuple[subprocess.Popen[str], str]:
        """Start the server."""
        program, told = self._spawn("serve", "--port", str(port), "--json", *more)
        return program, str(told["url"])

    def page(self, path: str = "", **context: Any) -> Any:
        """A page of its own context; what the browser refuses or trips over is gathered."""
        made = self.browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "locale": "zh-CN", **context}
        )
        self.contexts.append(made)
        page = made.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.violations.append(str(error)))
        page.on("console", self._heard)
        page.goto(self.url + path)
        return page

    def _heard(self, message: Any) -> None:
        if message.type == "error" and "Content Security" in message.text:
            self.violations.append(message.text)

    def _spawn(self, *words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        clean = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        environment = {
            **clean, "REDLOOM_CLOCK_SPEED": str(SPEED), "REDLOOM_CLOCK_START": str(self.start),
            "REDLOOM_HOME": str(self.folder / "ws"), "NO_PROXY": "*",
            **(self.service if words[0] == "serve" else {}),
        }  # fmt: skip
        program = subprocess.Popen(
            [sys.executable, "-m", "redloom", *words], env=environment, text=True, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.running.append(program)
        assert program.stdout is not None
        told: dict[str, Any] = json.loads(program.stdout.readline())
        return program, told

    def close(self) -> None:
        """End what was started."""
        for context in self.contexts:
            context.close()
        for program in self.running:
            if program.poll() is None:
                program.kill()
            program.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's browser, without a window."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]  # fmt: skip
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield made
        made.close()


@contextmanager
def opened(folder: Path, browser: Any, *faults: str) -> Iterator[Studio]:
    """A studio; at its end no script may have failed or met the Content-Security-Policy."""
    studio = Studio(folder, browser, *faults)
    try:
        yield studio
        assert studio.violations == []
    finally:
        studio.close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Studio]:
    """One for the tests that only look, with one offline note in it."""
    with opened(tmp_path_factory.mktemp("studio"), browser) as made:
        yield made


@pytest.fixture(scope="module")
def note(studio: Studio) -> str:
    """A note that is done, made without the network."""
    with httpx.Client(base_url=studio.url, timeout=30, trust_env=False) as client:
        body = {"story": STORY.read_text("utf-8"), "offline": True, "theme": "paper"}
        made = client.post("api/notes", json=body).json()["id"]
        waiting.until(lambda: client.get(f"api/notes/{made}").json()["state"] == "done")
    return str(made)


# what the files are


def test_nothing_is_inline_and_nothing_comes_from_outside() -> None:
    """The page needs no exception from a strict Content-Security-Policy and no other host."""
    page = (WEB / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|style=", page) == []
    for path in [WEB / "index.html", *WEB.glob("static/*.js"), *WEB.glob("static/*.css")]:
        found = re.findall(r"https?://[^\s\"'`)]+", path.read_text("utf-8"))
        assert [one for one in found if not one.startswith("http://www.w3.org/")] == [], path


def test_colours_can_be_read() -> None:
    """Words have a contrast of at least 4.5 with what is behind them, light and dark."""
    css = (WEB / "static" / "studio.css").read_text("utf-8")
    blocks = re.findall(r"root[^{]*\{\s*(--paper[^}]*)\}", css)
    assert len(blocks) == 3
    for block in blocks:
        colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block))
        grounds = ("--paper", "--card", "--mat", "--field")
        pairs = [(word, ground) for word in ("--ink", "--soft") for ground in grounds]
        pairs += [("--red-ink", "--wash"), ("--red-ink", "--paper"), ("--on-red", "--red"), ("--good", "--good-wash"),
                  ("--warn", "--warn-wash"), ("--bad", "--card"), ("--bad", "--wash"), ("--good", "--card")]  # fmt: skip
        for word, ground in pairs:
            assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground, block[:40])
    assert blocks[1].split() == blocks[2].split()


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def until(page: Any, expression: str, true: Any = bool) -> None:
    """Wait for what the page says; asked from outside, since the page itself may not evaluate."""
    for _ in range(400):
        if true(page.evaluate(expression)):
            return
        page.wait_for_timeout(50)
    raise AssertionError(expression)


def luminance(colour: str) -> float:
    """WCAG's relative luminance of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# what is seen


@browser_only
def test_the_first_load_is_small(studio: Studio, note: str) -> None:
    """Fewer than 15 requests and less than 300 KB, with a note in the history."""
    page = studio.page("")
    page.close()
    page = studio.contexts[-1].new_page()
    session = page.context.new_cdp_session(page)
    asked: list[str] = []
    sizes: list[int] = []
    session.on("Network.requestWillBeSent", lambda told: asked.append(told["request"]["url"]))
    session.on("Network.loadingFinished", lambda told: sizes.append(told["encodedDataLength"]))
    session.send("Network.enable")
    session.send("Network.setCacheDisabled", {"cacheDisabled": True})
    page.goto(studio.url)
    page.wait_for_selector(".recent a.tile")
    page.wait_for_load_state("networkidle")
    assert len(asked) < 15, asked
    assert 20_000 < sum(sizes) < 300_000, sum(sizes)


@browser_only
@pytest.mark.parametrize("shape", [(390, 844), (1280, 800)])
def test_pages_fit_and_everything_has_a_name(
    studio: Studio, note: str, shape: tuple[int, int]
) -> None:
    """No page is wider than the screen; every control has a name for readers, in both languages."""
    page = studio.page("", viewport={"width": shape[0], "height": shape[1]})
    for language in ("zh", "en"):
        for path in (*PAGES, f"#/note/{note}"):
            page.goto(studio.url + path)
            page.wait_for_selector("main h1")
            page.wait_for_timeout(150)
            assert page.evaluate("document.documentElement.scrollWidth") <= shape[0], path
            assert page.evaluate(NAMELESS) == [], path
            assert language != "en" or not re.search(
                r"[\u4e00-\u9fff]", page.inner_text("nav .links")
            )
        if language == "zh":
            page.click("nav button.lang")


NAMELESS = """() => [...document.querySelectorAll("button,a,input,select,textarea")].filter((one) =>
  !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length || one.title)).map((one) => one.outerHTML)"""


@browser_only
def test_five_thousand_rows_scroll(studio: Studio) -> None:
    """Of 5,000 rows only those in sight are in the page; the last is reached, by keyboard too."""
    with httpx.Client(base_url=studio.url, timeout=60, trust_env=False) as client:
        prompts = [f"row {at}" for at in range(1, 5001)]
        run = client.post("api/runs", json={"prompts": prompts, "endpoint": ["dashscope"], "priority": -5}).json()["id"]  # fmt: skip
        client.post(f"api/runs/{run}/pause")
        waiting.until(
            lambda: client.get(f"api/runs/{run}").json()["total"] == 5000, "every row read"
        )
        page = studio.page(f"#/run/{run}")
        page.wait_for_selector(".cell .words")
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_selector(".cell:has-text('row 5000')")
        assert page.locator(".cell").count() < 120
        page.evaluate("window.scrollTo(0, 0)")
        page.wait_for_selector(".cell[data-index='0']:has-text('row 1')")
        page.focus(".cell[data-index='0']")
        page.keyboard.press("End")
        page.wait_for_selector(".cell[data-index='4999']:focus")
        page.fill(".toolbar input", "row 4321")
        until(page, "document.querySelectorAll('.cell').length === 1")
        client.post(f"api/runs/{run}/cancel")


@browser_only
def test_the_history_is_searched(studio: Studio, note: str) -> None:
    """Words of the story find the note, other words say that there is none."""
    page = studio.page("#/history")
    page.fill("input[type=search]", "赵师傅")
    page.wait_for_selector(f"a.tile[href='#/note/{note}']")
    page.fill("input[type=search]", "没有这样的话")
    page.wait_for_selector("section.empty:has-text('没有找到')")


@browser_only
def test_the_queue_is_ruled(studio: Studio) -> None:
    """A run is paused, put first, taken up again and, after a question, cancelled."""
    with httpx.Client(base_url=studio.url, timeout=60, trust_env=False) as client:
        body = {"prompts": [f"slow {at}" for at in range(60)], "name": "sixty"}
        run = client.post("api/runs", json=body).json()["id"]
        page = studio.page("#/queue")
        job = page.locator(".job", has_text="sixty")
        job.get_by_title("暂停").click()
        job.locator(".pill", has_text="已暂停").wait_for()
        job.get_by_title("往前").click()
        job.locator(".order b", has_text="10").wait_for()
        assert client.get(f"api/runs/{run}").json()["priority"] == 10
        job.get_by_title("继续").click()
        job.locator(".pill.live").wait_for()
        job.get_by_title("取消").click()
        page.click("dialog.ask button.danger")
        job.wait_for(state="detached")
        assert client.get(f"api/runs/{run}").json()["state"] == "cancelled"


@browser_only
def test_a_spreadsheet_becomes_a_run(studio: Studio, tmp_path: Path) -> None:
    """A GBK table is read, a column is told what it is, the price stands there, the run begins."""
    table = tmp_path / "图.csv"
    table.write_bytes("说明,颜色\n一条围巾，{颜色},红\n一顶帽子，{颜色},蓝\n".encode("gb18030"))
    page = studio.page("#/batch")
    page.set_input_files("input[type=file]", table)
    page.get_by_label("说明").select_option("prompt")
    page.wait_for_selector("td.long:has-text('一条围巾，红')")
    assert "¥0.40" in page.inner_text(".batch .estimate")
    page.click("button.primary:has-text('开始')")
    page.wait_for_url("**/#/run/*")
    page.wait_for_selector(".pill.done")
    page.locator(".cell").first.click()
    page.wait_for_selector("dialog.sheet .big img")
    page.click("dialog.sheet .opinion >> nth=0")
    page.wait_for_selector(".opinion[aria-pressed=true]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("dialog.sheet p.text:has-text('一顶帽子，蓝')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.sheet", state="detached")
    page.click("text=报告")
    page.wait_for_selector("canvas")
    page.goto(studio.url + "#/endpoints")
    page.wait_for_selector("[data-endpoint=dashscope] .record:has-text('留用')")


@browser_only
def test_a_token_is_made_shown_once_and_revoked(studio: Studio) -> None:
    """With a quota and a budget; it opens the API at once, and after the click no more."""
    page = studio.page("#/endpoints")
    section = page.locator("#tokens")
    section.get_by_label("名字").fill("shop")
    section.get_by_label("每分钟几张").fill("6")
    section.get_by_label("预算").fill("2.5")
    section.get_by_role("button", name="发一个口令").click()
    token = section.locator(".token code").inner_text()
    with httpx.Client(base_url=studio.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:  # fmt: skip
        assert client.get("api/session").json()["name"] == "shop"
        assert client.get("api/tokens").status_code == 403
        line = section.locator("tr[data-token=shop]")
        assert "¥2.50" in line.inner_text()
        page.reload()
        line.wait_for()
        assert token not in page.content()
        line.get_by_role("button", name="停用").click()
        page.click("dialog.ask button.danger")
        line.locator(".pill", has_text="已停用").wait_for()
        assert client.get("api/session").status_code == 401


@browser_only
def test_the_page_knows_the_servers_time(studio: Studio) -> None:
    """From the first load on: countdowns are held against a clock that runs ten times as fast."""
    page = studio.page("")
    page.wait_for_selector("textarea.story")
    script = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name).find((name) => name.includes('core.js'))")  # fmt: skip
    now = page.evaluate(f"import({json.dumps(script)}).then((core) => core.nominal())")
    assert abs(now - (studio.start + (time.time() - studio.start) * SPEED)) < 5 * SPEED


@browser_only
def test_what_failed_is_tried_again_and_judged(tmp_path: Path, browser: Any) -> None:
    """Refused rows say why, one click takes them up again alone; a thumb down is kept."""
    with opened(tmp_path, browser, "--faults", "@2:submit=refused") as studio:
        page = studio.page("#/batch")
        page.fill("textarea", "a lane at dawn\na lane at noon\na lane at night")
        page.click("button.primary:has-text('开始')")
        page.wait_for_selector(".pill.done")
        assert sum(studio.sold().values()) == 2
        page.click(".chips button:has-text('没成的')")
        refused = page.locator(".cell.refused")
        refused.wait_for()
        assert re.search(r"[\u4e00-\u9fff]{4}", refused.locator(".frame p").inner_text())
        page.click("button:has-text('重试 1 张')")
        until(page, "document.querySelectorAll('.cell.refused').length === 0")
        page.click(".chips button:has-text('全部')")
        until(page, "document.querySelectorAll('.cell.ok').length === 3")
        assert sorted(studio.sold().values()) == [1, 1, 1]
        page.locator(".cell").first.click()
        page.get_by_role("button", name="不好").click()
        page.wait_for_selector(".opinion[aria-pressed=true]:has-text('不好')")
        page.reload()
        page.wait_for_selector(".cell.ok")
        page.locator(".cell").first.click()
        page.wait_for_selector(".opinion[aria-pressed=true]:has-text('不好')")
        page.goto(studio.url + "#/endpoints")
        page.wait_for_selector(".opinion-table td:nth-child(5):has-text('1')")


# the main way


@browser_only
def test_a_note_from_its_story_to_its_zip(tmp_path: Path, browser: Any) -> None:
    """Written, its outline edited, watched, reloaded in mid-run, redone, restyled, taken away."""
    with opened(tmp_path, browser) as studio:
        page = studio.page()
        page.fill("textarea.story", STORY.read_text("utf-8"))
        until(page, "document.querySelector('.estimate').textContent.includes('¥')")
        page.click("button:has-text('先看大纲')")
        page.wait_for_selector(".outline")
        page.fill(".outline .choices input.text >> nth=0", "改过的题目")
        pictures = page.locator(".pictures .leaf")
        planned = pictures.count()
        pictures.first.get_by_title("不要这张").click()
        page.wait_for_selector(f".footbar .estimate:has-text('¥{(planned - 1) * 0.2:.2f}')")
        pictures.first.get_by_label("放在哪里").select_option("0")
        page.click("button:has-text('就按这个做')")
        page.wait_for_selector("figure.picture[data-status=pending]")
        page.reload()
        page.wait_for_selector("figure.picture[data-status=ok] img, button.card img")
        page.wait_for_selector("button.card")
        assert page.inner_text("h1") == "改过的题目"
        first = studio.sold()
        assert sorted(first.values()) == [1] * (planned - 1)
        _edit_words(page)
        assert studio.sold() == first
        _choose_cover(page)
        assert studio.sold() == first
        _redraw(page)
        assert sum(studio.sold().values()) == sum(first.values()) + 1
        before = page.get_attribute("button.card img >> nth=0", "src")
        page.click("details.restyle summary")
        page.click("label.theme:has(input[value=film])")
        until(page, "document.querySelector('button.card img')?.src", lambda src: src not in (None, before))  # fmt: skip
        assert sum(studio.sold().values()) == sum(first.values()) + 1
        with page.expect_download() as told:
            page.click("a.button:has-text('ZIP')")
        with zipfile.ZipFile(told.value.path()) as packed:
            assert any(name.endswith("01-cover.png") for name in packed.namelist())
            assert any(name.endswith("post.json") for name in packed.namelist())


def _edit_words(page: Any) -> None:
    """New words on the second card; free."""
    before = page.get_attribute("button[data-card='2'] img", "src")
    page.click("button[data-card='2']")
    until(page, "document.querySelector('textarea.md')?.value.length > 10")
    page.fill("textarea.md", "# 换了字\n\n这一页改成了两句话。第二句在这里。")
    page.click("button:has-text('换上这些字')")
    until(page, "document.querySelector(\"button[data-card='2'] img\")?.src", lambda src: src not in (None, before))  # fmt: skip
    page.keyboard.press("Escape")


def _choose_cover(page: Any) -> None:
    """The picture of an inner card goes on the cover; free."""
    before = page.get_attribute("button[data-card='1'] img", "src")
    page.click("button.card:has-text('第'):has(.name .icon path[d^='M4 5h16']) >> nth=0")
    page.click("button:has-text('拿去做封面')")
    until(page, "document.querySelector(\"button[data-card='1'] img\")?.src", lambda src: src not in (None, before))  # fmt: skip
    page.wait_for_selector("dialog.sheet", state="detached")


def _redraw(page: Any) -> None:
    """Another picture for the cover, seen when it is there."""
    before = page.get_attribute("button[data-card='1'] img", "src")
    page.click("button[data-card='1']")
    page.fill("textarea.prompt", "一条安静的胡同，清晨")
    page.click("button:has-text('重画这张')")
    until(page, "document.querySelector(\"button[data-card='1'] img\")?.src", lambda src: src not in (None, before))  # fmt: skip


@browser_only
def test_a_killed_server_is_found_again(tmp_path: Path, browser: Any) -> None:
    """The page says that the line is broken, finds the server by itself; nothing is bought twice."""
    with opened(tmp_path, browser) as studio:
        page = studio.page("#/batch")
        page.fill("textarea", "\n".join(f"a lane in the rain {at}" for at in range(12)))
        page.click("button.primary:has-text('开始')")
        page.wait_for_selector(".cell.ok")
        os.kill(studio.server.pid, signal.SIGKILL)
        studio.server.wait()
        page.wait_for_selector(".offline:visible")
        page.evaluate("window.stayed = true")
        port = int(studio.url.rstrip("/").rsplit(":", 1)[1])
        studio.server, again = studio.serve(port)
        assert again == studio.url
        page.wait_for_selector(".offline", state="hidden")
        page.wait_for_selector(".pill.done")
        until(page, "document.querySelectorAll('.cell.ok').length === 12")
        assert page.evaluate("window.stayed")
        assert "12 / 12" in page.inner_text(".facts-line")
        assert sorted(studio.sold().values()) == [1] * 12


# two people, a keyboard, a narrow phone

FOCUS = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
TITLE, BODY = "aside.publish input >> nth=0", "aside.publish textarea"
RINGED = """() => { const one = document.activeElement, near = [one, one.nextElementSibling, one.closest(".desk,.drop,label")];
  return [one.outerHTML.slice(0, 90), near.some((it) => it && getComputedStyle(it).outlineStyle !== "none")]; }"""


def offline_note(studio: Studio) -> str:
    """A note of its own, made without the network; its address in the studio."""
    with httpx.Client(base_url=studio.url, timeout=30, trust_env=False) as client:
        body = {"story": STORY.read_text("utf-8"), "offline": True}
        made = client.post("api/notes", json=body).json()["id"]
        waiting.until(lambda: client.get(f"api/notes/{made}").json()["state"] == "done")
    return f"#/note/{made}"


@browser_only
def test_two_people_edit_one_note(studio: Studio) -> None:
    """What one is typing survives the other's edit; a removal is told where the note is open."""
    path = offline_note(studio)
    mine, theirs = studio.page(path), studio.page(path)
    for page in (mine, theirs):
        page.wait_for_selector("button.card")
    mine.focus(BODY)
    mine.keyboard.press("Control+End")
    mine.keyboard.type("还没放下的话")
    theirs.fill(TITLE, "另一个人的题目")
    theirs.keyboard.press("Tab")
    mine.wait_for_selector("h1:has-text('另一个人的题目')")
    assert mine.input_value(TITLE) == "另一个人的题目"
    mine.keyboard.type("，接着打")
    assert mine.input_value(BODY).endswith("还没放下的话，接着打")
    mine.focus(TITLE)
    theirs.wait_for_function(
        "(it) => it.value.endsWith('还没放下的话，接着打')", arg=theirs.query_selector(BODY)
    )
    theirs.get_by_label("从历史里移走").click()
    theirs.click("dialog.ask button.danger")
    theirs.wait_for_url("**/#/history")
    mine.wait_for_selector("section.empty:has-text('这篇笔记被移走了')")


@browser_only
def test_words_typed_while_an_edit_is_saved_stay(studio: Studio) -> None:
    """The title is left by Tab and the body begun at once: the answer takes neither focus nor words."""
    page = studio.page(offline_note(studio))
    page.wait_for_selector("button.card")
    page.fill(TITLE, "改过的题目")
    page.focus(BODY)
    page.keyboard.press("Control+End")
    page.keyboard.type("马上打的字")
    page.wait_for_selector("h1:has-text('改过的题目')")
    page.keyboard.type("，没断")
    assert page.input_value(BODY).endswith("马上打的字，没断")


@browser_only
def test_two_people_share_the_queue(studio: Studio) -> None:
    """Figures that move leave the keyboard at its button; the question names the run; the other sees it go."""
    with httpx.Client(base_url=studio.url, timeout=30, trust_env=False) as client:
        for name in ("first", "second"):
            client.post(
                "api/runs", json={"prompts": [f"{name} {at}" for at in range(60)], "name": name}
            )
        mine, theirs = studio.page("#/queue"), studio.page("#/queue")
        mine.get_by_label("暂停：second").focus()
        before = mine.inner_text(".job:has-text('first') .measure")
        until(mine, "document.querySelector('.job .measure').innerText", lambda now: now != before)
        assert mine.evaluate(FOCUS) == "暂停：second"
        mine.keyboard.press("Enter")
        mine.wait_for_selector(".job:has-text('second') .pill:has-text('已暂停')")
        until(mine, FOCUS, lambda name: name == "继续：second")
        theirs.get_by_label("取消：first").click()
        theirs.wait_for_selector("dialog.ask h2:has-text('first')")
        theirs.click("dialog.ask button.danger")
        mine.locator(".job", has_text="first").wait_for(state="detached")
        until(mine, FOCUS, lambda name: name == "继续：second")
        mine.get_by_label("取消：second").click()
        mine.click("dialog.ask button.danger")
        theirs.locator(".job", has_text="second").wait_for(state="detached")


@browser_only
def test_a_note_by_keyboard_alone(studio: Studio) -> None:
    """Every stop is seen; Enter opens, Escape closes and gives the keyboard back; a removal is asked for."""
    page = studio.page(offline_note(studio))
    page.wait_for_selector("button.card")
    for _ in range(40):
        page.keyboard.press("Tab")
        shown, ringed = page.evaluate(RINGED)
        assert ringed or shown.startswith("<body"), shown
    page.get_by_role("button", name="手机预览").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.phone")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("dialog.phone .count:has-text('2/')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.phone", state="detached")
    assert page.evaluate(FOCUS) == "手机预览"
    page.get_by_label("从历史里移走").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.ask")
    assert page.evaluate(FOCUS) == "先不"
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.ask", state="detached")
    assert page.evaluate(FOCUS) == "从历史里移走"
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog.ask")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/#/history")


@browser_only
def test_the_keyboard_is_led_on(studio: Studio, note: str) -> None:
    """A link leaves the keyboard in the new page, the language at its button; the story's box is seen."""
    page = studio.page("#/history")
    page.wait_for_selector("a.tile")
    page.focus("a.tile")
    page.keyboard.press("Enter")
    page.wait_for_selector("button.card, .outline")
    until(page, "document.activeElement.id", lambda name: name == "main")
    page.focus("nav button.lang")
    page.keyboard.press("Enter")
    page.wait_for_selector("nav button.lang:has-text('中文')")
    assert page.evaluate("document.activeElement.localName") == "button"
    page.goto(studio.url + "#/")
    page.focus("textarea.story")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(RINGED)[1]


@browser_only
def test_a_long_name_fits_a_narrow_phone(studio: Studio) -> None:
    """360 pixels hold the list of runs, the queue and the run, whatever it is called."""
    with httpx.Client(base_url=studio.url, timeout=30, trust_env=False) as client:
        body = {"prompts": ["a lane"], "name": "名字很长的一批图" * 6}
        run = client.post("api/runs", json=body).json()["id"]
    page = studio.page("", viewport={"width": 360, "height": 740})
    for path, sign in (
        ("#/history/runs", "a.line"),
        ("#/queue", "h1"),
        (f"#/run/{run}", ".facts-line"),
    ):
        page.goto(studio.url + path)
        page.wait_for_selector(sign)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path


# behind a proxy


@browser_only
@pytest.mark.parametrize("prefix", ["", "/studio/red"])
def test_the_studio_behind_a_proxy(tmp_path: Path, browser: Any, prefix: str) -> None:
    """At the root and under a path: the door, a file sent up, events, pictures, the ZIP, a restart."""
    with opened(tmp_path, browser) as studio:
        port = int(studio.url.rstrip("/").rsplit(":", 1)[1])
        more = ("--token", "a-token-for-the-door", "--trusted-proxy", "127.0.0.1")
        _stopped(studio)
        studio.server, behind = studio.serve(port, *more)
        table = tmp_path / "图.csv"
        table.write_bytes("说明,颜色\n一条围巾，{颜色},红\n一顶帽子，{颜色},蓝\n".encode("gb18030"))
        with front(behind, prefix) as studio.url:
            page = studio.page("#/batch")
            page.fill("#token", "a-token-for-the-door")
            page.click("button:has-text('进入')")
            page.set_input_files("input[type=file]", table)
            page.get_by_label("说明").select_option("prompt")
            page.wait_for_selector("td.long:has-text('一条围巾')")
            page.click("button.primary:has-text('开始')")
            page.wait_for_selector(".cell.running, .cell.sent, .cell.ok")
            page.wait_for_selector(".pill.done")
            until(
                page,
                "[...document.querySelectorAll('.cell img')].filter((one) => one.naturalWidth).length === 2",
            )
            assert f"{prefix}/" in page.get_attribute(".cell img >> nth=0", "src")
            with page.expect_download() as taken:
                page.click("a:has-text('ZIP')")
            assert len(zipfile.ZipFile(taken.value.path()).namelist()) >= 3
            _stopped(studio)
            page.click("nav a:has-text('队列')")
            page.wait_for_selector("section.empty:has-text('连不上服务器')")
            studio.server, _ = studio.serve(port, *more)
            page.click("button:has-text('再试一次')")
            page.wait_for_selector("section.empty:has-text('队列是空的')")


def _stopped(studio: Studio) -> None:
    studio.server.terminate()
    studio.server.wait()
