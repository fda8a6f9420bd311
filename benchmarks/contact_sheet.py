"""How soon a contact sheet of five thousand pictures can be used, in headless Chromium.

A folder with 5,000 pictures, some refused, some doubtful, is written as a run leaves it. Told are
the sheet's size, the time to write it, and from the call of the page: until the first screen's
thumbnails are shown and the page answers, until a search is answered, and until the foot of the
page has been reached.

    python benchmarks/contact_sheet.py [--rows 5000] [--keep FOLDER] [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from helpers.chromium import BROWSER, page  # noqa: E402
from helpers.sheet import folder_of_pictures  # noqa: E402

LIMIT_S = 2.0
SHOWN = (
    "document.readyState==='complete'&&(()=>{const v=[...document.querySelectorAll('main img')].filter("
    "i=>i.getBoundingClientRect().top<innerHeight);return v.length>3&&v.every(i=>i.complete&&i.naturalWidth)})()"
)


async def look(index: Path, picture: Path | None) -> dict[str, float]:
    """Open the sheet and use it; seconds since the call of the page."""
    async with page() as tab:
        began = time.perf_counter()
        await tab.open(index.as_uri())
        await tab.until(SHOWN)
        took = {"first screen shown": time.perf_counter() - began}
        if picture is not None:
            await tab.picture(picture)
        began = time.perf_counter()
        await tab.eval(
            "(()=>{const i=document.querySelector('input');i.value='4321';i.dispatchEvent(new Event('input'))})()"
        )
        await tab.until("document.querySelectorAll('article').length===1")
        took["a search answered"] = time.perf_counter() - began
        began = time.perf_counter()
        await tab.eval(
            "(()=>{const i=document.querySelector('input');i.value='';i.dispatchEvent(new Event('input'))})()"
        )
        await tab.until(
            "(scrollTo(0,document.body.scrollHeight),document.querySelectorAll('article').length>=D.rows.length)"
        )
        took["scrolled to the foot"] = time.perf_counter() - began
        assert not tab.errors, tab.errors
    return took


def main() -> None:
    """Measure and print; exit status 1 where the first screen takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    if not BROWSER:
        print("no chromium here: not measured")
        return
    with tempfile.TemporaryDirectory() as spare:
        began = time.perf_counter()
        index, wrote_s = folder_of_pictures(asked.keep or Path(spare), asked.rows)
        print(f"{'folder made':24} {time.perf_counter() - began:.1f} s")
        print(f"{'sheet written':24} {wrote_s:.2f} s, {index.stat().st_size / 1e6:.1f} MB")
        took = asyncio.run(look(index, asked.picture))
    for name, seconds in took.items():
        print(f"{name:24} {seconds:.2f} s")
    good = took["first screen shown"] <= LIMIT_S
    print(f"{'usable within 2 s':24} {'yes' if good else 'NO'}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
