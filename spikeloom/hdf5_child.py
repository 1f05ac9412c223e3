"""Child process that reads an HDF5 file: a script that `hdf5` starts, not a module to import.

The HDF5 library crashes the process on some damaged files and never returns from others, so this process has little
memory and a time limit for every step, and its crash does not affect the caller. Only the file itself is read: no
links, no external storage or virtual data sets, no filter plugins.

    stdin    a line of JSON: [name, kind, required, bytes], ...       kind: lists, numbers, words, all
    stdout   for every array a line of JSON {"name", "dtype", "count"} and its bytes; {"words": name, "list"};
             at last {"end": true}, or {"refused": why} or {"damaged": why}
"""

import json
import math
import os
import resource
import sys
from typing import IO, Any

import h5py
import numpy as np

BLOCK = 256
"""Number of lists read at once."""
SECONDS = 5
"""CPU time limit of one step; an intact file takes a small part of a second."""
MEMORY = 1 << 30
"""Memory limit in bytes beyond what the process uses at its start."""
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""Accepted filters, by number: those that h5py itself always provides."""


class _RefusedError(Exception):
    """The file does not hold a data set as it was requested; the message says why."""


def serve(number: int, wanted: list[tuple[str, str, bool, int]], out: IO[bytes]) -> None:
    """Write the requested data sets of the file with descriptor `number` to `out`."""
    size = os.fstat(number).st_size
    _next_step()
    with os.fdopen(number, "rb") as source, h5py.File(source, "r") as file:
        for name, kind, required, most in wanted:
            _next_step()
            if kind == "all":
                _everything(file, size, most)
                continue
            part = _part(file, name, size, most)
            if part is None and not required:
                continue
            if part is None:
                raise _RefusedError(f"it has no {name}, but holds {', '.join(sorted(file)) or 'nothing'}")
            if kind == "lists":
                _lists(part, name, size, out)
            elif kind == "numbers":
                if part.shape is None or part.ndim != 1 or part.dtype.kind not in "iuf":
                    raise _RefusedError(f"{name} is {_shown(part)}, but a list of numbers was expected")
                _array(name, part[()], out)
            else:
                if part.shape is None or part.ndim != 1:
                    raise _RefusedError(f"{name} is {_shown(part)}, but a list of names was expected")
                words = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in part[()]]
                _line({"words": name, "list": words}, out)


def _part(file: h5py.File, name: str, size: int, most: int) -> h5py.Dataset | None:
    """Return a data set whose data are all in this file, at most `most` bytes; None if there is none of this name."""
    part: Any = file
    for step in name.split("/"):
        link = part.get(step, getlink=True) if isinstance(part, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            raise _RefusedError(f"{name} is a link to another place, which is not followed")
        part = part.get(step)
    if not isinstance(part, h5py.Dataset):
        return None
    kept = part.id.get_create_plist()
    if kept.get_layout() == h5py.h5d.VIRTUAL or kept.get_external_count():
        raise _RefusedError(f"{name} keeps its numbers in other files, which are not read")
    foreign = [number for number, *_ in map(kept.get_filter, range(kept.get_nfilters())) if number not in FILTERS]
    if foreign:
        raise _RefusedError(f"{name} is packed by filter {foreign[0]}, but only {', '.join(FILTERS.values())} are read")
    shapes = [part.shape or (), part.chunks or ()]  # a part without data has no shape
    if max(math.prod(shape) for shape in shapes) * part.dtype.itemsize > most:
        raise _RefusedError(
            f"{name} claims to be {part.dtype} {list(shapes[0])}, in chunks of {list(shapes[1])}, which is more than "
            f"{most:,} bytes and absurd"
        )
    if part.shape is not None and part.size:
        if part.chunks is None:
            there, expected = part.id.get_storage_size(), part.size * part.id.get_type().get_size()
        else:
            there = part.id.get_num_chunks()
            expected = math.prod(-(-length // chunk) for length, chunk in zip(part.shape, part.chunks, strict=True))
        if there < expected or part.id.get_storage_size() > size:
            raise _RefusedError(f"{name} claims to be {_shown(part)}, but not all of it is in the file")
    return part


def _everything(file: h5py.File, size: int, most: int) -> None:
    """Read all data sets and attributes; refuse groups that contain one another."""
    waiting: list[tuple[str, tuple[int, ...]]] = [("", ())]
    while waiting:
        name, above = waiting.pop()
        group = file[name] if name else file
        for value in group.attrs.values():
            most -= np.asarray(value).nbytes
        here = h5py.h5o.get_info(group.id).addr
        if here in above:
            raise _RefusedError(f"{name} contains itself")
        for step in group:
            path = f"{name}/{step}".lstrip("/")
            _next_step()
            part = _part(file, path, size, most)
            if part is not None:
                most -= np.asarray(part[()]).nbytes
                for value in part.attrs.values():
                    most -= np.asarray(value).nbytes
            else:
                waiting.append((path, (*above, here)))
            if most < 0:
                raise _RefusedError(f"it holds more data up to {path} than any such file, which is absurd")


def _lists(part: h5py.Dataset, name: str, size: int, out: IO[bytes]) -> None:
    """Write a data set of one list per sample: for every block of samples the lengths, then the entries."""
    base: Any = h5py.check_vlen_dtype(part.dtype)
    if base is None or np.dtype(base).kind not in "iuf" or part.shape is None or part.ndim != 1:
        raise _RefusedError(f"{name} is {_shown(part)}, but one list of numbers per sample was expected")
    if not np.dtype(base).isnative:  # h5py does not swap the bytes of lists
        raise _RefusedError(f"{name} is {_shown(part)}, lists in another byte order; write it in that of this machine")
    taken = entries = 0
    for start in range(0, len(part), BLOCK):
        _next_step()
        lists = part[start : start + BLOCK]
        joined = np.concatenate(lists).astype(base, copy=False)
        taken, entries = taken + joined.nbytes, entries + len(joined)
        if taken > size:  # intact lists are not compressed: they take as many bytes in the file
            raise _RefusedError(
                f"the lists of {name} have more than {entries:,} entries, but the file only {size:,} bytes"
            )
        _array(name, np.array([len(entry) for entry in lists], np.int64), out)
        _array(name, joined, out)
    _array(name, np.zeros(0, np.int64), out)
    _array(name, np.zeros(0, base), out)


def _array(name: str, array: np.ndarray[Any, Any], out: IO[bytes]) -> None:
    _line({"name": name, "dtype": array.dtype.str, "count": len(array)}, out)
    out.write(array.tobytes())


def _line(content: dict[str, Any], out: IO[bytes]) -> None:
    out.write(json.dumps(content).encode() + b"\n")


def _shown(part: h5py.Dataset) -> str:
    return f"{part.dtype} {list(part.shape or ())}"


def _next_step() -> None:
    """Extend the CPU time limit of the process to SECONDS from now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = math.ceil(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not os.path.exists("/proc/self/statm"):  # another system than Linux: no limit of memory
        return
    with open("/proc/self/statm") as pages:
        limit = int(pages.read().split()[0]) * resource.getpagesize() + MEMORY
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Read the request from stdin and write the reply to stdout."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # send anything that a library prints to stderr
    _limit_memory()
    try:
        serve(int(sys.argv[1]), json.loads(sys.stdin.readline()), out)
        _line({"end": True}, out)
    except _RefusedError as error:
        _line({"refused": str(error)}, out)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever h5py raises, the file is to blame
        _line({"damaged": f"{type(error).__name__}: {error}"}, out)
    out.flush()
    os._exit(0)  # skips closing the file: that may crash, too


if __name__ == "__main__":
    main()
