"""Keeping freed memory inside the process.

By default glibc gives large blocks back to the kernel as soon as a tensor dies, and the next tensor
pays for them again, page by page. Learning allocates the same sizes in every iteration.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # bytes; glibc refuses more
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks below 32 MiB; elsewhere nothing happens.

    The peak of the resident memory stays the same: what is kept was in use before.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)
