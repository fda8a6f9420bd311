"""How long a service takes for a picture, and dice that fall the same way every time.

May import: errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from statistics import NormalDist

from redloom.errors import BadInput

_NORMAL = NormalDist()


def draw(seed: int, *parts: str | int) -> float:
    """A number in [0, 1) that depends on ``seed`` and ``parts`` alone, on every machine."""
    text = "\x1f".join(map(str, (seed, *parts)))
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # 53 bits are what a float holds exactly, so that the result never rounds up to 1.
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """Log-normal service time, clipped; nominal seconds.

    The default is a text-to-image service as measured from outside: median 55 s, nearly all
    between half a minute and two.
    """

    median: float = 55.0
    sigma: float = 0.4
    low: float = 30.0
    high: float = 120.0

    @property
    def zero(self) -> bool:
        """Whether the service answers at once."""
        return self.high == 0

    def of(self, seed: int, prompt: str) -> float:
        """Seconds for ``prompt``: the same however often and in whatever order it is asked."""
        if self.zero:
            return 0.0
        # Half a step above the drawn number keeps it inside (0, 1), where the quantile exists.
        quantile = _NORMAL.inv_cdf(draw(seed, "time", prompt) * (1 - 2**-40) + 2**-41)
        return min(self.high, max(self.low, self.median * math.exp(self.sigma * quantile)))


def parse_service_time(text: str) -> ServiceTime:
    """``MEDIAN,SIGMA,LOW,HIGH``, or one number for a constant time (``0``: at once).

    Raises BadInput where it is neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = [numbers[0], 0.0, numbers[0], numbers[0]]
    if not _sound(numbers):
        raise BadInput(
            f"看不懂的耗时“{text}”：要写成 中位数,离散度,最短,最长（如 55,0.4,30,120），或一个秒数（0 为立即）。",
            f"Cannot read the latency '{text}': write MEDIAN,SIGMA,LOW,HIGH (such as 55,0.4,30,120) or one number of seconds (0: at once).",
        )
    return ServiceTime(*numbers)


def _sound(numbers: list[float]) -> bool:
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        return False
    median, sigma, low, high = numbers
    return 0 <= low <= median <= high and 0 <= sigma <= 10
