"""Everything that can go wrong, split by what to do next and by whether money may be gone.

::

    RedloomError
    ├── Usage                      put it right and start again; nothing was spent (exit 2)
    │   ├── BadInput               a source, a prompt file, an option that cannot be read
    │   ├── BadSettings            configuration, keys missing, an unknown endpoint
    │   ├── MissingExtra           an optional part is not installed
    │   └── WouldOverwrite         something else already lies where the result should go
    ├── ServiceError               what an endpoint answered, or did not
    │   ├── NotSent                ask again: the request never left            spent: no
    │   ├── Throttled              wait, then ask again                         spent: no
    │   ├── Unavailable            ask again later, or elsewhere: it said no    spent: no
    │   ├── AnswerLost             look before anything else: it may be made    spent: maybe
    │   ├── Refused                give up on this picture                      spent: no
    │   │   └── ContentRefused     the same, by moderation; another seed may pass
    │   ├── TaskFailed             an accepted task ended without a picture     spent: no
    │   │   └── Withheld           called made, and no picture handed over      spent: maybe
    │   └── EndpointStopped        use this endpoint no more until a person acts
    │       ├── KeyRefused         wrong, expired, or another region's key
    │       ├── AccountEmpty       arrears, unpaid, plan or free quota used up
    │       └── NotAllowed         model or workspace not open to this account
    ├── PictureError               the picture is paid for, its bytes are not here yet
    │   ├── FetchFailed            fetch again                                  spent: yes
    │   ├── LinkExpired            ask the task for a new link, fetch again     spent: yes
    │   ├── NotAPicture            the bytes are no picture of the kind asked   spent: yes
    │   └── UnsafeLink             the link points where we do not go           spent: yes
    └── WorkspaceError             stop, nothing is lost: disk, journal, lock
        ├── DiskFull
        ├── JournalDamaged
        └── EpochPassed            another engine took over; this one may not spend

An error's message is a `Text`: what happened, whether money was spent, what to do next.
May import: lang.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from .lang import Text

Spent = Literal["no", "maybe", "yes"]


class RedloomError(Exception):
    """The root. ``code`` is stable and is what the troubleshooting page is keyed by.

    ``service_code`` is the service's own word where there is one, shown verbatim.
    """

    code: ClassVar[str] = "redloom"
    spent: ClassVar[Spent] = "no"
    exit_status: ClassVar[int] = 1

    def __init__(self, zh: str, en: str, *, service_code: str = "") -> None:
        super().__init__(zh, en)
        self.text = Text(zh, en)
        self.service_code = service_code

    def __str__(self) -> str:
        return str(self.text)


class Usage(RedloomError):
    """What was asked for cannot be done as asked; nothing was spent."""

    code = "usage"
    exit_status = 2


class BadInput(Usage):
    """A source, a prompt file or an option that cannot be read."""

    code = "bad-input"


class BadSettings(Usage):
    """Configuration is wrong or missing."""

    code = "bad-settings"


class MissingExtra(Usage):
    """An optional part is not installed; the message holds the line that installs it."""

    code = "missing-extra"

    def __init__(self, extra: str, what: Text) -> None:
        line = f"pip install 'redloom[{extra}]'"
        super().__init__(
            f"{what.zh}需要另外安装的部分：{line}",
            f"{what.en} needs an extra part: {line}",
        )


class WouldOverwrite(Usage):
    """Something else already lies where the result should go."""

    code = "would-overwrite"


class ServiceError(RedloomError):
    """What an endpoint answered, or did not."""

    code = "service"


class NotSent(ServiceError):
    """The request's bytes never left this machine, so nothing can have been bought."""

    code = "not-sent"


class Throttled(ServiceError):
    """Too fast, too many, or no quota for now. ``retry_after_s`` in nominal seconds if told."""

    code = "throttled"
    Kind = Literal["rate", "burst", "concurrency", "quota", "congestion"]

    def __init__(
        self,
        zh: str,
        en: str,
        *,
        kind: Throttled.Kind = "rate",
        retry_after_s: float | None = None,
        service_code: str = "",
    ) -> None:
        super().__init__(zh, en, service_code=service_code)
        self.kind = kind
        self.retry_after_s = retry_after_s


class Unavailable(ServiceError):
    """The service said no for reasons of its own; nothing was accepted."""

    code = "unavailable"

    def __init__(
        self, zh: str, en: str, *, retry_after_s: float | None = None, service_code: str = ""
    ) -> None:
        super().__init__(zh, en, service_code=service_code)
        self.retry_after_s = retry_after_s


class AnswerLost(ServiceError):
    """The request left and no usable answer came back: the picture may be made and billed."""

    code = "answer-lost"
    spent = "maybe"


class Refused(ServiceError):
    """The service will never make this picture as asked."""

    code = "refused"


class ContentRefused(Refused):
    """Moderation. ``other_seed_may_pass`` where the block was on the output, not the words."""

    code = "content-refused"

    def __init__(
        self, zh: str, en: str, *, other_seed_may_pass: bool = False, service_code: str = ""
    ) -> None:
        super().__init__(zh, en, service_code=service_code)
        self.other_seed_may_pass = other_seed_may_pass


class TaskFailed(ServiceError):
    """An accepted task ended without a picture. ``retry`` where its code's class allows it."""

    code = "task-failed"

    def __init__(self, zh: str, en: str, *, retry: bool = True, service_code: str = "") -> None:
        super().__init__(zh, en, service_code=service_code)
        self.retry = retry


class Withheld(TaskFailed):
    """The service calls the task made and hands no picture over: it may be billed.

    Asked for a few times more, then left in doubt; never bought again by itself.
    """

    code = "withheld"
    spent = "maybe"

    def __init__(self, zh: str, en: str, *, service_code: str = "") -> None:
        super().__init__(zh, en, retry=False, service_code=service_code)


class EndpointStopped(ServiceError):
    """This endpoint is of no use until a person acts."""

    code = "endpoint-stopped"


class KeyRefused(EndpointStopped):
    """The key is wrong, expired, or belongs to another region."""

    code = "key-refused"


class AccountEmpty(EndpointStopped):
    """Arrears, an unpaid bill, a plan or a free quota used up."""

    code = "account-empty"


class NotAllowed(EndpointStopped):
    """The model or workspace is not open to this account."""

    code = "not-allowed"


class PictureError(RedloomError):
    """A paid picture whose bytes are not here yet. Never a reason to buy it again."""

    code = "picture"
    spent = "yes"


class FetchFailed(PictureError):
    """The download broke, or the far side was down."""

    code = "fetch-failed"


class LinkExpired(PictureError):
    """The link is no longer good; the task may give a new one while its record lives."""

    code = "link-expired"


class NotAPicture(PictureError):
    """The bytes are not a whole picture of a kind we take."""

    code = "not-a-picture"


class UnsafeLink(PictureError):
    """The link points where no picture of this endpoint can lie, such as inward."""

    code = "unsafe-link"


class WorkspaceError(RedloomError):
    """The workspace cannot be used; what it holds is not lost."""

    code = "workspace"


class DiskFull(WorkspaceError):
    """No room, or no right, to write."""

    code = "disk"


class JournalDamaged(WorkspaceError):
    """The journal cannot be read, or is newer than this program."""

    code = "journal"


class EpochPassed(WorkspaceError):
    """Another engine holds the workspace now; this one may not spend any more."""

    code = "epoch-passed"


class Withdrawn(RedloomError):
    """The row has its outcome already, such as a cancel from elsewhere; nothing is spent on it."""

    code = "withdrawn"

    def __init__(self) -> None:
        super().__init__(
            "这一行已有结果；没有花钱。", "The row has its outcome; nothing was spent."
        )
