"""What a batch would do, before it does anything: endpoints, options, count and price.

Nothing here opens a socket. May import: cli.common, errors, lang, settings, prompt_files, job,
money, route, journal, workspace, providers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redloom.endpoint import Price, Tools
from redloom.engine import RunOptions
from redloom.errors import BadInput, Refused
from redloom.job import Request, normal_size, request_of
from redloom.money import Estimate
from redloom.prompt import Prompt, parse_ratio, parse_size
from redloom.prompt_files import digest_of, read_prompts
from redloom.route import nearest
from redloom.settings import EndpointConfig, Settings

from .common import Common

UNPRICED = Price(None, "", "unknown")


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
    stored: int = 0
    models: tuple[str, ...] = ()
    prices: dict[str, Price] = field(default_factory=dict)
    """The price of a picture by the endpoint's name, of those that were asked for one."""

    @classmethod
    def of(cls, name: str, source: Path, given: Mapping[str, Any]) -> Plan:
        """Raises BadInput where the file as a whole cannot be read or an option makes no sense."""
        if given["extend"] and given["overwrite"]:
            raise BadInput(
                "--extend 和 --overwrite 只能选一个。", "Choose --extend or --overwrite, not both."
            )
        normal_size(given["ar"] or given["size"])
        stem = "stdin" if name == "-" else Path(name).name.split(".")[0] or "prompts"
        out = given["out"] or Path("out") / stem
        change = ("model", "size", "ar", "number", "seed", "kind", "fallback", "take", "plain")
        told = {key: given[key] for key in change} | {"endpoint": list(given["endpoint"])}
        plan = cls(source, out, given, digest_of(source, told))
        plan.models = plan._count()
        return plan

    def prompts(self) -> Iterator[Prompt]:
        """The prompts, read anew."""
        return read_prompts(self.source, plain=self.given["plain"], limit=self.given["limit"])

    def _count(self) -> tuple[str, ...]:
        """Count the records, and find the models that rows name."""
        models: dict[str, None] = {}
        for prompt in self.prompts():
            self.records += 1
            self.invalid += bool(prompt.problem)
            self.wanted += (
                1 if prompt.problem else prompt.n if prompt.n > 1 else self.given["number"]
            )
            if prompt.model:
                models[prompt.model] = None
        if not self.records:
            raise BadInput(
                "文件里一条提示词也没有，没有花钱。",
                "There is no prompt in the file; nothing was spent.",
            )
        return tuple(models)

    def options(self, settings: Settings) -> RunOptions:
        """What holds for every picture of the run."""
        given = self.given
        return RunOptions(
            model=given["model"] or (self._main_model(settings) if self.models else ""),
            size=given["ar"] or given["size"] or settings.size, seed=given["seed"], n=given["number"],
            in_doubt=given["in_doubt"] or settings.in_doubt,
            delivery={"format": given["kind"]} if given["kind"] else {}, take=given["take"],
            retries=settings.retries if given["retries"] is None else given["retries"],
            fallback=tuple(filter(None, given["fallback"].split(","))),
        )  # fmt: skip

    def _main_model(self, settings: Settings) -> str:
        """Rows without a model of their own go to the first endpoint's, not to any."""
        return settings.endpoint(_named(self, settings)[0]).model

    def estimate(self, settings: Settings, names: Sequence[str]) -> Estimate:
        """What is still to be made, and its price. Pictures in the store cost nothing."""
        offers = [_Offer(settings.endpoint(name)) for name in names]
        fallback = set(self.options(settings).fallback)
        paid = [offer for offer in offers if offer.config.name not in fallback] or offers
        with _Known(settings.workspace / "journal.db") as known:
            return Estimate.of(self._wanted(settings, paid, known))

    def _wanted(
        self, settings: Settings, offers: Sequence[_Offer], known: _Known
    ) -> Iterator[tuple[str, Price]]:
        options = self.options(settings)
        for prompt in self.prompts():
            for request in _requests(prompt, options):
                if known.has(request.key):
                    self.stored += 1
                    continue
                offer, price = dearest(request, offers)
                if offer is not None:
                    self.prices[offer.config.name] = price
                    yield offer.config.model or offer.config.name, price

    def tell(self, common: Common, estimate: Estimate) -> None:
        """Count and price, said before anything is spent."""
        total = estimate.text()
        common.emit(
            {"event": "plan", "records": self.records, "wanted": self.wanted, "invalid": self.invalid,
             "stored": self.stored, "to_make": estimate.count, "unknown_price": estimate.unknown,
             "total": {code: float(amount) for code, amount in estimate.total.parts},
             "models": [{"model": line.model, "count": line.count,
                         "each": None if line.each is None else str(line.each)} for line in estimate.lines],
             "out": str(self.out)}
        )  # fmt: skip
        spare_zh = f"，其中 {self.stored} 张已有或重复（不花钱）" if self.stored else ""
        spare_en = f", {self.stored} of them already there or twins (free)" if self.stored else ""
        bad_zh = f"，{self.invalid} 条有误" if self.invalid else ""
        bad_en = f", {self.invalid} invalid" if self.invalid else ""
        speak = common.say if self.given["dry_run"] else common.hint
        speak(
            f"{self.records} 条提示词，要 {self.wanted} 张{spare_zh}{bad_zh} → {self.out}",
            f"{self.records} prompts, {self.wanted} pictures wanted{spare_en}{bad_en} → {self.out}",
        )
        for line in estimate.lines:
            unknown = line.each is None
            speak(
                f"  {line}" + ("（价格未知）" if unknown else ""),
                f"  {line}" + (" (unknown)" if unknown else ""),
            )
        speak(f"要做：{total.zh}", f"To make: {total.en}")


def settings_for(settings: Settings, plan: Plan) -> tuple[Settings, list[str]]:
    """Settings with ``--rpm`` in them, and the endpoints to use: named ones, and one a model.

    Raises BadSettings for an unknown endpoint or a missing key.
    """
    names = _named(plan, settings)
    base = names[0]
    for model in plan.models:
        if all(settings.endpoint(name).model != model for name in names):
            names.append(f"{base.partition(':')[0]}:{model}")
    names += [name for name in plan.given["fallback"].split(",") if name and name not in names]
    made = {name: settings.endpoint(name) for name in names}
    if rpm := plan.given["rpm"]:
        limited = {name: replace(c.limits, submit_per_second=rpm / 60) for name, c in made.items()}
        made = {name: replace(config, limits=limited[name]) for name, config in made.items()}
    return replace(settings, endpoints={**settings.endpoints, **made}), names


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
        self.provider = made.create(self.config.endpoint(), Tools(key=self.config.api_key))
        self.sizes = self.provider.capabilities().sizes

    def price(self, request: Request) -> Price | None:
        """None where it could not make this picture."""
        from redloom.endpoint import Asked

        if request.model not in ("", self.config.model):
            return None
        ratio = parse_ratio(request.size)
        size = nearest(ratio, self.sizes) if ratio else parse_size(request.size)
        asked = Asked(
            prompt=request.prompt, model=self.config.model, size=size, seed=request.seed,
            negative_prompt=request.negative, references=request.references,
            options={**self.config.options, **request.options}, key=request.key,
        )  # fmt: skip
        try:
            fitted = self.provider.fit(asked).asked
        except Refused:
            return None
        found: Price = self.config.price or self.provider.price(fitted)
        return found


def dearest(request: Request, offers: Sequence[_Offer]) -> tuple[_Offer | None, Price]:
    """The dearest known price of those that could make it, since any may get it; None: nobody."""
    able = [(offer, price) for offer in offers if (price := offer.price(request)) is not None]
    if not able:
        return None, UNPRICED
    unknown = [one for one in able if one[1].amount is None]
    return unknown[0] if unknown else max(able, key=lambda one: one[1].amount or 0.0)


def _requests(prompt: Prompt, options: RunOptions) -> Iterator[Request]:
    if prompt.problem:
        return
    number = prompt.n if prompt.n > 1 else options.n
    first = max(prompt.take, options.take)
    for take in range(first, first + number):
        try:
            yield request_of(prompt, take=take, **options.of_run())
        except BadInput:
            return


class _Known:
    """Which keys need no purchase: seen before in this input, or in the workspace's store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[bytes] = set()

    def __enter__(self) -> _Known:
        from redloom.journal import Journal

        self._journal = Journal(self._path) if self._path.is_file() else None
        return self

    def __exit__(self, *_error: object) -> None:
        if self._journal is not None:
            self._journal.close()

    def has(self, key: str) -> bool:
        """Whether the picture of this key is there or already counted."""
        mark = bytes.fromhex(key.rpartition(":")[2][:24])
        if mark in self._seen:
            return True
        self._seen.add(mark)
        if self._journal is None:
            return False
        return self._journal.read_now(lambda db: db.one("image", key=key)) is not None
