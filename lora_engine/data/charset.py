"""Which text encoding a file is in: strict candidates in a sensible order, then a guess.

Order: byte order marks, UTF-16 without one, UTF-8 over the whole file, then the encodings that
accept almost any bytes, told apart by how their bytes stand: in Western text the bytes above 127
stand alone between ASCII letters, in Chinese text they come in pairs. Which Latin letters they are
is told by which of them stand together (``letters``).
"""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_engine.data.letters import likelier_than_western
from lora_engine.errors import DataError

HALF_CHARACTERS = "holds half of a character (a lone \\ud800 to \\udfff)"
SAVE_IT = "save the table as .xlsx, CSV or JSON Lines first"
HEAD_BYTES = 1 << 16
CHUNK_BYTES = 1 << 20
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MAGIC = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF"),
    (b"PK\x05\x06", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"SQLite format 3", "a database"),
)
OLD_OFFICE = b"\xd0\xcf\x11\xe0"
"""How the files of Excel 2003 and before begin, and every one that has a password."""
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Charset:
    """How to turn a file's bytes into text."""

    encoding: str
    """A Python codec name."""
    lossy: bool = False
    """Whether some bytes do not fit the encoding and become U+FFFD."""


def detect(path: Path) -> Charset:
    """Find the encoding of a text file; reads the whole file once or twice.

    Raises:
        DataError: the file is empty, or is no text.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head.strip():
        raise DataError("The file is empty; choose one with a header and at least one row.")
    for magic, what in MAGIC:
        if head.startswith(magic):
            raise DataError(f"This is {what}, not a table; {SAVE_IT}.")
    if head.startswith(OLD_OFFICE):
        raise DataError(
            "This file is of an old Excel (.xls) or has a password; open it there and save it as "
            ".xlsx without a password."
        )
    marked = next((encoding for mark, encoding in MARKS if head.startswith(mark)), None)
    if encoding := marked or _utf16_without_mark(head):
        return Charset(encoding, lossy=not _fits(path, encoding))
    holds_nul = _holds_nul(path)
    if not holds_nul and _fits(path, "utf-8"):
        return Charset("utf-8")
    if holds_nul or len(CONTROL.findall(head)) > len(head) / 100:
        raise DataError(f"This file is not text; {SAVE_IT}.")
    return _not_utf8(path)


def detect_for_first_rows(path: Path) -> Charset:
    """As ``detect``, but what begins as UTF-8 is taken for it, however long the file is.

    Rows with bytes that do not fit are left out, should there be any. Raises DataError.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    marks = [mark for mark, _ in (*MARKS, *MAGIC)]
    special = any(map(head.startswith, (*marks, OLD_OFFICE)))
    if special or len(head) < HEAD_BYTES or CONTROL.search(head):
        return detect(path)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeError:
        return detect(path)
    return Charset("utf-8", lossy=True)


def _not_utf8(path: Path) -> Charset:
    if _mostly_utf8(path):
        return Charset("utf-8", lossy=True)
    sample = _bytes_around_high_ones(path)
    encoding = _by_shape(sample) or _by_statistics(sample)
    if encoding == "cp1252":
        encoding = likelier_than_western(sample) or encoding
    if encoding in ("cp1252", "latin-1"):
        return Charset("cp1252" if _fits(path, "cp1252") else "latin-1")
    return Charset(encoding, lossy=not _fits(path, encoding))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _fits(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _holds_nul(path: Path) -> bool:
    return any(b"\0" in chunk for chunk in _chunks(path))


def _utf16_without_mark(head: bytes) -> str | None:
    """UTF-16 where one half of the byte pairs is clearly the high half of ASCII characters."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(2, len(head) // 100) or max(even, odd) < 3 * min(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        return None
    return None if CONTROL.search(text.encode("utf-8")) else encoding


def _mostly_utf8(path: Path) -> bool:
    """Whether only a few bytes of a UTF-8 file are damaged."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    good = bad = 0
    for chunk in _chunks(path):
        text = decoder.decode(chunk)
        damaged = text.count("�")
        bad += damaged
        good += len(text) - len(text.encode("ascii", "ignore")) - damaged
    return good > 4 * bad


def _bytes_around_high_ones(path: Path) -> bytes:
    """The first lines with bytes above 127, up to HEAD_BYTES of them."""
    found, size = [], 0
    with path.open("rb") as file:
        while size < HEAD_BYTES and (line := file.readline(HEAD_BYTES)):
            if not line.isascii():
                found.append(line)
                size += len(line)
    return b"".join(found)


def _by_shape(sample: bytes) -> str | None:
    """Western, Chinese or Korean by how the bytes above 127 stand; None where that is unclear."""
    runs = HIGH_RUN.findall(sample)
    high = sum(map(len, runs))
    if _is_western(sample, runs, high):
        return "cp1252"
    pairs = [(run[i], run[i + 1]) for run in runs for i in range(0, len(run) - 1, 2)]
    # GB2312: punctuation in rows A1-A9, the common characters in rows B0-D7
    in_zone = sum(1 for lead, trail in pairs if 0xA1 <= lead <= 0xF7 and trail >= 0xA1)
    common = [lead for lead, trail in pairs if 0xB0 <= lead <= 0xD7 and trail >= 0xA1]
    punctuation = sum(1 for lead, _ in pairs if lead in (0xA1, 0xA3))
    if 2 * in_zone < 0.9 * high or len(common) + punctuation < 0.8 * len(pairs):
        return None
    # Korean syllables fill rows B0-C8 only; common Chinese characters fill all rows alike
    if len(common) >= 16 and sum(lead > 0xC8 for lead in common) < 0.02 * len(common):
        return "cp949"
    return "gb18030"


def _is_western(sample: bytes, runs: list[bytes], high: int) -> bool:
    """Whether the bytes above 127 are accented letters: single, or two or three together."""
    odd = sum(len(run) % 2 for run in runs)
    if not odd:
        return False  # as in Chinese
    if sum(len(run) == 1 for run in runs) > high / 2:
        return True
    short = sum(len(run) <= 3 for run in runs)
    letters = sum(byte >= 0xC0 for run in runs for byte in run)
    if short < 0.8 * len(runs) or odd < len(runs) / 3 or letters < 0.6 * high:
        return False
    try:
        chinese = [character.encode("gb18030") for character in sample.decode("gb18030")]
    except UnicodeDecodeError:
        return True  # an accented letter before a space or a comma
    wide = [code for code in chinese if len(code) > 1]
    return sum(0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1 for code in wide) < len(wide) / 2


def _by_statistics(sample: bytes) -> str:
    """The guess of charset-normalizer, or a Western encoding where it has none."""
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample).best()
    if best is None or best.encoding in ("ascii", "utf_8"):
        return "cp1252"
    return best.encoding


def has_half_characters(value: Any) -> bool:
    """Whether a value of JSON holds text that UTF-8 cannot write: half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
