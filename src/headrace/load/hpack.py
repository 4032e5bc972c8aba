"""HPACK without its dynamic table: every block of headers stands for itself.

A client may forbid the server that table (``SETTINGS_HEADER_TABLE_SIZE`` 0) and need not use it.
Then equal headers are equal bytes, so that the answer to one request in ten thousand is decoded
here and the others are found in a dictionary.

Source: RFC 7541. Its Huffman code is canonical: the lengths of the codes are the whole table.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace.load.codec import BadAnswer

Header = tuple[str, str]

# Appendix A: the entries with values, and the names that follow them.
_NAMES = (
    "accept-language accept-ranges accept access-control-allow-origin age allow authorization "
    "cache-control content-disposition content-encoding content-language content-length "
    "content-location content-range content-type cookie date etag expect expires from host "
    "if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link "
    "location max-forwards proxy-authenticate proxy-authorization range referer refresh "
    "retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary "
    "via www-authenticate"
)
_STATIC: tuple[Header, ...] = (
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    *((":status", status) for status in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *((name, "") for name in _NAMES.split()),
)
_INDEX = {header: number for number, header in enumerate(_STATIC, 1)}

# Appendix B: bits of the code of each byte, and of the end-of-string symbol last.
_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b"
    "080606060505050606060606060607080f060c0a0d0607070707070707070707070707070707070707070707"
    "0807080d130d0e060f05060506050606060507070606060506070605050607070707070f0b0e0d1c14161414"
    "1616161716171717171718171818161718171717171516171617171816151416161717151716161815161717"
    "151516151716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a"
    "1c1b1b1b14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a1e"
)
_END = 256
_LONGEST_PADDING = 7


def _codes() -> dict[tuple[int, int], int]:
    """(bits, code) → symbol: codes of one length are consecutive numbers."""
    codes: dict[tuple[int, int], int] = {}
    code = bits = 0
    for symbol in sorted(range(_END + 1), key=lambda symbol: (_LENGTHS[symbol], symbol)):
        code <<= _LENGTHS[symbol] - bits
        bits = _LENGTHS[symbol]
        codes[bits, code] = symbol
        code += 1
    return codes


_CODES = _codes()


def encode(headers: Iterable[Header]) -> bytes:
    """Write a block of headers: table entries by number, everything else letter by letter."""
    return b"".join(
        bytes((0x80 | _INDEX[header],)) if header in _INDEX else _literal(*header)
        for header in headers
    )


def _literal(name: str, value: str) -> bytes:
    return b"\x00" + _string(name) + _string(value)  # without indexing, with a name of its own


def _string(text: str) -> bytes:
    data = text.encode("latin-1")
    return _integer(len(data), 7) + data


def _integer(value: int, bits: int) -> bytes:
    """Write a number whose first byte has so many bits for it (section 5.1)."""
    full = (1 << bits) - 1
    if value < full:
        return bytes((value,))
    parts = [full]
    value -= full
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def decode(block: bytes) -> list[Header]:
    """Read a block of headers.

    Raises:
        BadAnswer: it is none, or it uses the table we forbade.
    """
    headers: list[Header] = []
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            number, at = _read_integer(block, at, 7)
            headers.append(_entry(number))
        elif first & 0x60 == 0x20:  # noqa: PLR2004 - a new size of the table, which stays empty
            _, at = _read_integer(block, at, 5)
        else:  # a literal; that it should be remembered has no meaning in a table of size 0
            number, at = _read_integer(block, at, 6 if first & 0x40 else 4)
            name, at = (_entry(number)[0], at) if number else _read_string(block, at)
            value, at = _read_string(block, at)
            headers.append((name, value))
    return headers


def _entry(number: int) -> Header:
    if not 0 < number <= len(_STATIC):
        raise BadAnswer(f"header {number} is not in the static table")
    return _STATIC[number - 1]


def _read_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    full = (1 << bits) - 1
    value, at = _byte(block, at) & full, at + 1
    if value < full:
        return value, at
    for shift in range(0, 28, 7):
        byte, at = _byte(block, at), at + 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004
            return value, at
    raise BadAnswer("a number in a header block is too large")


def _byte(block: bytes, at: int) -> int:
    if at >= len(block):
        raise BadAnswer("a header block is cut off")
    return block[at]


def _read_string(block: bytes, at: int) -> tuple[str, int]:
    packed = _byte(block, at) & 0x80
    size, at = _read_integer(block, at, 7)
    data = block[at : at + size]
    if len(data) < size:
        raise BadAnswer("a header block is cut off")
    return (_unpack(data) if packed else data).decode("latin-1"), at + size


def _unpack(data: bytes) -> bytes:
    """Undo the Huffman code, bit by bit: this runs once for each different header."""
    found = bytearray()
    code = bits = 0
    for byte in data:
        for shift in range(7, -1, -1):
            code, bits = code << 1 | byte >> shift & 1, bits + 1
            symbol = _CODES.get((bits, code))
            if symbol is not None:
                if symbol == _END:
                    raise BadAnswer("a header holds the end-of-string symbol")
                found.append(symbol)
                code = bits = 0
    if bits > _LONGEST_PADDING or code != (1 << bits) - 1:
        raise BadAnswer("a header's last byte is not padded with ones")
    return bytes(found)
