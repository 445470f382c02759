r"""PostgreSQL's encodings as Python knows them: pg_dump writes in the database's own, and names are in it, too.

In a database of the encoding SQL_ASCII a name is bytes that nobody understands. It passes through here as text with
surrogates for what is no UTF-8, and is shown, and recorded, with such bytes written out (``\xe9``).
"""

from __future__ import annotations

UNKNOWN = "SQL_ASCII"

_CODECS = {
    "UTF8": "utf-8",
    UNKNOWN: "utf-8",
    "EUC_CN": "gb2312",
    "EUC_JP": "euc_jp",
    "EUC_JIS_2004": "euc_jis_2004",
    "EUC_KR": "euc_kr",
    "JOHAB": "johab",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "WIN866": "cp866",
    "WIN874": "cp874",
    **{f"WIN{number}": f"cp{number}" for number in range(1250, 1259)},
    **{f"ISO_8859_{number}": f"iso8859_{number}" for number in range(5, 9)},
    **{f"LATIN{n}": f"iso8859_{part}" for n, part in enumerate((1, 2, 3, 4, 9, 10, 13, 14, 15, 16), start=1)},
}


def dump_encoding(encoding: str) -> str:
    """Return the encoding to dump a database of ``encoding`` in: its own, where its names can be read here."""
    return encoding if encoding in _CODECS else "UTF8"


def decode_text(text: bytes, encoding: str) -> str:
    """Return what ``text`` in one of PostgreSQL's encodings says; bytes that say nothing are written out."""
    return text.decode(_CODECS.get(encoding, "utf-8"), "backslashreplace")


def decode_name(text: bytes, encoding: str) -> str:
    """Return what an identifier of pg_dump's, in one of PostgreSQL's encodings, names; other bytes stay, surrogates."""
    name = text.decode(_CODECS.get(encoding, "utf-8"), "surrogateescape")
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def encode_name(text: str, encoding: str) -> bytes:
    """Return a name in one of PostgreSQL's encodings.

    Raises:
        UnicodeError: it cannot be said in that.
    """
    return text.encode(_CODECS.get(encoding, "utf-8"), "surrogateescape")


def display_name(name: str) -> str:
    """Return a name as it is shown and recorded: without surrogates."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
