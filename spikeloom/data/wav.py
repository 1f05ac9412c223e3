"""WAV files: the chunks must fill the file without a gap, so that a wrong length is always detected.

    file     "RIFF", size of the rest (4 bytes), "WAVE", then chunks
    chunk    name (4 bytes), size (4 bytes), content, a zero byte if the size is odd
    fmt      format (2), channels (2), rate (4), bytes per second (4), bytes per frame (2), bits per sample (2); the
             extensible form (format 0xFFFE) has 24 bytes more, the actual format in the first two of the last 16
    data     samples, little-endian, interleaved channels: 8 bits from 0 to 255, others signed

Source: Microsoft, Multimedia Programming Interface and Data Specifications, 1991; New Multimedia Data Types, 1994.
"""

import struct
from collections.abc import Iterator

import numpy as np

from .spike_trains import Array

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
GUID = bytes.fromhex("000000001000800000aa00389b71")
"""Last 14 bytes of the subformat GUID in the extensible form."""
OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}


class WavError(Exception):
    """Bytes are not a WAV file that can be read; the message says why."""


def read(data: bytes) -> tuple[Array, int, int]:
    """Decode a WAV file; return float32 samples with full scale 1, interleaved; rate in Hz; number of channels.

    Raises:
        WavError: the file is damaged, empty or compressed.
    """
    kind = data[:4]
    if kind in (b"RF64", b"BW64", b"RIFX"):
        raise WavError(f"is a WAV file of the kind {kind.decode()}, which is not read")
    if kind != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError(f"is no WAV file, but starts with {data[:12].hex() or 'nothing'}")
    chunks: dict[bytes, bytes] = {}
    for name, content in _chunks(data):
        if name in (b"fmt ", b"data") and name in chunks:
            raise WavError(f"is a damaged WAV file: it has two chunks {name.decode()!r}")
        chunks.setdefault(name, content)
    missing = [name.decode() for name in (b"fmt ", b"data") if name not in chunks]
    if missing:
        raise WavError(f"is a damaged WAV file: it has no chunk {missing[0]!r}")
    form, channels, rate, frame, bits = _format(chunks[b"fmt "])
    content = chunks[b"data"]
    if not content or len(content) % frame:
        raise WavError(f"is a damaged WAV file: {len(content):,} bytes are no whole frames of {frame} bytes")
    samples = _samples(content, form, bits)
    if not np.isfinite(samples).all():
        raise WavError(f"has a sample that is no finite number, at {int(np.argmin(np.isfinite(samples))):,}")
    return samples, rate, channels


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and contents of the chunks, which must end where the file does."""
    size = int.from_bytes(data[4:8], "little")
    if size not in (len(data) - 8, len(data) - 9):  # some writers add a zero byte that they do not count
        raise WavError(f"announces {size:,} bytes but holds {len(data) - 8:,}")
    place = 12
    while place < size + 8:
        head = data[place : place + 8]
        length = int.from_bytes(head[4:], "little")
        if len(head) < 8 or not head[:4].isascii() or not head[:4].decode().isprintable():
            raise WavError(f"is a damaged WAV file: no chunk begins at byte {place:,}, where the one before it ends")
        if length > size - place:
            raise WavError(f"announces {length:,} bytes of {head[:4].decode()!r} but holds {size - place:,}")
        yield head[:4], data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2


def _format(content: bytes) -> tuple[int, int, int, int, int]:
    """Return format, channels, rate, bytes per frame and bits per sample."""
    if len(content) < 16:
        raise WavError(f"is a damaged WAV file: its format has {len(content)} bytes")
    form, channels, rate, speed, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if form == EXTENSIBLE:
        if len(content) < 40 or content[26:40] != GUID:
            raise WavError("is a WAV file of an unknown extensible format")
        form, valid = int.from_bytes(content[24:26], "little"), int.from_bytes(content[18:20], "little")
        if valid not in (0, bits):
            raise WavError(f"has samples of {valid} bits in {bits}, which are not read")
    if form not in (PCM, FLOAT):
        raise WavError(f"is compressed ({OTHERS.get(form, f'format {form}')})")
    known = (8, 16, 24, 32) if form == PCM else (32, 64)
    if bits not in known or not channels or not rate or frame != channels * bits // 8 or speed != rate * frame:
        raise WavError(
            f"is a damaged WAV file: {channels} channels of {bits} bits at {rate:,} Hz do not make frames of {frame} "
            f"bytes and {speed:,} bytes a second"
        )
    return form, channels, rate, frame, bits


def _samples(content: bytes, form: int, bits: int) -> Array:
    """Return samples as float32."""
    if form == FLOAT:
        with np.errstate(over="ignore"):  # values outside the range of float32 become infinite and are refused
            return np.frombuffer(content, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return (np.frombuffer(content, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if bits == 24:
        wide = np.zeros((len(content) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        whole = wide.reshape(-1).view("<i4")
    else:
        whole = np.frombuffer(content, f"<i{bits // 8}")
    scaled: Array = whole.astype(np.float32) / np.float32(1 << (15 if bits == 16 else 31))
    return scaled
