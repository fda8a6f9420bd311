"""SiliconFlow (硅基流动). Speaks OpenAI's image API; where it differs is data.

See `openai` for the protocol and `_openai_vendors` for the differences and their sources.
May import: endpoint.
"""

from __future__ import annotations

from ._openai_vendors import VENDORS
from .openai import create

__all__ = ["DEFAULTS", "MODELS", "create"]

DEFAULTS = VENDORS["siliconflow"].defaults()
MODELS = VENDORS["siliconflow"].suggested()
