"""In the worker: latents into pixels, one picture at a time, beside the next batch's denoising.

A pipeline's own call is kept whole: only its ``vae.decode`` is put in between. There the batch
hands its turn to denoise over (`lanes`), so that scaling, unpacking and what else a family does
stay the family's own. On CUDA the rest of the call runs on a stream of its own.

Short of memory: other models are not touched while a batch denoises, so the order is tiles; then
alone, with nothing beside; then without the other models; then that picture fails, and only it.

May import: nothing of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .lanes import Lanes


class NothingDecoded(Exception):
    """Not one picture of the batch could be decoded; each is in `Decoding.failed`."""


@dataclass
class Decoding:
    """One batch's way through ``vae.decode``."""

    vae: Any
    lanes: Lanes
    items: Sequence[Mapping[str, Any]]
    tiles: Callable[[], bool]
    """Whether this size is decoded in tiles."""
    want_tiles: Callable[[], bool]
    """From now on this size is decoded in tiles; False where it was already, or cannot be."""
    make_room: Callable[[], bool]
    """Unload what is not needed; whether there was anything."""
    tidy: Callable[[], None]
    before: Callable[[Mapping[str, Any], bool], None]
    """Called before a picture is decoded, with whether in tiles: tests fail here."""
    learn: Callable[[Any, Any], None]
    """Told latents and picture of one that was decoded, for previews."""
    handed: Callable[[], None]
    """Called when denoising is over."""
    beside: bool = False
    stream: Any = None
    """Of the decoder, on CUDA."""
    failed: dict[int, Exception] = field(default_factory=dict)
    """By place in the batch, those that fit in no way."""
    tiled: bool = False

    def __call__(self, decode: Callable[..., Any], latents: Any, args: Any, more: Any) -> Any:
        """In the place of ``vae.decode(latents, …)``: what it returns, less what failed."""
        self.handed()
        if self.beside:
            self.lanes.hand_over()
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream())
            torch.cuda.set_stream(self.stream)
            latents.record_stream(self.stream)
        outs = []
        for place, item in enumerate(self.items):
            with self.lanes.decoder:
                out = self._one(decode, latents[place : place + 1], args, more, item, place)
            if out is not None:
                outs.append(out)
        if not outs:
            raise NothingDecoded
        return _together(outs)

    def done(self) -> None:
        """The pipeline's call is over, well or not."""
        self.lanes.finished()
        if self.stream is not None:
            torch.cuda.set_stream(torch.cuda.default_stream())

    def _one(
        self, decode: Any, latent: Any, args: Any, more: Any, item: Mapping[str, Any], place: int
    ) -> Any:
        """A picture, or None and its name in `failed`."""
        while True:
            try:
                return self._tried(decode, latent, args, more, item)
            except torch.OutOfMemoryError as error:
                error.__traceback__ = None  # it holds the decoder's tensors
                self.tidy()
                if not self._smaller():
                    self.failed[place] = error
                    return None

    def _tried(self, decode: Any, latent: Any, args: Any, more: Any, item: Any) -> Any:
        tiled = self.tiles()
        if hasattr(self.vae, "enable_tiling"):
            self.vae.enable_tiling() if tiled else self.vae.disable_tiling()
        self.before(item, tiled)
        out = decode(latent, *args, **more)
        self.tiled = self.tiled or tiled
        self.learn(latent, out[0] if isinstance(out, tuple) else out.sample)
        return out

    def _smaller(self) -> bool:
        """The next thing to try that takes less memory; whether there was one."""
        if self.want_tiles():
            return True
        if self.beside:
            self.beside = False
            self.lanes.alone()
            return True
        return self.make_room()


def _together(outs: list[Any]) -> Any:
    """Outputs of one picture each as one of all, in the form in which they came."""
    if isinstance(outs[0], tuple):
        return (torch.cat([out[0] for out in outs]), *outs[0][1:])
    if hasattr(outs[0], "sample"):
        return type(outs[0])(sample=torch.cat([out.sample for out in outs]))
    return torch.cat(outs)
