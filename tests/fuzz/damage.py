"""Valid files, damaged at random: the same seed gives the same files."""

from random import Random

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def damaged(seed: bytes, others: list[bytes], draw: Random) -> bytes:
    """One to four kinds of damage; `others` give parts that a file may take over."""
    data = bytearray(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        draw.choice((_flip, _flip, _flip, _number, _number, _cut, _drop, _repeat, _zero, _take))(data, others, draw)
    return bytes(data)


def _place(data: bytearray, draw: Random) -> int:
    """Anywhere, more often in the first bytes and in the last ones, where headers and directories are."""
    size = len(data)
    kind = draw.random()
    if kind < 0.35:
        return draw.randrange(min(size, 512) + 1)
    return size - draw.randrange(min(size, 256) + 1) if kind < 0.55 else draw.randrange(size + 1)


def _flip(data: bytearray, others: list[bytes], draw: Random) -> None:
    for _ in range(draw.choice((1, 1, 1, 3, 10))):
        place = _place(data, draw)
        if place < len(data):
            data[place] ^= 1 << draw.randrange(8) if draw.random() < 0.5 else draw.randrange(1, 256)


def _number(data: bytearray, others: list[bytes], draw: Random) -> None:
    size, place = draw.choice((1, 2, 4, 8)), _place(data, draw)
    content = (draw.choice(NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, draw.choice(("little", "big")))
    data[place : place + size] = content


def _cut(data: bytearray, others: list[bytes], draw: Random) -> None:
    del data[_place(data, draw) :]


def _drop(data: bytearray, others: list[bytes], draw: Random) -> None:
    place = _place(data, draw)
    del data[place : place + draw.choice((1, 2, 8, 100, 1000))]


def _repeat(data: bytearray, others: list[bytes], draw: Random) -> None:
    place, size = _place(data, draw), draw.choice((1, 8, 64, 512))
    data[place:place] = data[place : place + size] * draw.choice((1, 2, 30))


def _zero(data: bytearray, others: list[bytes], draw: Random) -> None:
    place, size = _place(data, draw), draw.choice((1, 4, 16, 512))
    data[place : place + size] = bytes([draw.choice((0, 0xFF))]) * len(data[place : place + size])


def _take(data: bytearray, others: list[bytes], draw: Random) -> None:
    other = draw.choice(others)
    start, size, place = draw.randrange(len(other) + 1), draw.choice((4, 32, 512)), _place(data, draw)
    part = other[start : start + size]
    data[place : place + len(part)] = part
