"""Where a picture can be made: the seam between the engine and every service.

A *provider* is a kind of service (one file in `providers`); an *endpoint* is a provider at an
address, with an account, a model and its limits. The seam has two verbs that matter, `submit`
and `poll`, and not one, because what submit hands back is paid for and has to reach the journal
before anything else happens. A synchronous service or a local one answers at submit.

What a provider file must hold::

    def create(endpoint: Endpoint, tools: Tools) -> Provider     # required
    DEFAULTS: Defaults                                           # environment, hosts, model
    MODELS: tuple[str, ...]                                      # optional: names to suggest

Blocking work (reading a reference picture) goes through `offload`, off the loop.
May import: errors, clock, lang, previews, wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from .clock import Clock, SystemClock, offload
from .errors import ServiceError
from .lang import Text
from .previews import Previews
from .wire import Answer, Form, Part, Wire, read_json

__all__ = [
    "Answer",
    "Asked",
    "Canceled",
    "Capabilities",
    "Defaults",
    "Endpoint",
    "Failed",
    "Fitted",
    "Form",
    "Lane",
    "Limits",
    "Made",
    "Outcome",
    "Part",
    "Picture",
    "Price",
    "Provider",
    "PublishesQuota",
    "Seen",
    "Size",
    "TellsQuota",
    "Ticket",
    "Times",
    "Told",
    "Tools",
    "Unknown",
    "Waiting",
    "Wire",
    "offload",
    "read_json",
]

Lane = Literal["sync", "async"]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast an endpoint may be asked. Rates are per nominal second; None is no limit known.

    They belong to (account, region, model), never to a key.
    """

    submit_per_second: float | None = None
    """Requests for a picture."""
    concurrency: int | None = None
    """Tasks that the service runs at once on the asynchronous lane."""
    sync_concurrency: int | None = None
    """Requests at once on the synchronous lane; None: no limit known."""
    poll_per_second: float | None = None
    """Status queries of the whole account."""
    list_per_second: float | None = None
    """List calls of the whole account."""
    downloads: int = 8
    """Downloads at once; ours, not the service's."""


@dataclass(frozen=True, slots=True)
class Told:
    """Limits as the service itself tells them of the whole account; None: not told.

    Rates are per nominal second. What the user set and what a refusal taught is not lost to it.
    """

    submit_per_second: float | None = None
    """What may be asked for, to be used from the start."""
    at_most_per_second: float | None = None
    """What may be asked for by one count of several: never exceeded, and not begun with."""
    concurrency: int | None = None
    """Tasks that it runs at once."""
    waiting: int | None = None
    """Tasks that may wait there beyond those."""


@runtime_checkable
class PublishesQuota(Protocol):
    """A provider whose service has a call that tells the account's limits."""

    async def quota(self) -> Told | None:
        """The limits of this endpoint's model now; None where it tells none. Buys nothing.

        Raises what `Provider.poll` raises.
        """


@runtime_checkable
class TellsQuota(Protocol):
    """A provider whose service tells limits beside its answers."""

    on_told: Callable[[Told], None]
    """Called with what an answer told; set by whoever paces the endpoint."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money for one picture. ``amount`` None means unknown, which is never zero."""

    amount: float | None
    """Money for one picture; None: unknown."""
    currency: str = "CNY"
    source: Literal["reported", "estimated", "unknown"] = "estimated"
    """Who says so: the service itself, a dated list, nobody."""
    as_of: str = ""
    """Day of the published table, ISO."""


FREE = Price(0.0, "", "reported")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this endpoint's model can do."""

    lanes: tuple[Lane, ...] = ("async",)
    """The protocols that the model is offered on."""
    queues_excess: bool | None = None
    """Whether what exceeds the concurrency waits (True) or is refused (False); None: unknown."""
    lists_tasks: bool = False
    """Whether `Provider.look` works: what a lost answer can be settled by."""
    list_lag_s: float = 10.0
    """How long after a submit a list may still miss it, nominal seconds."""
    list_page: int = 10
    """Tasks on one page of the list."""
    prompt_in_result: bool = False
    """Whether a finished task's answer carries the prompt as asked: a safe match in rule 2."""
    cancels: bool = False
    """Whether a task that waits can be taken back."""
    sizes: tuple[Size, ...] = ()
    """Sizes to suggest; `Provider.fit` knows the full rule."""
    seed: bool = True
    """Whether a seed is heeded."""
    negative_prompt: bool = False
    """Whether a negative prompt is heeded."""
    references: int = 0
    """How many reference pictures it takes."""
    prompt_characters: int | None = None
    """Longest prompt; None: no limit known."""
    url_life_s: float = 86400.0
    """How long a link lives, nominal seconds."""
    typical_s: float = 60.0
    """Median service time, a prior for polling and routing."""
    free: bool = False
    """Whether its pictures cost nothing."""
    local: bool = False
    """Made on this machine: no network, no lock, nothing to settle."""
    made_by_model: bool = True
    """Whether its pictures need the implicit AIGC label; a typeset card does not."""
    picture_hosts: tuple[str, ...] = ()
    """Host suffixes (``.aliyuncs.com``) on which its results may lie, besides its own host."""
    ratios: tuple[str, ...] = ()
    """Shapes by name (``3:4``) where the service takes a shape in the place of a size."""
    formats: tuple[str, ...] = ("png",)
    """File formats in which its pictures come."""
    gives_links: bool | None = True
    """Whether a picture comes as a link that expires (True) or as its bytes (False); None: either,
    as the service likes."""
    record_life_s: float = 86400.0
    """How long it knows a finished task, nominal seconds; `math.inf`: for good."""
    regions: tuple[str, ...] = ()
    """Regions whose keys are good only there; empty where a key is good everywhere."""
    moderates: bool = True
    """Whether it refuses content."""
    throttles: bool = True
    """Whether it refuses what comes too fast."""
    checks_key: bool = True
    """Whether `Provider.check` tries the key, for free."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A provider at an address, with an account, a model and its limits. Holds no key."""

    name: str
    """What it is called in the settings."""
    provider: str
    """The kind of service: a file of `providers`."""
    model: str = ""
    """The service's own name of the model."""
    base_url: str = ""
    """The address; empty: the provider's own."""
    region: str = ""
    """Where the account is; limits and keys belong to it."""
    account: str = ""
    """Whose quota it is; two endpoints of one account and region share limits."""
    limits: Limits = field(default_factory=Limits)
    """Where they differ from the published ones."""
    price: Price | None = None
    """Overrides the provider's own table."""
    share: float = 1.0
    """This machine's part of the account's quota (``account_share``)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own options, from the settings."""

    @property
    def quota(self) -> tuple[str, str, str]:
        """What limits are counted by: (account, region or address, model)."""
        return (self.account or self.name, self.region or self.base_url, self.model)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a provider is given: its key (never printed), the clock, ways to be tested."""

    key: str = field(default="", repr=False)
    """The account's key; empty where none is needed."""
    clock: Clock = field(default_factory=SystemClock)
    """Nominal time; what waits and is timed goes by it."""
    wire: Callable[..., Wire] = Wire
    """Makes the HTTP session."""
    folder: Path | None = None
    """Where pictures that come inside an answer are set down (`Picture.file`); None: in memory."""
    progress: Callable[[str, float], None] = lambda _key, _fraction: None
    """Told how far (0 to 1) the job of this key is, by services that say so while they work."""
    previews: Previews = field(default_factory=Previews)
    """Where small pictures of what is being made go, by services that have them, while watched."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture's request as a provider gets it. ``size`` is already one the model takes."""

    prompt: str
    """The words, as they are to be sent."""
    model: str
    """The service's own name of the model."""
    size: Size | None = None
    """(width, height) in pixels; None: the service's own choice."""
    seed: int | None = None
    negative_prompt: str = ""
    references: tuple[str, ...] = ()
    """Paths or addresses of pictures, at most as many as the model takes."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The provider's own options."""
    key: str = ""
    """The job's key: for local providers' file names and idempotency headers."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A request changed to what the model accepts, and what was changed, said."""

    asked: Asked
    """The request as it will be sent."""
    notes: tuple[Text, ...] = ()
    """A sentence for each change."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a submit hands back to be polled. ``data`` is plain JSON and holds no secret."""

    id: str
    """The service's own name of the task."""
    request_id: str = ""
    """Its name of the request, for complaints."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What else a poll needs, such as an address."""


@dataclass(frozen=True, slots=True)
class Times:
    """The service's own times of a task, nominal Unix seconds, where it tells them."""

    queued: float | None = None
    started: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as the service hands it over: a link, or the bytes themselves.

    ``file`` is the path of bytes that came whole and lie on the disk already: what large pictures
    inside an answer should be, so that a crash does not lose them and memory does not hold them.
    """

    url: str = ""
    """Its link, which may expire."""
    data: bytes | None = None
    """Its bytes, where they came with the answer and are small."""
    file: str = ""
    """The path of its bytes, where they lie on the disk already."""
    revised_prompt: str = ""
    """The prompt as the service rewrote it, where it says so."""
    seed: int | None = None
    """The seed that it was made with, where the service says so."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not finished. ``running`` False: still queued at the service (PENDING)."""

    running: bool
    """Whether the service has begun."""
    times: Times = Times()
    progress: float | None = None
    """How far, 0 to 1; None: not told."""


@dataclass(frozen=True, slots=True)
class Made:
    """Finished with a picture. ``price`` only where the service itself reported one."""

    picture: Picture
    """The picture."""
    times: Times = Times()
    price: Price | None = None
    """What the service says that it cost; None: it says nothing."""
    original_prompt: str = ""
    """The prompt as it came in, where the answer carries it."""
    extra: tuple[Picture, ...] = ()
    """Further pictures of the same task."""
    request_id: str = ""
    """The service's name of the request, for complaints."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Ended without a picture; ``error`` says what to do next. Not billed unless ``billed``."""

    error: ServiceError
    """What became of it."""
    times: Times = Times()
    billed: bool | None = False
    """Whether it costs all the same; None: nobody can tell."""
    original_prompt: str = ""
    """The prompt as it came in, where the answer carries it."""


@dataclass(frozen=True, slots=True)
class Canceled:
    """Cancelled at the service; not billed."""

    times: Times = Times()


@dataclass(frozen=True, slots=True)
class Unknown:
    """The service does not know the ticket: too new, or its record has expired."""


Outcome = Waiting | Made | Failed | Canceled | Unknown


@dataclass(frozen=True, slots=True)
class Seen:
    """A task in the account's list. Times are nominal Unix seconds."""

    id: str
    """The service's own name of the task."""
    model: str
    state: Literal["queued", "running", "made", "failed", "canceled", "unknown"]
    """Where it stands."""
    created: float
    started: float | None = None
    ended: float | None = None


class Provider(Protocol):
    """A service. Every method that speaks to it raises only `errors.ServiceError`s."""

    def capabilities(self) -> Capabilities:
        """What the endpoint's model can do; no network."""

    def limits(self) -> Limits:
        """The published limits of the endpoint's model, from a dated table; no network."""

    def price(self, asked: Asked) -> Price:
        """What one such picture costs, from a dated table; no network."""

    def fit(self, asked: Asked) -> Fitted:
        """The request as the model accepts it. Raises Refused for what it never could make."""

    async def submit(self, asked: Asked, lane: Lane) -> Ticket | Made:
        """Ask for one picture; paid from here on.

        Raises NotSent, Throttled, Unavailable (repeatable); AnswerLost, Withheld (look first);
        Refused, EndpointStopped (do not repeat); TaskFailed where a synchronous service took
        the request and no picture came (repeated as often as a failed task is).
        """

    async def poll(self, ticket: Ticket) -> Outcome:
        """What became of a ticket. Raises Throttled, Unavailable, NotSent, AnswerLost: ask again.

        KeyRefused and the like stop the endpoint, never the task.
        """

    async def look(self, since: float, until: float) -> Sequence[Seen]:
        """The account's tasks created in [since, until], whole; every page read.

        Raises Unavailable, Throttled and the like where the list could not be read whole.
        """

    async def cancel(self, ticket: Ticket) -> bool:
        """Ask to cancel; True only where the service said it did."""

    async def check(self) -> None:
        """Check the key for free. Raises KeyRefused and the like."""

    async def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What makes an endpoint of this provider exist without any file."""

    key_variables: tuple[str, ...] = ()
    """Environment variables that may hold the key, the first that is set wins."""
    url_variables: tuple[str, ...] = ()
    """The same for the address."""
    base_url: str = ""
    """The service's public address."""
    model: str = ""
    """The model where none is named."""
    needs_key: bool = True
    """Whether it can be used without a key."""
    option_variables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options of the endpoint that the environment may set, by the variables' names."""
    label: Text = field(default_factory=lambda: Text("", ""))
    """The service's name for people."""
