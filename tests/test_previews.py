"""Previews are kept while somebody watches, and cost nothing otherwise."""

from __future__ import annotations

from redloom.previews import KEPT, Previews


def test_nothing_is_kept_for_nobody() -> None:
    """Without a watcher a preview is dropped; when the last one leaves, all of them are."""
    previews = Previews()
    previews.keep("k", b"1")
    assert previews.of("k") == b""
    leave, other = previews.watch(), previews.watch()
    previews.keep("k", b"2")
    leave()
    leave()
    assert (previews.wanted, previews.of("k")) == (True, b"2")
    other()
    assert (previews.wanted, previews.of("k")) == (False, b"")


def test_providers_hear_of_watchers() -> None:
    """Told at once, then only when the first comes and the last goes, and no more after leaving."""
    previews, heard = Previews(), list[bool]()
    deaf = previews.listen(heard.append)
    leaves = [previews.watch(), previews.watch()]
    for leave in leaves:
        leave()
    deaf()
    previews.watch()
    assert heard == [False, True, False]


def test_only_the_newest_are_kept() -> None:
    """A job's newer preview takes the older one's place; too many jobs, and the oldest go."""
    previews = Previews()
    previews.watch()
    for number in range(KEPT + 1):
        previews.keep(f"k{number}", b"%d" % number)
    previews.keep("k1", b"newer")
    assert previews.of("k0") == b""
    assert previews.of("k1") == b"newer"
    assert previews.of(f"k{KEPT}") == b"%d" % KEPT
