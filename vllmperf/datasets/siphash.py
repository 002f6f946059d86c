"""Python's hash of an ASCII string under PYTHONHASHSEED=0: SipHash-1-3 with a key of zeros (CPython 3.11)."""

from __future__ import annotations

MASK = (1 << 64) - 1
BEGIN = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)

State = tuple[int, int, int, int]


def string_hash(text: str) -> int:
    """hash(text) as a signed 64-bit number."""
    if not text:
        return 0
    data = text.encode("latin-1")
    whole = len(data) & ~7
    state: State = BEGIN
    for at in range(0, whole, 8):
        state = _absorbed(state, int.from_bytes(data[at : at + 8], "little"))
    state = _absorbed(state, int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    a, b, c, d = state
    state = (a, b, c ^ 0xFF, d)
    for _ in range(3):
        state = _round(state)
    a, b, c, d = state
    value = a ^ b ^ c ^ d
    signed = value - (1 << 64) if value >> 63 else value
    return -2 if signed == -1 else signed


def _absorbed(state: State, word: int) -> State:
    a, b, c, d = _round((state[0], state[1], state[2], state[3] ^ word))
    return a ^ word, b, c, d


def _round(state: State) -> State:
    a, b, c, d = state
    a, c = (a + b) & MASK, (c + d) & MASK
    b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
    a = _turned(a, 32)
    c, a = (c + b) & MASK, (a + d) & MASK
    b, d = _turned(b, 17) ^ c, _turned(d, 21) ^ a
    return a, b, _turned(c, 32), d


def _turned(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & MASK
