"""Every command with its module and its line in the help, known without importing any of them.

May import: lang.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from redloom.lang import Text


class Entry(NamedTuple):
    """Where a command is found: the attribute of its own name in ``module``."""

    module: str
    text: Text


COMMANDS: dict[str, Entry] = {
    "note": Entry(
        "note", Text("一个故事，变成一篇小红书笔记", "A story into a publish-ready note")
    ),
    "redo": Entry("redo", Text("重做笔记的一部分", "Remake part of a note")),
    "export": Entry("export", Text("把笔记转成另一种形式", "A note in another shape")),
    "batch": Entry("batch", Text("一批提示词，变成一批图片", "Many prompts into pictures")),
    "runs": Entry("runs", Text("列出队列里的批次", "List the queue")),
    "show": Entry("runs", Text("看一个批次：每一行，花了多少", "One run: its rows and money")),
    "pause": Entry("runs", Text("暂停一个批次", "Pause a run")),
    "resume": Entry("runs", Text("继续一个批次", "Resume a run")),
    "cancel": Entry("runs", Text("取消一个批次", "Cancel a run")),
    "retry": Entry("runs", Text("只重做失败的行", "Take the failed rows again")),
    "report": Entry("report", Text("把一个批次画成一页报告", "A run as one self-contained page")),
    "serve": Entry("serve", Text("网页工作室和 API", "The studio and the API")),
    "audit": Entry(
        "audit", Text("账户的近期任务与账本对账", "The account's tasks against the ledger")
    ),
    "cache": Entry("cache", Text("图片仓库：大小与清理", "The store: size and pruning")),
    "themes": Entry("themes", Text("列出卡片主题", "List the card themes")),
    "models": Entry("models", Text("列出可用的端点和模型", "List endpoints and models")),
    "config": Entry("config", Text("看每项设置和它的来源", "Settings and where they come from")),
    "doctor": Entry("doctor", Text("检查是否就绪（免费）", "Check that all is set up, for free")),
    "emulate": Entry("emulate", Text("在本机模拟一家服务", "A local stand-in for a service")),
    "bench": Entry(
        "bench", Text("与常见写法和理论极限赛跑", "The race against the usual ways and the bound")
    ),
    "probe": Entry(
        "probe", Text("用真密钥弄清真服务的行为", "Ask the real service what only it can tell")
    ),
}


def present() -> list[str]:
    """The commands whose modules are there, in the order of the help."""
    room = Path(__file__).parent
    return [name for name, entry in COMMANDS.items() if (room / f"{entry.module}.py").exists()]
