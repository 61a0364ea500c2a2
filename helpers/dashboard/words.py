"""Tokens as a reader can see them: characters joined across tokens, nothing invisible, nothing that turns the line.

A token is bytes, and may be half a character. In a run of tokens each character is shown at the token that begins it;
tokens that only continue it are shown as nothing, and belong to the one before. Bytes that no neighbour completes are
shown by their value, ``⟨E2⟩``, and so is every character that would not be seen or would change how others are:
control, bidirectional and other formatting characters, ``⟨U+202E⟩``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .files import pack, unpack

SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍"}
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class Words:
    """What each id stands for, from a Hugging Face tokenizer or a sequence of ``bytes`` or ``str``, one an id.

    >>> Words([b"caf\\xc3", b"\\xa9\\n", b"\\xe2", "\\u202e"]).shown([0, 1, 2, 3])
    ['café', '↵', '⟨E2⟩', '⟨U+202E⟩']
    """

    def __init__(self, tokenizer):
        self.bytes = _bytes(tokenizer)
        self.alone = [_alone(token) for token in self.bytes]  # how a token shows whatever stands beside it, or None

    @classmethod
    def of(cls, tokenizer) -> Words:
        """``tokenizer`` itself if it is one of these already."""
        return tokenizer if isinstance(tokenizer, cls) else cls(tokenizer)

    def save(self, path: str | Path) -> None:
        """Write them into a file, so that pages can be made where the tokenizer is not."""
        lengths = np.array([len(token) for token in self.bytes], dtype=np.int32)
        Path(path).write_bytes(pack({"lengths": lengths, "bytes": np.frombuffer(b"".join(self.bytes), np.uint8)}, {}))

    @classmethod
    def load(cls, path: str | Path) -> Words:
        """What :meth:`save` wrote."""
        arrays, _ = unpack(Path(path).read_bytes())
        ends, raw = np.cumsum(arrays["lengths"]).tolist(), arrays["bytes"].tobytes()
        return cls([raw[start:end] for start, end in zip([0, *ends], ends, strict=False)])

    def one(self, i: int) -> str:
        """How a token shows by itself."""
        return self.alone[i] or self.shown([i])[0]

    def shown(self, ids: Sequence[int]) -> list[str]:
        """How each token of a run shows; ``""`` where it belongs to the one before."""
        texts = [self.alone[i] for i in ids]
        return texts if None not in texts else _together([self.bytes[i] for i in ids])


def seen(text: str) -> str:
    """``text`` with a sign for whatever would not show, or would turn others around.

    >>> seen("a\\x00\\u200f b")
    'a⟨U+0000⟩⟨U+200F⟩ b'
    """
    return "".join(SIGNS.get(c) or (f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in HIDDEN else c) for c in text)


def _alone(token: bytes) -> str | None:
    try:
        return seen(token.decode()) or "⟨⟩"
    except UnicodeDecodeError:
        return None


def _together(parts: list[bytes]) -> list[str]:
    owner = [i for i, part in enumerate(parts) for _ in part]
    raw, out, at = b"".join(parts), [""] * len(parts), 0
    while at < len(raw):
        size = next((n for n in (1, 2, 3, 4) if _whole(raw[at : at + n], n)), 0)
        out[owner[at]] += seen(raw[at : at + size].decode()) if size else f"⟨{raw[at]:02X}⟩"
        at += size or 1
    return [text or ("" if part else "⟨⟩") for text, part in zip(out, parts, strict=True)]


def _whole(piece: bytes, n: int) -> bool:
    try:
        return len(piece) == n and len(piece.decode()) == 1
    except UnicodeDecodeError:
        return False


def _bytes(tokenizer) -> list[bytes]:
    if isinstance(tokenizer, Sequence) and not isinstance(tokenizer, str | bytes):
        return [t if isinstance(t, bytes) else t.encode("utf-8", "surrogatepass") for t in tokenizer]
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        kind = type(tokenizer).__name__
        raise ValueError(f"words is a {kind}; expected a tokenizer, or a sequence of bytes or str, one for each id")
    names = [t if t is not None else "" for t in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    added = set(tokenizer.get_added_vocab()) | set(tokenizer.all_special_tokens)
    alphabet = _alphabet() if any(name.startswith("Ġ") for name in names) else None
    return [name.encode() if name in added else _raw(name, alphabet) for name in names]


def _raw(name: str, alphabet: dict[str, int] | None) -> bytes:
    if alphabet is not None and all(c in alphabet for c in name):
        return bytes(alphabet[c] for c in name)
    if byte := re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", name):
        return bytes([int(byte[1], 16)])
    return name.replace("▁", " ").encode("utf-8", "surrogatepass")


def _alphabet() -> dict[str, int]:
    """The characters that byte-level tokenizers write bytes with: themselves where printable, else from U+0100 on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (b for b in range(256) if b not in own)
    return {**{chr(b): b for b in own}, **{chr(256 + i): b for i, b in enumerate(others)}}
