"""Encodings of Latin letters: those of other regions and machines, and Western as before."""

from pathlib import Path

import pytest

from lora_engine.data.charset import Charset, detect
from lora_engine.data.letters import likelier_than_western

POLISH = (
    "Gdzie jest moja paczka? Zamówiłem ją w zeszłym tygodniu i jeszcze nie przyszła.\n"
    "Proszę sprawdzić, czy płatność została zaksięgowana; pieniądze zniknęły już z konta.\n"
)
CZECH = (
    "Kde je můj balík? Objednal jsem ho minulý týden a ještě nedošel.\n"
    "Chtěl bych vrátit zboží, protože se mi nelíbí; jak mám postupovat?\n"
)
SLOVAK = (
    "Kedy príde môj balík? Objednávku som zaplatil už minulý štvrtok.\n"
    "Chcel by som vrátiť tovar, ktorý nefunguje; ďakujem vám za rýchlu odpoveď.\n"
)
HUNGARIAN = (
    "Hol van a csomagom? Múlt héten rendeltem, és még mindig nem érkezett meg.\n"
    "Szeretném visszaküldeni a cipőt, mert túl szűk; hogyan tehetem meg a legkönnyebben?\n"
    "Köszönöm a gyors választ, de a fizetés után sem jött levél, és ez elég kellemetlen.\n"
    "Kérem, hogy a futár délelőtt jöjjön, és előbb küldjön üzenetet; Győr, Kővágó Győző.\n"
)
ROMANIAN = (
    "Unde este coletul meu? L-am comandat săptămâna trecută şi încă nu a sosit.\n"
    "Aş dori să returnez pantofii, fiindcă sunt prea mici; cât costă şi ce pot să fac?\n"
    "Mulţumesc pentru atenţie; aştept informaţii despre preţ, condiţii şi garanţie.\n"
)
CROATIAN = (
    "Gdje je moj paket? Naručio sam ga prošli tjedan i još nije stigao.\n"
    "Želim vratiti cipele jer su premale; možete li mi reći što ću učiniti? Već čekam.\n"
    "Račun sam već platio, ali još uvijek čekam potvrdu narudžbe; hvala na pomoći, doviđenja!\n"
)
TURKISH = (
    "Siparişim nerede? Geçen hafta verdim ve hâlâ gelmedi, ne yapmalıyım?\n"
    "Ayakkabıları geri göndermek istiyorum çünkü çok küçük; ücretini kim ödeyecek? Teşekkürler.\n"
)
FRENCH = (
    "Où est mon colis ? Je l’ai commandé la semaine dernière et je n’ai rien reçu à ce jour.\n"
    "J’aimerais être remboursé : la pièce est cassée, et le modèle n’est plus à mon goût.\n"
)
GERMAN = (
    "Wo bleibt mein Päckchen? Ich habe es vorige Woche bestellt und möchte es für heute.\n"
    "Die Schuhe sind zu groß, ich würde sie gern zurückschicken; was muß ich dafür tun?\n"
    "Könnten Sie mir eine Bestätigung schicken? Schöne Grüße aus Köln, Jürgen Müller.\n"
)
SPANISH = (
    "¿Dónde está mi envío? Lo pedí el lunes y todavía no llegó; ¿qué pasó?\n"
    "Quisiera devolver los pantalones porque son pequeños; ¿cuánto costará el envío mañana?\n"
    "También querría saber cuándo llegará el próximo envío a Málaga; ¿está aquí el catálogo?\n"
)
PORTUGUESE = (
    "Onde está a minha encomenda? Já paguei há três dias e ainda não chegou à loja.\n"
    "Não há informações sobre as opções de devolução; é possível alterar o endereço?\n"
)
ITALIAN = (
    "Perché il pacco non è ancora arrivato? Ho già pagato lunedì e ora è giovedì.\n"
    "Si può cambiare la taglia? La qualità è buona, però non mi sta più; così è inutile.\n"
)
SWEDISH = (
    "Var är mitt paket? Jag beställde det förra veckan och det har inte kommit än.\n"
    "Jag skulle vilja återlämna skorna, de är för små; hur gör jag för att få pengar åter?\n"
)
DANISH = (
    "Hvor er min pakke? Jeg købte den på mandag, og den er ikke nået frem endnu.\n"
    "Jeg vil gerne sende støvlerne tilbage, de er for små; hvad gør jeg så? Ærgerligt er det.\n"
)
ICELANDIC = (
    "Hvar er pakkinn minn? Ég pantaði hann í síðustu viku og hann er ekki kominn enn þá.\n"
    "Það væri gott að fá svar sem fyrst; skórnir eru of litlir og ég þarf að skila þeim.\n"
)
ESTONIAN = (
    "Kus mu pakk on? Tellisin selle eelmisel nädalal ja see ei ole ikka veel jõudnud.\n"
    "Soovin kingad tagastada, sest need on liiga väikesed; mida ma pean tegema? Tänan õige pea.\n"
)
IRISH = (
    "Cá bhfuil mo bheart? D’ordaigh mé é an tseachtain seo caite agus níor tháinig sé fós.\n"
    "Ba mhaith liom na bróga a thabhairt ar ais mar tá siad róbheag; cén chaoi a ndéanfaidh mé é?\n"
)
ENGLISH = (
    "“Where’s my parcel?” – I’ve ordered it last week, and it hasn’t arrived… that’s odd.\n"
    "I’d like to return the shoes; they don’t fit – what’s the “usual” way? It’s 20 € each.\n"
)


def file_of(tmp_path: Path, text: str, encoding: str) -> Path:
    path = tmp_path / "file.csv"
    path.write_bytes(("text,label\n" + text).encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (POLISH, "cp1250"),
        (CZECH, "cp1250"),
        (SLOVAK, "cp1250"),
        (HUNGARIAN, "cp1250"),
        (ROMANIAN, "cp1250"),
        (CROATIAN, "cp1250"),
        (TURKISH, "cp1254"),
        (FRENCH, "mac_roman"),
        (GERMAN, "mac_roman"),
        (SPANISH, "mac_roman"),
        (SWEDISH, "mac_roman"),
        (ENGLISH, "mac_roman"),
        (POLISH, "iso8859_2"),
        (CZECH, "iso8859_2"),
        (FRENCH.replace("’", "'"), "cp850"),
        (GERMAN, "cp850"),
        (SPANISH, "cp850"),
    ],
)
def test_letters_tell_the_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    assert detect(file_of(tmp_path, text, encoding)) == Charset(encoding)


WESTERN = [
    *(FRENCH, GERMAN, SPANISH, PORTUGUESE, ITALIAN, SWEDISH, DANISH, ICELANDIC, ESTONIAN),
    *(IRISH, ENGLISH),
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_texts_stay_western(tmp_path: Path, text: str) -> None:
    assert detect(file_of(tmp_path, text, "cp1252")) == Charset("cp1252")
    for other in WESTERN:
        assert likelier_than_western((text + other).encode("cp1252")) is None


def test_hungarian_is_the_same_in_both_encodings(tmp_path: Path) -> None:
    found = detect(file_of(tmp_path, HUNGARIAN, "iso8859_2"))
    assert HUNGARIAN.encode("iso8859_2").decode(found.encoding) == HUNGARIAN


def test_a_few_letters_are_not_enough() -> None:
    assert likelier_than_western("Łódź, Kraków, Poznań".encode("cp1250")) is None


def test_a_byte_that_does_not_fit_costs_its_row_only(tmp_path: Path) -> None:
    path = file_of(tmp_path, 3 * POLISH, "cp1250")
    path.write_bytes(path.read_bytes() + b"a\x81b,1\n")
    assert detect(path) == Charset("cp1250", lossy=True)
