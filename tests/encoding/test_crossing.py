"""Threshold crossing against a slow loop written from the definition, and the properties the specification lists."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spikeloom.encoding.threshold_crossing import POOLED_WHITE, analog, crossing, pool
from spikeloom.errors import ConfigError, ShapeError


def reference(images: Tensor, n_in: int, ext_time: int, answer_rows: int, white: int) -> Tensor:
    """The definition, with exact fractions, spike by spike."""
    batch, height, width = images.shape
    length = height * width * ext_time
    out = torch.zeros(length + answer_rows * width * ext_time, batch, n_in)
    for b in range(batch):
        y = [Fraction(int(p), white) for p in images[b].flatten() for _ in range(ext_time)]
        for i in range(n_in // 2):
            q = Fraction(i, n_in // 2 - 1)
            for t in range(length):
                if q == 1:
                    out[t, b, n_in - 2] = y[t] == 1
                elif t + 1 < length:
                    out[t, b, 2 * i] = y[t] < q <= y[t + 1]
                    out[t, b, 2 * i + 1] = y[t] >= q > y[t + 1]
    out[length:, :, n_in - 1] = 1.0
    return out


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    n_in=st.sampled_from([4, 6, 8, 14, 38, 80]),
    ext_time=st.integers(1, 3),
    answer_rows=st.integers(0, 2),
    white=st.sampled_from([255, POOLED_WHITE]),
)
def test_equals_the_definition(
    seed: int, shape: tuple[int, int, int], n_in: int, ext_time: int, answer_rows: int, white: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, white + 1, shape, generator=generator, dtype=torch.int32)
    images[torch.rand(shape, generator=generator) < 0.3] = white
    expected = reference(images, n_in, ext_time, answer_rows, white)
    assert torch.equal(crossing(images, n_in, ext_time, answer_rows, white), expected)


def test_every_pair_of_bytes_equals_the_definition() -> None:
    now, then = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    images = torch.stack((now.flatten(), then.flatten()), -1).view(-1, 1, 2).to(torch.uint8)
    spikes = crossing(images, 80, answer_rows=0)[0]  # step 0: from `now` to `then`
    above = 39 * torch.arange(256)[:, None] >= 255 * torch.arange(39)
    assert torch.equal(spikes[:, 0:78:2].bool(), ~above[now.flatten()] & above[then.flatten()])
    assert torch.equal(spikes[:, 1:78:2].bool(), above[now.flatten()] & ~above[then.flatten()])


def test_the_worked_example() -> None:
    row = torch.tensor([[[0, 5, 10, 10, 2, 0]]])  # 0, .5, 1, 1, .2, 0
    spikes = crossing(row, n_in=8, answer_rows=0, white=10)[:, 0]
    assert spikes.nonzero().tolist() == [[0, 2], [1, 4], [2, 6], [3, 3], [3, 5], [3, 6]]


def test_shape_silent_channels_and_cue() -> None:
    images = torch.randint(0, 256, (5, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    spikes = crossing(images)
    assert spikes.shape == (840, 5, 80)
    assert spikes.dtype == torch.float32
    assert spikes[..., :2].sum() == 0
    assert spikes[:784, :, 79].sum() == 0
    assert spikes[784:, :, 79].min() == 1
    assert spikes[784:, :, :79].sum() == 0


def test_on_and_off_spikes_of_a_channel_balance() -> None:
    images = torch.randint(0, 256, (50, 28, 28), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    images[:, 0, 0] = 0
    counts = crossing(images).sum(0)
    difference = counts[:, 0:78:2] - counts[:, 1:78:2]
    assert set(torch.unique(difference).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("value", [0, 100, 254, 255])
def test_a_constant_image_gives_touch_or_nothing(value: int) -> None:
    spikes = crossing(torch.full((1, 28, 28), value, dtype=torch.uint8), answer_rows=0)
    assert spikes[..., 78].sum() == (784 if value == 255 else 0)
    assert spikes[..., :78].sum() == 0


def test_more_time_per_pixel_repeats_touch_and_moves_crossings_to_the_last_repeat() -> None:
    row = torch.tensor([[[0, 255, 0]]], dtype=torch.uint8)
    spikes = crossing(row, n_in=4, ext_time=2, answer_rows=1)[:, 0]  # 2 thresholds: 0 (never crossed) and 1 (touch)
    assert spikes[:, 2].tolist() == [0, 0, 1, 1, 0, 0] + 6 * [0]
    spikes = crossing(row, n_in=6, ext_time=2, answer_rows=1)[:, 0]
    assert spikes[:, 2].nonzero().flatten().tolist() == [1]
    assert spikes[:, 3].nonzero().flatten().tolist() == [3]
    assert spikes[:, 5].tolist() == 6 * [0] + 6 * [1]


def test_pooling_keeps_sums_and_white_stays_white() -> None:
    images = torch.randint(0, 256, (2, 28, 28), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    expected = torch.nn.functional.avg_pool2d(images.double()[:, None], 2)[:, 0] * 4
    assert torch.equal(pool(images).double(), expected)
    white = crossing(pool(torch.full((1, 28, 28), 255, dtype=torch.uint8)), 40, white=POOLED_WHITE)
    assert white.shape == (224, 1, 40)
    assert white[:196, 0, 38].min() == 1


def test_analog_input_is_brightness_in_reading_order() -> None:
    images = torch.arange(6, dtype=torch.uint8).view(1, 2, 3)
    assert analog(images, ext_time=2, white=5).flatten().tolist() == pytest.approx(
        [0, 0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1, 1]
    )
    assert analog(pool(torch.full((3, 28, 28), 255, dtype=torch.uint8)), white=POOLED_WHITE).shape == (196, 3, 1)


def test_nonsense_is_refused() -> None:
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"needs an even n_in of at least 4, but got 79. Take 80"):
        crossing(image, 79)
    with pytest.raises(ConfigError, match=r"even n_in of at least 4, but got 2"):
        crossing(image, 2)
    with pytest.raises(ConfigError, match=r"ext_time >= 1 and answer_rows >= 0, but got 0 and 2"):
        crossing(image, 8, ext_time=0)
    with pytest.raises(ConfigError, match=r"ext_time >= 1 step per pixel, but got 0"):
        analog(image, ext_time=0)
    with pytest.raises(ShapeError, match=r"images of integers \[B, H, W\], but got torch.float32"):
        crossing(image.float(), 8)
    with pytest.raises(ShapeError, match=r"but got torch.uint8 \[4, 4\]"):
        analog(image[0])
    with pytest.raises(ShapeError, match=r"pool needs images of even size, but got \[1, 3, 4\]"):
        pool(image[:, :3])


def test_pixels_beyond_black_and_white_are_refused() -> None:
    """They would look up the spikes of another pair of levels."""
    for value in (-1, 256, 2**40):
        image = torch.full((1, 2, 2), value)
        for encode in (crossing, analog, pool):
            with pytest.raises(
                ShapeError, match=rf"pixels from 0 \(black\) to 255 \(white\), but got {value} to {value}"
            ):
                encode(image)
    with pytest.raises(ShapeError, match=r"but got torch.bool \[1, 2, 2\]"):
        crossing(torch.ones(1, 2, 2, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"white from 1 to 32,768, but got 0"):
        crossing(torch.zeros(1, 2, 2, dtype=torch.uint8), white=0)


def test_no_images_give_no_spikes() -> None:
    none = torch.zeros(0, 28, 28, dtype=torch.uint8)
    assert crossing(none).shape == (840, 0, 80)
    assert analog(pool(none), white=POOLED_WHITE).shape == (196, 0, 1)
