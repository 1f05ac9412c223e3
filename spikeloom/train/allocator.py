"""Reuse of freed memory by the C allocator.

By default the C library maps every block over 32 MB anew, page by page, which costs more than the fused kernels that
fill it. Training allocates the same sizes in every update, so a training process keeps what it freed.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt's options in malloc.h


def keep_freed_memory() -> bool:
    """Make the GNU C library reuse freed memory; return whether it does (False on other platforms).

    >>> keep_freed_memory() in (True, False)
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0) and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
