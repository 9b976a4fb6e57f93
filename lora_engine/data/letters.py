"""Which of the encodings of Latin letters a text is in, by the letters that it would have in each.

Nearly every byte is some letter in all of them, so what counts is whether the letters are those
of one language: ``¹``, ``æ`` and ``ê`` in one text are no language of Western Europe, but ``ą``,
``ć`` and ``ę`` are Polish. Where that is not plain, a text is Western.
"""

from collections import Counter

WESTERN = (
    "àâæçéèêëîïôœùûüÿ",  # French
    "äöüßé",  # German
    "áéíñóúüºª",  # Spanish
    "áâãàçéêíóôõúüºª",  # Portuguese
    "àèéìíîòóùú",  # Italian, Irish, Scottish
    "àçèéíïóòúü",  # Catalan
    "áäèéëïíóöúü",  # Dutch
    "æøåéäöôèóòêâ",  # Danish, Norwegian
    "åäöéšžü",  # Swedish, Finnish
    "áæðéíóöúýþ",  # Icelandic
    "áæðíóøúý",  # Faroese
    "äõöüšž",  # Estonian
    "ëçâ",  # Albanian
    "ñçáéíóúü",  # Basque, Galician
    "âêîôûáàéèëïö",  # Welsh
)
CENTRAL = (
    "ąćęłńóśźż",  # Polish
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "čćšžđ",  # Slovenian, Croatian, Bosnian
)
FAR_FROM_WESTERN = ("áéíóöőúüű", "ăâîşţ")
"""Of Hungarian and Romanian: several Western languages together have no such letters."""
TURKISH = ("âçğıîöşüûİ",)
BESIDE_WESTERN = (
    ("cp1250", CENTRAL, 0.2),
    ("cp1250", FAR_FROM_WESTERN, 0.04),
    ("cp1254", TURKISH, 0.04),
    ("mac_roman", WESTERN, 0.1),
    ("iso8859_2", CENTRAL, 0.2),
    ("cp850", WESTERN, 0.1),
)
"""Encodings, the letters of the languages that are written in them, and the share of signs that
are then strange in every Western language; several of these in one file are strange as well.

Files of Windows, of the Macintosh, of old Linux systems and of DOS (one of Excel's kinds of CSV).
"""
MARKS = frozenset("“”‘’„‚«»‹›–—…•·€£§°©®™\xa0´×÷¡¿±")
"""Signs that stand in texts of all languages."""
JOINING = frozenset("’‘–—…·´")
"""Those that may stand between two letters."""
FEWEST = 8
"""Bytes above 127 without which nothing is plain."""
FEWEST_STRANGE = 5
"""Signs that are strange in every Western language in a text that is none."""
MOST_STRANGE = 0.03
"""Their share in a text that is in another encoding; there are ten times fewer than if Western."""

Counts = Counter[tuple[str, str, str]]
"""How often a sign above 127 occurs, with the ones before and after it."""


def likelier_than_western(sample: bytes) -> str | None:
    """The encoding in which the letters of ``sample`` are plainly those of one language, as they
    are not in cp1252; None where there is none.
    """
    western = _strange(_counts(sample, "cp1252"), WESTERN)
    count = sum(byte > 127 for byte in sample)
    if count < FEWEST or western < FEWEST_STRANGE:
        return None
    strange = [
        (_strange(_counts(sample, encoding), languages), place)
        for place, (encoding, languages, share) in enumerate(BESIDE_WESTERN)
        if western >= share * count
    ]
    fewest, place = min(strange, default=(count, 0))
    plain = fewest <= min(western / 10, MOST_STRANGE * count)
    return BESIDE_WESTERN[place][0] if plain else None


def _counts(sample: bytes, encoding: str) -> Counts:
    text = f" {sample.decode(encoding, 'replace')} "
    around = Counter(zip(text, text[1:], text[2:], strict=False))
    return Counter({signs: count for signs, count in around.items() if not signs[1].isascii()})


def _strange(counts: Counts, languages: tuple[str, ...]) -> int:
    """How many signs do not belong to the language to which most do."""
    nowhere = sum(count for signs, count in counts.items() if _is_misplaced(*signs))
    placed = {signs: count for signs, count in counts.items() if not _is_misplaced(*signs)}
    return nowhere + min(
        sum(count for (_, sign, _), count in placed.items() if sign not in alphabet)
        for alphabet in (MARKS | {*letters, *letters.upper()} for letters in languages)
    )


def _is_misplaced(before: str, sign: str, after: str) -> bool:
    """Whether a capital follows a small letter, or a mark stands inside a word."""
    if sign in MARKS:
        return before.isalpha() and after.isalpha() and sign not in JOINING
    return sign.isupper() and before.islower()
