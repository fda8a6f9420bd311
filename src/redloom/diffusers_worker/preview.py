"""In the worker: what a batch looks like between two steps, small, while somebody watches.

Latents are nearly linear in colour: each of their cells times one matrix is a thumbnail, for
nothing. The matrix is fitted to the model's own decoder, first with smooth noise that it decodes,
then with every picture that it makes, so that no table of known models is needed and a new kind
works too. Early steps look as noisy as they are.

May import: nothing of the package.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

MOST_PX = 256
EVERY_S = 0.5
"""A preview of a batch at most this often, seconds."""
_QUALITY = 70
_NOISE = 6
"""Noisy pictures that the first fit is made with."""
_GRID = 16
"""Their sides in cells of the latents."""
_RIDGE = 1e-3


class Projection:
    """From latents, in the decoder's own units, to colours. One for each loaded model."""

    def __init__(self, pipe: Any) -> None:
        self._vae: Any = getattr(pipe, "vae", None)
        self._lock = threading.Lock()
        self._squares: torch.Tensor | None = None
        self._products: torch.Tensor | None = None
        self._matrix: torch.Tensor | None = None
        self.broken = False
        """This kind of pipeline has no previews."""

    def begin(self, decode: Callable[..., Any]) -> None:
        """The first fit, with pictures of smooth noise; nothing where there is one already."""
        if self._matrix is not None or self.broken:
            return
        try:
            channels = _channels(self._vae)
            some = next(self._vae.parameters())
            draw = torch.Generator("cpu").manual_seed(0)
            noise = torch.randn(_NOISE, channels, 4, 4, generator=draw)
            noise = functional.interpolate(noise, (_GRID, _GRID), mode="bicubic")
            latents = _in_units(self._vae, noise.to(some.device, some.dtype))
            for one in latents.split(1):
                whole = one.unsqueeze(2) if _has_frames(self._vae) else one
                self.learn(whole, decode(whole, return_dict=False)[0])
        except torch.OutOfMemoryError:
            return
        except Exception:
            self.broken = True

    def learn(self, latents: Any, image: Any) -> None:
        """One picture's latents and its pixels in [-1, 1], as the decoder took and gave them."""
        cells = latents[:, :, 0] if latents.ndim == 5 else latents
        pixels = image[:, :, 0] if image.ndim == 5 else image
        if pixels.shape[1] != 3:
            return
        small = functional.adaptive_avg_pool2d(pixels.float(), tuple(cells.shape[-2:]))
        known = _rows(cells.float()).cpu().double()
        wanted = _rows(small / 2 + 0.5)[:, :-1].cpu().double()
        if not bool(known.isfinite().all() and wanted.isfinite().all()):
            return
        with self._lock:
            squares, products = known.T @ known, known.T @ wanted
            self._squares = squares if self._squares is None else self._squares + squares
            self._products = products if self._products is None else self._products + products
            ridge = _RIDGE * self._squares.diagonal().mean() * torch.eye(len(self._squares))
            self._matrix = torch.linalg.solve(self._squares + ridge, self._products).float()

    def thumbnails(self, latents: Any, size: tuple[int, int]) -> Any:
        """A step's latents as levels of shape (pictures, height, width, 3); None where that
        cannot be. ``size``: width and height of the finished picture in pixels.
        """
        cells = None if self._matrix is None else _spatial(self._vae, latents, size)
        if cells is None or self._matrix is None:
            return None
        count, _, high, wide = cells.shape
        colours = _rows(_in_units(self._vae, cells).float()) @ self._matrix.to(cells.device)
        levels = (colours.clamp(0, 1) * 255).round().to(torch.uint8)
        return levels.reshape(count, high, wide, 3)


def jpeg(levels: Any) -> bytes:
    """Levels of shape (height, width, 3) as a small JPEG."""
    from PIL import Image

    image = Image.fromarray(levels.numpy())
    image.thumbnail((MOST_PX, MOST_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _rows(values: Any) -> Any:
    """(pictures, channels, height, width) as rows of channels, and a one behind each."""
    flat = values.movedim(1, -1).reshape(-1, values.shape[1])
    return torch.cat([flat, flat.new_ones(len(flat), 1)], dim=1)


def _channels(vae: Any) -> int:
    return int(getattr(vae.config, "latent_channels", None) or vae.config.z_dim)


def _has_frames(vae: Any) -> bool:
    """Decoders of video take a time axis."""
    return hasattr(vae.config, "z_dim")


def _spatial(vae: Any, latents: Any, size: tuple[int, int]) -> Any:
    """Latents of a step as (pictures, channels, height, width) of the decoder; None if unknown.

    Some families carry them as a row of tokens, each of two by two cells.
    """
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    if latents.ndim == 3:
        count, tokens, depth = latents.shape
        high = round(math.sqrt(tokens * size[1] / size[0]))
        if high < 1 or tokens % high:
            return None
        latents = latents.movedim(1, 2).reshape(count, depth, high, tokens // high)
    if latents.ndim != 4:
        return None
    channels = _channels(vae)
    if latents.shape[1] == 4 * channels:
        if hasattr(vae, "bn"):
            spread = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
            latents = latents * spread.view(1, -1, 1, 1) + vae.bn.running_mean.view(1, -1, 1, 1)
        count, _, high, wide = latents.shape
        latents = latents.reshape(count, channels, 2, 2, high, wide)
        latents = latents.permute(0, 1, 4, 2, 5, 3).reshape(count, channels, 2 * high, 2 * wide)
    return latents if latents.shape[1] == channels else None


def _in_units(vae: Any, latents: Any) -> Any:
    """From the denoiser's units to the decoder's, as the pipelines do it."""
    config = vae.config
    if hasattr(vae, "bn"):
        return latents
    scale = getattr(config, "scaling_factor", None) or 1.0
    mean, spread = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and spread is not None:
        middle = torch.tensor(mean, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
        width = torch.tensor(spread, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)
        return latents * width / scale + middle
    return latents / scale + (getattr(config, "shift_factor", None) or 0.0)
