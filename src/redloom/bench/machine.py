"""Where and when a race was run: what a reader needs to judge its figures.

May import: version.
"""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from redloom.version import __version__


def about() -> dict[str, Any]:
    """Cores, load before the race, versions, day. No name of a machine or a user."""
    load = os.getloadavg()[0]
    cores = os.cpu_count() or 1
    return {
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "load_before": round(load, 2),
        "quiet": load < 0.3 * cores,
        "emulated": True,
    }
