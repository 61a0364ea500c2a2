"""Arrays in one compressed piece: the first bytes of all numbers, then the second ones, and so on.

First bytes are much alike, last ones often all zero; sorted so, they take less room. The compression is xz, which every
Python has.
"""

from __future__ import annotations

import json
import lzma

import numpy as np


def pack(arrays: dict[str, np.ndarray], more: dict) -> bytes:
    """Arrays, and what goes with them as JSON, in one piece.

    >>> arrays, more = unpack(pack({"x": np.arange(3.0)}, {"labels": ["a"]}))
    >>> arrays["x"].tolist(), more
    ([0.0, 1.0, 2.0], {'labels': ['a']})
    """
    head = {key: [array.dtype.newbyteorder("<").str, array.shape] for key, array in arrays.items()}
    text = json.dumps({"arrays": head, **more}, ensure_ascii=False).encode()
    parts = [len(text).to_bytes(8, "little"), text]
    for array in arrays.values():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        parts.append(little.view(np.uint8).reshape(-1, array.dtype.itemsize).T.tobytes())
    return lzma.compress(b"".join(parts), preset=6)


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict]:
    """What :func:`pack` took."""
    raw = lzma.decompress(data)
    at = 8 + int.from_bytes(raw[:8], "little")
    more = json.loads(raw[8:at])
    arrays = {}
    for key, (kind, shape) in more.pop("arrays").items():
        size = np.dtype(kind).itemsize
        n = int(np.prod(shape)) * size
        planes = np.frombuffer(raw, np.uint8, n, at).reshape(size, -1)
        arrays[key] = np.ascontiguousarray(planes.T).view(kind).reshape(shape)
        at += n
    return arrays, more
