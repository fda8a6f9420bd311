"""Who calls: tokens, the page's cookie, wrong guesses, pictures a minute.

Tokens are compared by their SHA-256 in constant time; the journal holds nothing but that. The
page's cookie is signed, names its caller and ends by itself after thirty days.

May import: journal, errors, lang, studio.memory, studio.problems.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from redloom.journal import Row
from redloom.lang import Text

from .memory import Memory
from .problems import Problem, too_many

Role = Literal["admin", "user"]
COOKIE = "redloom_session"
SESSION_S = 30 * 86400
GUESSES = 10
"""Wrong tokens from one address in a minute."""
PREFIX = "rl_"
_KNOWN_PEERS = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``by`` is how we know."""

    name: str
    role: Role
    by: Literal["loopback", "token", "cookie", "stdio"]
    per_minute: float | None = None
    budget: float | None = None
    currency: str = ""

    @property
    def sees(self) -> str:
        """Whose runs are shown: empty for all."""
        return "" if self.role == "admin" else self.name


LOCAL = Caller("local", "admin", "loopback")


def new_token() -> str:
    """A token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass
class Callers:
    """Tells who calls. ``admin`` is the SHA-256 of ``--token``, empty where there is none."""

    memory: Memory
    secret: bytes
    admin: str = ""
    now: Callable[[], float] = time.time
    _wrong: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)

    def by_token(self, token: str) -> Caller | None:
        """Whose token this is, or None."""
        digest = digest_of(token)
        if self.admin and hmac.compare_digest(digest, self.admin):
            return Caller("admin", "admin", "token")
        row = self.memory.caller_by_hash(digest)
        if row is None or row["revoked"] is not None:
            return None
        return _of_row(row, "token")

    def by_cookie(self, cookie: str) -> Caller | None:
        """Whose session this is, or None where it is forged, over, or its token is good no more."""
        name, _, rest = cookie.partition(".")
        ends, _, mark = rest.partition(".")
        if not ends.isascii() or not ends.isdigit() or int(ends) < self.now():
            return None
        named, key = self._key_of(bytes.fromhex(name).decode() if _is_hex(name) else "")
        if named is None or not hmac.compare_digest(mark, self._mark(name, ends, key)):
            return None
        return named

    def named(self, name: str) -> Caller:
        """The caller of that name, for work that goes on without a request."""
        row = self.memory.caller(name)
        return LOCAL if row is None else _of_row(row, "token")

    def cookie_for(self, caller: Caller) -> str:
        """A session's cookie."""
        name, ends = caller.name.encode().hex(), str(int(self.now()) + SESSION_S)
        _, key = self._key_of(caller.name)
        return f"{name}.{ends}.{self._mark(name, ends, key)}"

    def csrf_for(self, cookie: str) -> str:
        """What a page with this cookie (or none) sends back with every change."""
        return self._sign(f"csrf|{cookie}")

    def _key_of(self, name: str) -> tuple[Caller | None, str]:
        """The caller of a session, and the digest of the token that it was opened with."""
        if name == "admin" and self.admin:
            return Caller("admin", "admin", "cookie"), self.admin
        row = self.memory.caller(name)
        if row is None or row["revoked"] is not None:
            return None, ""
        return _of_row(row, "cookie"), str(row["hash"])

    def _mark(self, name: str, ends: str, key: str) -> str:
        return self._sign(f"session|{name}|{ends}|{key}")

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()

    # wrong guesses

    def check_guesses(self, client: str) -> None:
        """Raises Problem 429 where this address has guessed wrong too often."""
        now = self.now()
        lately = [at for at in self._wrong.get(client, ()) if at > now - 60]
        if len(lately) >= GUESSES:
            raise too_many(
                "口令错得太多，请稍后再试。",
                "Too many wrong tokens; try again later.",
                lately[0] + 60 - now,
                "too_many_attempts",
            )

    def guessed_wrong(self, client: str) -> None:
        """Remember it."""
        now = self.now()
        lately = [at for at in self._wrong.pop(client, []) if at > now - 60]
        self._wrong[client] = [*lately, now][-GUESSES:]
        while len(self._wrong) > _KNOWN_PEERS:
            self._wrong.popitem(last=False)


def _of_row(row: Row, by: Literal["token", "cookie"]) -> Caller:
    return Caller(row["name"], "user", by, row["per_minute"], row["budget"], row["currency"])


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and bool(text) and not set(text) - set("0123456789abcdef")


@dataclass
class Quotas:
    """Pictures a minute of each caller: a bucket that holds one minute's worth."""

    now: Callable[[], float] = time.monotonic
    _levels: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, caller: Caller, pictures: int) -> None:
        """Count ``pictures``. Raises Problem 429 (when it will be possible) or 422 (never)."""
        rate = caller.per_minute
        if rate is None or pictures <= 0:
            return
        if pictures > max(1.0, rate):
            raise Problem(
                422, "over_quota",
                Text(
                    f"一次要 {pictures} 张，超过这个口令每分钟 {rate:g} 张的限额。",
                    f"{pictures} pictures at once are more than this token's {rate:g} a minute.",
                ),
                param="n",
            )  # fmt: skip
        now = self.now()
        level, at = self._levels.get(caller.name, (0.0, now))
        level = max(0.0, level - (now - at) * rate / 60)
        over = level + pictures - max(1.0, rate)
        if over > 1e-9:
            raise too_many(
                f"超过这个口令每分钟 {rate:g} 张的限额；没有花钱。",
                f"Over this token's {rate:g} pictures a minute; nothing was spent.",
                over * 60 / rate,
            )
        self._levels[caller.name] = (level + pictures, now)
