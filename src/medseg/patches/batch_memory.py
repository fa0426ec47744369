"""Memory of batches, used again as soon as nothing looks at it any more.

Batches are the largest thing that a loader allocates, and small lasting things come between them: the C heap
then cannot give the room of old batches back, and grows. Pinned memory needs none of this, as torch keeps it.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
_UNUSED = 2
"""References to a block that nothing but this list holds, and the one under count."""


class BatchMemory:
    """Blocks of memory for arrays. Any array, tensor or view made of a block keeps it in use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[NDArray[np.uint8]] = []

    def __len__(self) -> int:
        """How many blocks there are, used or not."""
        return len(self._blocks)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array of ``shape``, not cleared, that nothing else looks at.

        Unused blocks that do not fit are let go, so that no more are kept than were in use at once.
        """
        kind = np.dtype(dtype)
        size = kind.itemsize * int(np.prod(shape))
        with self._lock:
            block = self._unused(size)
            start = -block.ctypes.data % ALIGNMENT
            array: NDArray[Any] = block[start : start + size].view(kind).reshape(shape)
            return array

    def _unused(self, size: int) -> NDArray[np.uint8]:
        wanted = size + ALIGNMENT
        for place in range(len(self._blocks)):
            if sys.getrefcount(self._blocks[place]) == _UNUSED and self._blocks[place].size == wanted:
                return self._blocks[place]
        used = [k for k in range(len(self._blocks)) if sys.getrefcount(self._blocks[k]) > _UNUSED]
        self._blocks = [self._blocks[k] for k in used]
        block = np.empty(wanted, np.uint8)
        self._blocks.append(block)
        return block

    def __getstate__(self) -> dict[str, Any]:
        """Another process begins with no memory of its own."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
