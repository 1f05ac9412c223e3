"""Threshold-crossing encoding: images read pixel by pixel, with spikes where the brightness crosses a threshold.

    above_i[t] = (k - 1) y[t] >= i y_max,   i = 0 .. k-1,   k = n_in / 2 thresholds from black to white
    on_i[t]  = above_i[t+1] and not above_i[t]          off_i[t] = above_i[t] and not above_i[t+1]

Channels, in this order: (on_i, off_i) for i = 0 .. k-2, then touch (pixel exactly white), then a cue that fires at
every step of the answer period after the image. A spike is placed at the sample before the crossing. Threshold 0 is
never crossed, so the first two channels are silent. All arithmetic is in integers: no rounding.
Source: Bellec et al., Long short-term memory and learning-to-learn in networks of spiking neurons, NeurIPS 2018;
details follow the authors' code.
"""

from functools import cache

import torch
from torch import Tensor

from ..arguments import explained
from ..errors import ConfigError, ShapeError

WHITE = 255
"""Value of a white pixel in a uint8 image."""

POOLED_WHITE = 4 * WHITE
"""Value of a white pixel after `pool`."""


@explained
def pool(images: Tensor) -> Tensor:
    """Sum non-overlapping blocks of 2 x 2 pixels (the exact mean times 4); white becomes POOLED_WHITE.

    Shapes: uint8 [B, H, W], or other integers from 0 to 255 -> int32 [B, H/2, W/2].

    Raises:
        ShapeError: the images are not integers [B, H, W] from 0 to 255, or have an odd size.

    >>> pool(torch.tensor([[[0, 255], [255, 255]]], dtype=torch.uint8))
    tensor([[[765]]], dtype=torch.int32)
    """
    _check(images, 255, "pool")
    batch, height, width = images.shape
    if height % 2 or width % 2:
        raise ShapeError(f"pool needs images of even size, but got {list(images.shape)}. Crop or pad them first.")
    blocks = images.to(torch.int32).view(batch, height // 2, 2, width // 2, 2)
    return blocks.sum((2, 4), dtype=torch.int32)


@explained
def crossing(images: Tensor, n_in: int = 80, ext_time: int = 1, answer_rows: int = 2, white: int = WHITE) -> Tensor:
    """Encode images, read row by row, as threshold-crossing spikes, followed by a cue in the answer period.

    Shapes: integers [B, H, W] -> float32 0/1 [T, B, n_in], T = (H + answer_rows) W ext_time.

    Args:
        n_in: number of channels, even and at least 4.
        ext_time: steps per pixel.
        answer_rows: length of the answer period, in image rows.
        white: value of a white pixel.

    Raises:
        ConfigError: n_in is odd or below 4, ext_time is below 1, or answer_rows is negative.
        ShapeError: the images are not integers [B, H, W] from 0 to `white`.

    >>> crossing(torch.zeros(3, 28, 28, dtype=torch.uint8)).shape
    torch.Size([840, 3, 80])
    """
    if not 4 <= n_in <= 1 << 16 or n_in % 2:
        raise ConfigError(f"Threshold crossing needs an even n_in of at least 4, but got {n_in}. Take 80.")
    if ext_time < 1 or answer_rows < 0:
        raise ConfigError(
            f"Threshold crossing needs ext_time >= 1 and answer_rows >= 0, but got {ext_time} and {answer_rows}."
        )
    pixels = _sequence(images, ext_time, white)
    levels = n_in // 2
    level = pixels * (levels - 1) // white  # highest threshold reached, 0 .. levels-1
    pair = level * levels
    pair[:-1] += level[1:]
    pair[-1] += level[-1]
    cue = pair.new_full((answer_rows * images.shape[2] * ext_time, images.shape[0]), levels * levels)
    rows = torch.cat((pair, cue))
    return _table(n_in).to(images.device).index_select(0, rows.flatten()).view(*rows.shape, n_in)


@explained
def analog(images: Tensor, ext_time: int = 1, white: int = WHITE) -> Tensor:
    """Encode images pixel by pixel as brightness from 0 (black) to 1 (white) in a single channel.

    Shapes: integers [B, H, W] -> float32 [H W ext_time, B, 1].

    Raises:
        ConfigError: ext_time is below 1.
        ShapeError: the images are not integers [B, H, W] from 0 to `white`.

    >>> analog(torch.full((1, 1, 2), 255, dtype=torch.uint8)).flatten().tolist()
    [1.0, 1.0]
    """
    if ext_time < 1:
        raise ConfigError(f"Analog input needs ext_time >= 1 step per pixel, but got {ext_time}.")
    return (_sequence(images, ext_time, white).float() / white).unsqueeze(-1)


def _sequence(images: Tensor, ext_time: int, white: int) -> Tensor:
    """Return the pixels in reading order, int32 [H W ext_time, B]."""
    _check(images, white, "Encoding")
    return images.flatten(1).T.to(torch.int32).repeat_interleave(ext_time, 0)


def _check(images: Tensor, white: int, owner: str) -> None:
    """Raise ShapeError unless the images are integers from 0 to `white`; the batch may be empty."""
    if not 1 <= white <= 1 << 15:
        raise ConfigError(f"{owner} needs white from 1 to {1 << 15:,}, but got {white}. Pass 255 for bytes.")
    wrong = images.is_floating_point() or images.is_complex() or images.dtype == torch.bool
    if images.dim() != 3 or wrong or 0 in images.shape[1:]:
        raise ShapeError(
            f"{owner} needs images of integers [B, H, W], but got {images.dtype} {list(images.shape)}. "
            "Pass the bytes of the file, not a scaled copy."
        )
    if images.numel():
        low, high = (int(value) for value in torch.aminmax(images))
        if low < 0 or high > white:
            raise ShapeError(
                f"{owner} needs pixels from 0 (black) to {white} (white), but got {low} to {high}. Pass the value of a "
                "white pixel as `white`, or scale the images."
            )


@cache
def _table(n_in: int) -> Tensor:
    """Return spikes for each pair (level now, next level), and a last row for the answer period; [k k + 1, n_in]."""
    levels = n_in // 2
    thresholds = torch.arange(levels - 1)
    above = torch.arange(levels)[:, None] >= thresholds  # [level, threshold]
    now, then = above[:, None], above[None]
    table = torch.zeros(levels, levels, n_in)
    table[..., 0:-2:2] = (~now & then).float()
    table[..., 1:-2:2] = (now & ~then).float()
    table[-1, :, -2] = 1.0  # touch: only white reaches the last level
    cue = torch.zeros(1, n_in)
    cue[0, -1] = 1.0
    return torch.cat((table.view(-1, n_in), cue))
