"""Encodings: what is written in one comes out as itself."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_engine.data.charset import Charset, detect, detect_for_first_rows
from lora_engine.errors import DataError

CHINESE = "这家酒店的房间很大，服务员的态度也非常好，下次还会再来。"
FRENCH = "Le café est très bon, même à l’été ; où êtes-vous né ?"
HIRAGANA = "このホテルの部屋はとても大きく、スタッフの態度もとても良かったです。"


def file_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("prompt,completion\nHi,Hello\n", "ascii", "utf-8"),
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-32", "utf-32"),
        (f"问题,回答\n{CHINESE},好\n", "utf-16-le", "utf-16-le"),
        (f"问题,回答\n{CHINESE},好\n", "utf-16-be", "utf-16-be"),
        ("prompt,completion\nHi,Hello\n", "utf-16-le", "utf-16-le"),
        ("prompt,completion\nHi,Hello\n", "utf-16-be", "utf-16-be"),
        (CHINESE, "gb18030", "gb18030"),
        ("问题,回答\n你好,您好\n", "gb18030", "gb18030"),
        ("问题,回答\n你好😀,您好㐀\n", "gb18030", "gb18030"),
        (f"prompt,completion\n{CHINESE},ok\n" + "plain,ascii\n" * 9000, "gb18030", "gb18030"),
        (FRENCH, "cp1252", "cp1252"),
        ("Señor,Größe\n", "latin-1", "cp1252"),
        ("Se\x81or,na\xefve caf\xe9\n", "latin-1", "latin-1"),
        ("이 호텔의 방은 매우 크고 직원의 태도도 매우 좋았습니다.", "cp949", "cp949"),
        ("這家酒店的房間很大，服務員的態度也非常好，下次還會再來。", "big5", "big5"),
        (HIRAGANA, "shift_jis", "cp932"),
    ],
)
def test_an_encoding_is_recognised(tmp_path: Path, text: str, encoding: str, expected: str) -> None:
    found = detect(file_of(tmp_path, text.encode(encoding)))
    assert found == Charset(expected)
    assert text.encode(encoding).decode(found.encoding) == text


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        (b"a,b\n" * 20_000, b"caf\xe9\n", Charset("utf-8", lossy=True)),
        ("h\u00e9,b\n".encode() * 20_000, b"", Charset("utf-8", lossy=True)),
        (b"caf\xe9,b\n" * 20_000, b"", Charset("cp1252")),
        ("\ufeffa,b\n".encode() * 20_000, b"", Charset("utf-8-sig")),
        (b"a,b\n", b"caf\xe9\n", Charset("cp1252")),
    ],
)
def test_the_first_rows_of_a_long_utf8_file_are_read_without_the_rest(
    tmp_path: Path, begins: bytes, ends: bytes, expected: Charset
) -> None:
    assert detect_for_first_rows(file_of(tmp_path, begins + ends)) == expected


def test_bytes_far_from_the_beginning_count(tmp_path: Path) -> None:
    late = b"a,b\n" * 300_000 + CHINESE.encode("gb18030")
    assert detect(file_of(tmp_path, late)).encoding == "gb18030"
    late = b"a,b\n" * 300_000 + FRENCH.encode("cp1252")
    assert detect(file_of(tmp_path, late)).encoding == "cp1252"


def test_one_damaged_byte_does_not_change_the_encoding_of_a_utf8_file(tmp_path: Path) -> None:
    damaged = CHINESE.encode() + b"\n\xe9\n" + CHINESE.encode()
    assert detect(file_of(tmp_path, damaged)) == Charset("utf-8", lossy=True)


def test_one_damaged_byte_does_not_change_the_encoding_of_a_chinese_file(tmp_path: Path) -> None:
    damaged = CHINESE.encode("gb18030") * 5 + b"\n\xff\n" + CHINESE.encode("gb18030")
    assert detect(file_of(tmp_path, damaged)) == Charset("gb18030", lossy=True)


def test_a_broken_utf16_file_is_read_with_a_warning(tmp_path: Path) -> None:
    assert detect(file_of(tmp_path, b"\xff\xfeh\x00i\x00\x00\xd8h\x00")) == Charset("utf-16", True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b" \r\n\t\n", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "a picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a picture"),
        (b"PK\x05\x06\x00\x00", "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"prompt,completion\nHi,\x00\x00\x00\x00\x00\x00\n", "not text"),
        (b"prompt,completion\n" + b"a,b\n" * 300_000 + b"\x00", "not text"),
        (bytes(range(256)) * 4, "not text"),
        (b"a\0" * 50 + b"\0\xd8a\0", "not text"),  # nearly UTF-16
        (b"\x01\x02\x03\x04\xff", "not text"),
    ],
)
def test_what_is_no_text_is_refused_in_one_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        detect(file_of(tmp_path, data))


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_utf8_text_is_utf8_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = file_of(tmp_path_factory.getbasetemp(), text.encode())
    try:
        found = detect(path)
    except DataError:
        return
    assert path.read_bytes().decode(found.encoding) in (text, text.removeprefix("\ufeff"))
