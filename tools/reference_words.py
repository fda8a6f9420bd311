"""What the reference pages say that the code does not: their headings, and a line for each setting.

A test holds `SETTINGS` to the form in redloom/settings_form.py: a setting without a line is a failure.
"""

from __future__ import annotations

from redloom.lang import Text

HEADS = {
    "commands": Text(
        "# 命令一览\n\n[English](reference-commands.md)\n\n"
        "由 `python tools/reference.py` 从程序自己的参数表生成；`redloom 命令 --help` 说的是同一件事。"
        "退出码见[批量](batch.zh-CN.md)，任务怎么做见各篇[指南](README.md)。",
        "# Every command\n\n[中文](reference-commands.zh-CN.md)\n\n"
        "Made by `python tools/reference.py` from the program's own parsers; `redloom COMMAND --help` "
        "says the same. Exit statuses are in [batch](batch.md), how a job is done in the "
        "[guides](README.md).",
    ),
    "settings": Text(
        "# 设置一览\n\n[English](reference-settings.md)\n\n"
        "由 `python tools/reference.py` 从检查设置文件的那张表生成。写在哪里、谁压过谁，见"
        "[设置](configuration.zh-CN.md)。`redloom config` 列出每项现在的值和来源。",
        "# Every setting\n\n[中文](reference-settings.zh-CN.md)\n\n"
        "Made by `python tools/reference.py` from the form that checks settings files. Where they are "
        "written and which wins: [settings](configuration.md). `redloom config` lists each one's value "
        "and source.",
    ),
    "library": Text(
        "",
        "# The library's public names\n\n"
        "Made by `python tools/reference.py` from signatures and docstrings. How to use them, with "
        "examples: [the library](library.md) ([中文](library.zh-CN.md)). Times are nominal seconds, "
        "moments Unix seconds, sizes (width, height) in pixels, money an amount with a currency of three "
        "letters. `from redloom import …` works for `Engine`, `Prompt`, `Result`, `RunOptions`, "
        "`generate`, `AsyncImageService`, `ConfigManager`, `ImageGenerator` and "
        "`ImageGenerationResult`; the others are imported from the module that is named.",
    ),
    "common": Text("每个命令都有的选项", "Options of every command"),
    "option": Text("| 选项 | 作用 |", "| option | does |"),
    "first": Text("第一层", "First level"),
    "setting": Text(
        "| 名字 | 作用 | 取值 | 环境变量（默认值） |",
        "| name | does | values | variable (default) |",
    ),
    "error": Text("", "| error | code | spent | exit | |"),
    "field": Text("", "| field | type | |"),
    "kind-bool": Text("`true` 或 `false`", "`true` or `false`"),
    "kind-dict": Text("一节", "a table"),
    "kind-str": Text("文字", "text"),
}

FIELDS = {
    "run": "The run's id.",
    "row": "Number of the input's record, from 1.",
    "take": "Which picture of the row, from 1.",
    "endpoint": "The endpoint's name in the settings.",
    "endpoints": "Names of endpoints.",
    "model": "The model's name.",
    "status": "The outcome, as in the manifest.",
    "task_id": "The service's own name of the task.",
    "price": "What it cost; None: unknown.",
    "currency": "Three letters, such as CNY.",
    "seed": "The seed; None: the service's choice.",
    "negative": "What is not to be seen.",
    "negative_prompt": "What is not to be seen.",
    "references": "Reference pictures: paths or addresses.",
    "times": "When it was queued, begun and ended.",
    "queued": "When it was queued at the service.",
    "started": "When work on it began.",
    "ended": "When work on it ended.",
    "created": "When it was accepted.",
    "until": "Nominal Unix seconds.",
    "polls": "Status queries.",
}
"""What a field's name means wherever it has no line of its own: one word, one meaning."""

SETTINGS = {
    "endpoint": Text(
        "没写 --endpoint 时用哪个端点；不设就取有密钥的第一个",
        "what pictures go to without --endpoint; not set: the first one with a key",
    ),
    "workspace": Text(
        "工作区：账本和图库。相对路径从设置文件算起；默认在用户数据文件夹",
        "the workspace: journal and store. Relative to the settings file; default: the user's data folder",
    ),
    "in_doubt": Text(
        "回答丢了、查不清的图怎么办", "pictures whose answer was lost and cannot be told"
    ),
    "retries": Text("头一次之后再试几次", "more tries after the first"),
    "max_wait_s": Text(
        "从服务开工算起最多等几秒；到时只是告诉调用者，付过钱的任务不丢",
        "longest wait in seconds from the service's start of work; then the caller hears of it, the paid "
        "task is kept",
    ),
    "poll_interval_s": Text(
        "从 RedBookContentGen 读来并保留；查询节奏按学到的时间定",
        "read and kept for RedBookContentGen; polls follow what was learnt of the service's times",
    ),
    "jobs": Text(
        "同时在做的任务上限；不设由配额决定",
        "ceiling on tasks in flight; without it the quota decides",
    ),
    "size": Text("没写尺寸时的尺寸，如 1024x1365", "size where none is asked for, such as 1024x1365"),
    "account_share": Text(
        "本机占账户配额的几分之几", "this machine's part of the account's quota"
    ),
    "ask_above": Text(
        "比这更贵的批次先问一句（按该批次的币种）",
        "a run dearer than this is confirmed first, in its own currency",
    ),
    "theme": Text("笔记的主题：名字或文件夹", "a note's theme: its name or folder"),
    "writer": Text("谁写笔记：`auto`、`local`、`llm`", "who writes a note: `auto`, `local`, `llm`"),
    "consistent": Text(
        "封面图作其余配图的参考图", "a note's first picture is the reference of its others"
    ),
    "hedge": Text(
        "收尾时最多让百分之几的图在免费端点上赛跑；默认 0",
        "percent of a run that may be raced at its end, at free endpoints only",
    ),
    "lang": Text("说中文还是英文", "Chinese or English"),
    "chat.model": Text("写笔记的文本模型", "the text model that writes notes"),
    "chat.base_url": Text("它的 OpenAI 兼容地址", "its OpenAI-compatible address"),
    "chat.api_key_env": Text("放密钥的环境变量名", "the variable that holds its key"),
    "cluster.address": Text("Ray 集群的地址", "the Ray cluster's address"),
    "cluster.workers": Text(
        "要几块显卡；不设：有几块用几块", "how many GPUs to ask for; not set: those that are there"
    ),
    "cluster.gpus_each": Text(
        "每个工人占几块显卡；0.5 是两个小模型合用一块",
        "GPUs of each worker; 0.5: two small models share one",
    ),
    "endpoints.NAME.provider": Text(
        "哪种服务；不设：和端点同名", "the kind of service; not set: the endpoint's own name"
    ),
    "endpoints.NAME.model": Text("默认模型", "its model"),
    "endpoints.NAME.base_url": Text("地址", "its address"),
    "endpoints.NAME.api_key_env": Text(
        "放密钥的环境变量名（密钥本身不写进文件）",
        "the variable that holds the key (the key itself stays out of files)",
    ),
    "endpoints.NAME.account": Text(
        "哪个账户的配额；同账户、同地区、同模型的端点合用限额",
        "whose quota it is; endpoints of one account, region and model share its limits",
    ),
    "endpoints.NAME.region": Text("地区，同上", "its region, likewise"),
    "endpoints.NAME.submit_per_second": Text(
        "每秒最多提交几次；和公布的不同才写", "submits a second, where yours differ from the published"
    ),
    "endpoints.NAME.concurrency": Text("服务同时做几张", "tasks that the service runs at once"),
    "endpoints.NAME.sync_concurrency": Text(
        "同步通道同时几个请求", "requests at once on the synchronous lane"
    ),
    "endpoints.NAME.poll_per_second": Text(
        "整个账户每秒查询几次", "status queries a second of the whole account"
    ),
    "endpoints.NAME.list_per_second": Text("每秒列几次任务", "list calls a second"),
    "endpoints.NAME.downloads": Text("同时下载几张", "downloads at once"),
    "endpoints.NAME.price": Text("一张多少钱；压过自带的价目", "price of one picture; wins over the list"),
    "endpoints.NAME.currency": Text("币种，如 CNY", "its currency, such as CNY"),
    "endpoints.NAME.share": Text(
        "本机占这个账户配额的几分之几；压过 account_share",
        "this machine's part of that account's quota; wins over account_share",
    ),
    "endpoints.NAME.options": Text(
        "端点自己的选项，原样交给服务", "options of the endpoint's own, as the service has them"
    ),
}  # fmt: skip
