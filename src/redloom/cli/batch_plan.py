"""What a batch would do, before it does anything: endpoints, options, count and price.

Nothing here opens a socket. May import: endpoint, image, naming, prompt, prompt_tables, wanted,
cli.chain, cli.common, engine, errors, lang, settings, prompt_files, job, money, route, journal, workspace,
providers.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redloom.endpoint import Fitted, Price, Tools
from redloom.errors import BadInput, Refused
from redloom.image import parse_also
from redloom.job import Request, normal_size
from redloom.lang import Text
from redloom.money import Estimate
from redloom.naming import fields_of
from redloom.prompt import Prompt, parse_ratio, parse_size, place_of
from redloom.prompt_files import digest_of, read_prompts
from redloom.prompt_tables import column_of
from redloom.route import nearest
from redloom.settings import EndpointConfig, Settings
from redloom.wanted import RunOptions, jobs_of

if TYPE_CHECKING:
    from redloom.journal import Db

from .batch_remarks import Remarks
from .chain import Spare, chain_of, chain_text, spare_of
from .common import Common

UNPRICED = Price(None, "", "unknown")
NAME_FIELDS = (
    "row",
    "take",
    "id",
    "words",
    "prompt",
    "filename",
    "folder",
    "model",
    "size",
    "seed",
    "date",
)
"""What ``--name`` knows beside the input's own columns."""
_LATER = ("name", "also", "no_metadata", "matrix", "negative", "option")
"""Options that change what is left and count only where they are given."""


@dataclass
class Plan:
    """One batch as asked. ``given`` holds the command's options by name."""

    source: Path
    out: Path
    given: Mapping[str, Any]
    digest: str
    records: int = 0
    wanted: int = 0
    invalid: int = 0
    name: str = ""
    """Pattern of the files' names, its fields under our own names."""
    rows: int = 0
    """Records of the whole file, beyond ``--limit``."""
    stored: int = 0
    over: int = 0
    """Pictures that this very run has ended without, which only `redloom retry` asks for again."""
    columns: set[str] = field(default_factory=set)
    """The input's own other columns, of the first rows."""
    remarks: Remarks = field(default_factory=Remarks)
    models: tuple[str, ...] = ()
    prices: dict[str, Price] = field(default_factory=dict)
    """The price of a picture by the endpoint's name, of those that were asked for one."""
    spares: list[Spare] = field(default_factory=list)
    """The run's fallback in order, with what each charges."""
    _model_of: dict[str, str] = field(default_factory=dict)
    _region_of: dict[str, str] = field(default_factory=dict)
    _known_of: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The models that an endpoint's provider knows, by the endpoint's name."""

    @classmethod
    def of(cls, name: str, source: Path, given: Mapping[str, Any]) -> Plan:
        """Raises BadInput where the file as a whole cannot be read or an option makes no sense."""
        if given["extend"] and given["overwrite"]:
            raise BadInput(
                "--extend 和 --overwrite 只能选一个。", "Choose --extend or --overwrite, not both."
            )
        normal_size(given["ar"] or given["size"])
        for also in given["also"]:
            parse_also(also)
        stem = "stdin" if name == "-" else Path(name).name.split(".")[0] or "prompts"
        out = given["out"] or Path("out") / stem
        change = ("model", "size", "ar", "number", "seed", "kind", "fallback", "take", "plain")
        told = {key: given[key] for key in change} | {"endpoint": list(given["endpoint"])}
        told |= {key: given[key] for key in _LATER if given[key]}
        plan = cls(source, out, given, digest_of(source, told))
        plan.models = plan._count()
        plan.name = plan._named_fields()
        return plan

    def prompts(self) -> Iterator[Prompt]:
        """The prompts, read anew."""
        return self._read(self.given["limit"])

    def _read(self, limit: int | None) -> Iterator[Prompt]:
        given = self.given
        return read_prompts(self.source, plain=given["plain"], matrix=given["matrix"], limit=limit)

    def _count(self) -> tuple[str, ...]:
        """Count the records, and find the models that rows name."""
        models: dict[str, None] = {}
        limit = self.given["limit"]
        for row, prompt in enumerate(self._read(None), 1):
            self.rows = row
            if limit is not None and row > limit:
                continue
            self.records += 1
            self.invalid += bool(prompt.problem)
            number = prompt.n if prompt.n > 1 else self.given["number"]
            self.wanted += 1 if prompt.problem else number * len(prompt.expanded())
            self.remarks.saw(row, prompt)
            if len(self.columns) < 1000:
                self.columns.update(prompt.extra)
            if prompt.model:
                models[prompt.model] = None
        if not self.records:
            raise BadInput(
                "文件里一条提示词也没有，没有花钱。",
                "There is no prompt in the file; nothing was spent.",
            )
        return tuple(models)

    def _named_fields(self) -> str:
        """``--name`` with our own names for columns. Raises BadInput for a field that is not there."""
        pattern: str = self.given["name"]
        for name in fields_of(pattern):
            ours = column_of(name)
            if name in NAME_FIELDS or name in self.columns:
                continue
            if ours in NAME_FIELDS or ours == "text":
                known = "prompt" if ours == "text" else ours
                pattern = pattern.replace(f"{{{name}}}", f"{{{known}}}")
                continue
            names = ", ".join(sorted({*NAME_FIELDS, *self.columns} - {"template"}))
            raise BadInput(
                f"--name 里的 {{{name}}} 不认识；可用：{names}。没有花钱。",
                f"--name has {{{name}}}, which is none of {names}. Nothing was spent.",
            )
        return pattern

    def options(self, settings: Settings) -> RunOptions:
        """What holds for every picture of the run."""
        given = self.given
        return RunOptions(
            model=given["model"] or self._model_of_rows(settings),
            size=given["ar"] or given["size"] or settings.size, seed=given["seed"], n=given["number"],
            in_doubt=given["in_doubt"] or settings.in_doubt,
            negative=given["negative"], options=parse_options(given["option"]),
            delivery=self._delivery(), take=given["take"], name=self.name, rows=self.rows,
            soften=given["soften"],
            retries=settings.retries if given["retries"] is None else given["retries"],
            fallback=tuple(self.chain(settings)),
            hedge=settings.hedge if given["hedge"] is None else given["hedge"],
        )  # fmt: skip

    def chain(self, settings: Settings) -> list[str]:
        """The endpoints of ``--fallback`` in order, without those that are asked first."""
        return chain_of([self.given["fallback"]], _own(self, settings))

    def _delivery(self) -> dict[str, Any]:
        given = self.given
        wanted = {
            "format": given["kind"], "also": list(given["also"]),
            "metadata": False if given["no_metadata"] else None,
        }  # fmt: skip
        return {name: value for name, value in wanted.items() if value not in (None, [])}

    def _model_of_rows(self, settings: Settings) -> str:
        """The model of rows that name none; empty: any that the endpoints offer.

        Where other rows name one, or ``--endpoint NAME:MODEL`` does, it is the first endpoint's:
        another model's picture of the same words would not be what was asked for.
        """
        names = _named(self, settings)
        chosen = len(names) == 1 and ":" in names[0]
        return settings.endpoint(names[0]).model if self.models or chosen else ""

    def estimate(self, settings: Settings, names: Sequence[str]) -> Estimate:
        """What is still to be made, and its price. Pictures in the store cost nothing."""
        offers = [_Offer(settings.endpoint(name)) for name in names]
        for offer in offers:
            self._model_of[offer.config.name] = offer.config.model
            self._region_of[offer.config.name] = offer.config.region
            self._known_of[offer.config.name] = offer.models
        chain = self.chain(settings)
        self.spares = [spare_of(settings.endpoint(name)) for name in chain]
        paid = [offer for offer in offers if offer.config.name not in chain]
        with _Known(settings.workspace / "journal.db", self) as known:
            return Estimate.of(self._wanted(settings, paid, known))

    def _wanted(
        self, settings: Settings, offers: Sequence[_Offer], known: _Known
    ) -> Iterator[tuple[str, Price]]:
        options = self.options(settings)
        for row, prompt in enumerate(self.prompts(), 1):
            made = False
            for request in _requests(prompt, options):
                key = request.key
                if known.has(key):
                    self.stored += 1
                    continue
                if known.over(key):
                    self.over += 1
                    continue
                offer, price, reason = dearest(request, offers)
                if offer is None:
                    if not made:
                        self.remarks.refused += 1
                        self.remarks.cannot(row, f"{_line(prompt)}{reason}")
                    break
                made = True
                self.prices[offer.config.name] = price
                for note in offer.notes(request):
                    self.remarks.changed(row, note)
                yield offer.config.model or offer.config.name, price

    def tell(self, common: Common, estimate: Estimate) -> None:
        """Count and price, said before anything is spent."""
        common.emit(
            {"event": "plan", "records": self.records, "wanted": self.wanted, "invalid": self.invalid,
             "refused": self.remarks.refused, **self.remarks.record(),
             "stored": self.stored, "ended": self.over, "to_make": estimate.count, "unknown_price": estimate.unknown,
             "total": {code: float(amount) for code, amount in estimate.total.parts},
             "models": [{"model": line.model, "count": line.count,
                         "each": None if line.each is None else str(line.each)} for line in estimate.lines],
             "fallback": [spare.name for spare in self.spares], "out": str(self.out)}
        )  # fmt: skip
        self._say(common, estimate)

    def _say(self, common: Common, estimate: Estimate) -> None:
        aloud = bool(self.given["dry_run"])
        speak = common.say if aloud else common.hint
        bad = self.invalid + self.remarks.refused
        spare_zh = f"，其中 {self.stored} 张已有或重复（不花钱）" if self.stored else ""
        spare_en = f", {self.stored} of them already there or twins (free)" if self.stored else ""
        over_zh = f"，{self.over} 张已被拒或失败（要再做：redloom retry）" if self.over else ""
        over_en = (
            f", {self.over} ended refused or failed (again: redloom retry)" if self.over else ""
        )
        bad_zh = f"，{bad} 条有误" if bad else ""
        bad_en = f", {bad} invalid" if bad else ""
        speak(
            f"{self.records} 条提示词，要 {self.wanted} 张{spare_zh}{over_zh}{bad_zh} → {self.out}",
            f"{self.records} prompts, {self.wanted} pictures wanted{spare_en}{over_en}{bad_en} → {self.out}",
        )
        self.remarks.tell(common, aloud=aloud, bad=bad)
        for line in estimate.lines:
            where = self._where(line.model)
            speak(f"  {line} {where.zh}", f"  {line} {where.en}")
        if self.spares:
            speak(*chain_text(self.spares))
        total = estimate.text()
        speak(f"要做：{total.zh}", f"To make: {total.en}")

    def _where(self, model: str) -> Text:
        """How the price of a model is known."""
        for name, price in self.prices.items():
            if model in (name, self._model_of.get(name)):
                strange = _strange(model, self._known_of.get(name, ()))
                return strange or _how_known(price, self._region_of.get(name, ""))
        return Text("", "")


def _strange(model: str, known: tuple[str, ...]) -> Text | None:
    """A hint where a model's name looks mistyped: unknown here, and nearly one that is known."""
    close = difflib.get_close_matches(model, known, 1, 0.4)
    if model in known or not close:
        return None
    return Text(
        f"（价格未知：这里不认识这个模型；是不是 {close[0]}？redloom models 列出已知的）",
        f"(price unknown: not a model known here; did you mean {close[0]}? redloom models lists them)",
    )


def _how_known(price: Price, region: str) -> Text:
    if price.amount is None:
        return Text("（价格未知）", "(price unknown)")
    if price.source == "reported" or not price.as_of:
        return Text(
            "（按你的设置）" if price.amount else "（免费）",
            "(as set)" if price.amount else "(free)",
        )
    place = Text(f"，{region}", f", {region}") if region else Text("", "")
    return Text(
        f"（估价：{price.as_of} 的价目表{place.zh}）",
        f"(estimated by the price list of {price.as_of}{place.en})",
    )


def _line(prompt: Prompt) -> Text:
    return Text(f"第 {prompt.line} 行：", f"line {prompt.line}: ") if prompt.line else Text("", "")


def parse_options(words: Sequence[str]) -> dict[str, Any]:
    """``-o KEY=VALUE`` of the command line; numbers and true/false are read as such. BadInput."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.strip():
            raise BadInput(
                f"-o 要写成 名字=值，不是“{word}”。没有花钱。",
                f"-o takes NAME=VALUE, not “{word}”. Nothing was spent.",
            )
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def settings_for(settings: Settings, plan: Plan) -> tuple[Settings, list[str]]:
    """Settings with ``--rpm`` in them, and the endpoints to use: named ones, and one a model.

    Raises BadSettings for an unknown endpoint or a missing key.
    """
    names = [*_own(plan, settings), *plan.chain(settings)]
    made = {name: settings.endpoint(name) for name in names}
    if rpm := plan.given["rpm"]:
        limited = {name: replace(c.limits, submit_per_second=rpm / 60) for name, c in made.items()}
        made = {name: replace(config, limits=limited[name]) for name, config in made.items()}
    return replace(settings, endpoints={**settings.endpoints, **made}), names


def _own(plan: Plan, settings: Settings) -> list[str]:
    """The endpoints that are asked first: those named, and one for each model that rows name."""
    names = _named(plan, settings)
    base = names[0]
    for model in plan.models:
        if all(settings.endpoint(name).model != model for name in names):
            names.append(f"{base.partition(':')[0]}:{model}")
    return names


def _named(plan: Plan, settings: Settings) -> list[str]:
    """Endpoints as asked for; ``--model`` makes a named one's variant where it has another."""
    words = [name.strip() for word in plan.given["endpoint"] for name in word.split(",")]
    names = list(dict.fromkeys(filter(None, words))) or [settings.default_endpoint]
    model = plan.given["model"]
    if not model or any(settings.endpoint(name).model == model for name in names):
        return names
    return [f"{name.partition(':')[0]}:{model}" for name in names]


@dataclass
class _Offer:
    """An endpoint asked for a price; its provider opens nothing until it is asked for a picture."""

    config: EndpointConfig

    def __post_init__(self) -> None:
        from redloom import providers

        made = providers.load(self.config.provider)
        self.models: tuple[str, ...] = getattr(made, "MODELS", ())
        self.provider = made.create(self.config.endpoint(), Tools(key=self.config.api_key))
        self.sizes = self.provider.capabilities().sizes
        self._latest: tuple[Request, Fitted] | None = None

    def fitted(self, request: Request) -> Fitted:
        """The request as this endpoint takes it. Raises Refused where it could not make it."""
        if self._latest is None or self._latest[0] is not request:  # price and notes both ask
            self._latest = request, self._fit(request)
        return self._latest[1]

    def _fit(self, request: Request) -> Fitted:
        from redloom.endpoint import Asked

        if request.model not in ("", self.config.model):
            raise Refused(
                f"没有端点能用模型「{request.model}」。",
                f"No endpoint offers the model “{request.model}”.",
            )
        ratio = parse_ratio(request.size)
        size = nearest(ratio, self.sizes) if ratio else parse_size(request.size)
        asked = Asked(
            prompt=request.prompt, model=self.config.model, size=size, seed=request.seed,
            negative_prompt=request.negative, references=tuple(map(place_of, request.references)),
            options={**self.config.options, **request.options}, key=request.key,
        )  # fmt: skip
        fitted: Fitted = self.provider.fit(asked)
        return fitted

    def price(self, request: Request) -> Price:
        """Raises Refused where it could not make this picture."""
        fitted = self.fitted(request).asked
        found: Price = self.config.price or self.provider.price(fitted)
        return found

    def notes(self, request: Request) -> tuple[Text, ...]:
        """What is changed for this model, a ratio's size included."""
        fitted, ratio = self.fitted(request), parse_ratio(request.size)
        size = fitted.asked.size
        if ratio is None or size is None:
            return fitted.notes
        shape = f"{self.config.model} {request.size} → {size[0]}×{size[1]}"
        # The size on the way from the ratio to what the model takes is nobody's wish.
        between = nearest(ratio, self.sizes)
        rest = [n for n in fitted.notes if f"{between[0]}×{between[1]}" not in n.en]
        return (Text(shape, shape), *rest)


def dearest(request: Request, offers: Sequence[_Offer]) -> tuple[_Offer | None, Price, Text]:
    """The dearest known price of those that could make it, since any may get it.

    None and the last reason where none could.
    """
    able, reason = [], Text("", "")
    for offer in offers:
        try:
            able.append((offer, offer.price(request)))
        except Refused as refused:
            reason = refused.text
    if not able:
        return None, UNPRICED, reason
    unknown = [one for one in able if one[1].amount is None]
    chosen = unknown[0] if unknown else max(able, key=lambda one: one[1].amount or 0.0)
    return *chosen, reason


def _requests(prompt: Prompt, options: RunOptions) -> Iterator[Request]:
    """The requests of one row, as the engine will make them."""
    jobs = [] if prompt.problem else jobs_of(1, prompt, options)
    return (job.request for job in jobs if job.request is not None)


class _Known:
    """Which keys need no purchase: seen before in this input, or in the workspace's store."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self._path = path
        self._plan = plan
        self._seen: set[bytes] = set()
        self._over: set[bytes] = set()

    def __enter__(self) -> _Known:
        from redloom.journal import Journal

        self._journal = Journal(self._path) if self._path.is_file() else None
        if self._journal is not None and not self._plan.given["overwrite"]:
            self._over = self._journal.read_now(self._ended)
        return self

    def _ended(self, db: Db) -> set[bytes]:
        """What the run that lies in the folder has ended without a picture."""
        from redloom.engine import absolute

        runs = db.all("runs_into", out=absolute(self._plan.out))
        mine = [run for run in runs if run["digest"] == self._plan.digest]
        if not mine and self._plan.given["extend"]:
            mine = runs
        return {
            _mark(row["key"]) for run in mine[:1] for row in db.all("ended_keys", run=run["id"])
        }

    def over(self, key: str) -> bool:
        """Whether the run that this command goes on with has ended this picture, without one."""
        return _mark(key) in self._over

    def __exit__(self, *_error: object) -> None:
        if self._journal is not None:
            self._journal.close()

    def has(self, key: str) -> bool:
        """Whether the picture of this key is there or already counted."""
        mark = _mark(key)
        if mark in self._seen:
            return True
        self._seen.add(mark)
        if self._journal is None:
            return False
        return self._journal.read_now(lambda db: db.one("image", key=key)) is not None


def _mark(key: str) -> bytes:
    return bytes.fromhex(key.rpartition(":")[2][:24])
