r"""Captions as words, as the published caption evaluation counts them.

That is what Stanford's PTBTokenizer 3.4.1 makes of a caption with `-lowerCase`, without the marks
that the evaluation drops: `' '' ` `` . ? ! , : - -- ... ;` and round and curly brackets. Written
anew from what it answers, and held against its answers to some hundred sentences in
`tests/lakesight/metrics/language/`. It splits clitics off ("ca n't", "dog 's"), keeps hyphens,
slashes and numbers whole ("black-and-white", "and/or", "1,000"), keeps the full stop of
abbreviations and of single letters ("st.", "u.s.", "b."), and two words that only a full stop
parts ("tie.a"). Emoji beyond the basic plane are no words.

Where it is known to differ:

- the reference reads all captions as one text. Where a caption ends in a single letter and a full
  stop ("plan B."), the letter loses it if the *next* caption begins with such a word as "A" or
  "The"; here, if the caption itself does;
- a number with a fraction ("2 1/4") and a telephone number with a space are two words here, as BLEU
  and CIDEr count them; ROUGE-L there counts one;
- HTML entities beyond the most common, letters and symbols that came to Unicode after 2013, and
  rare mixtures ("5-a/b-5", "5.,5", "Ph.D.s").
"""

import re
from collections.abc import Iterator

from lakesight.metrics.language.lexicon import (
    ABBREVIATIONS,
    CAPITAL_ABBREVIATIONS,
    CHARACTERS,
    NUMBER_ABBREVIATIONS,
    SPLIT,
    STARTERS,
    WITH_APOSTROPHE,
)

MARKS = (
    "\u02c2-\u02c5\u02d2-\u02df\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065e\u0670"
    "\u0900-\u0903\u093c\u093e-\u094e\u0951-\u0955\u0962\u0963\u0981-\u0983\u09bc-\u09cd"
    "\u0a3c-\u0a4f\u0abc-\u0acf\u0bbe-\u0bcd\u0c3e-\u0c56\u0d3e-\u0d44\u0e31\u0e34-\u0e3a"
    "\u0e47-\u0e4e\u2010\u2011"
)
"""Beside letters: what stands over, under or between them in a word."""

NUMERALS = "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u218f\u2460-\u24ff\u2776-\u2793"
"""What Python takes for letters of a word, but a word does not have."""

SYMBOLS = (
    "\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u0e3f\u2016\u2017\u201a"
    "\u201e-\u2023\u2030-\u2038\u203b-\u2042\u2044\u2070-\u208e\u20a4\u2100-\u214f\u2155-\u215e"
    "\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\uffe0\uffe1\uffe5\uffe6"
)
"""Characters beyond ASCII that are words of their own."""

A = rf"(?:[{MARKS}]|(?![{NUMERALS}])[^\W\d_])"
"""A letter."""
W = rf"(?:[{MARKS}]|(?![{NUMERALS}])[^\W_])"
"""A letter or digit."""
Q = "['\u2019]"
"""An apostrophe."""
CLITIC = rf"{Q}(?i:[smd]|re|ve|ll)(?!{A})"
NOT = "(?i:n['\u2018\u2019`]t)"
TEXT = rf"{W}+(?:_{W}+)*"
NAME = rf"(?!{A}{CLITIC})(?:[A-HJ-XZ]|[dlno]){Q}{A}+"
"""O'Brien, d'Artagnan, o'clock."""
LETTERS = rf"{A}(?:\.{A})+\.(?!{A})"
"""U.S., a.m."""
DOTTED = rf"{A}{W}*(?:[.!?]{A}{W}*)+"
"""example.com, and words between which a space is missing."""
IN_URL = r'[^\s"<>|(){}]'
URL_END = r"""[^\s"<>|(){}.!?,;:'\-]"""
SLASHED = rf"{W}+(?:-{A}{W}*){{0,2}}"


def _any(words: list[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


RULES = {
    "plain": r"[a-z]+(?![^\s,])",
    "tag": r"</?[A-Za-z][\w:-]*(?:[ ][\w ]*(?:=[^<>]*)?)?/?>|<[!?][^<>]+>",
    "url": rf"(?i:https?)://{IN_URL}+[./:]{IN_URL}*{URL_END}",
    "email": r"<[\w.+-]+@[\w.-]+>|[\w.:+-]*\w@\w(?:[\w.-]*\w)?",
    "path": rf"(?i:(?:www\.)?(?:{A}{W}*\.)+(?:com|net|org|edu))/{IN_URL}+{URL_END}",
    "site": rf"(?i:www)\.(?:{W}|-)+(?:\.(?:{W}|-)+)*",
    "handle": r"@[A-Za-z_]\w*|#[A-Za-z]+|[CFcf]#|[Cc]\+\+",
    "entity": r"&(?:amp|lt|gt|quot|apos|nbsp|mdash|ndash);|&#\d+;",
    "initials": r"[A-Z]+(?:&(?:amp;)?[A-Z]+)+",
    "bracket": r"-(?i:[lr][rsc]b)-",
    "smiley": rf">?[:;=]['\-]?[()\[\]DPp](?!{W})|\^_\^|-_-",
    "mixed": r"\d+[ \u00a0]\d{1,2}/\d{1,4}(?!\d)",
    "phone": r"\(\d{2,3}\)[ \u00a0-]?\d{3}[ \u00a0-]\d{4}(?!\d)",
    "hyphens": rf"(?!{NOT})(?:{LETTERS}|{DOTTED}|{NAME}|\d+(?:[.,]\d+)+|{TEXT}\.?)"
    rf"(?:-(?:{LETTERS}|(?!{NOT}){NAME}|{TEXT}))+(?![/-]?{W})",
    "slashes": rf"\d+-\d+/\d+|{W}+(?:-{A}{W}*)*(?:/{SLASHED}){{1,2}}",
    "phd": r"(?i:ph\.d\.)",
    "letters": LETTERS,
    "dotted": DOTTED,
    "abbreviation": rf"(?i:{_any(ABBREVIATIONS)})\.|(?:{_any(CAPITAL_ABBREVIATIONS)})\."
    rf"|(?i:{_any(NUMBER_ABBREVIATIONS)})\.(?=[ ]?\d|,)|{A}{W}*\.(?=,)",
    "letter": rf"(?i:[a-z])\.(?!\s+(?:{_any(STARTERS)})\b)",
    "apostrophe": rf"{Q}(?:em|til|cause|n{Q}|[nN](?!{A}))|{Q}[2-9]\ds?(?!{W}|{Q}s)"
    rf"|'[tT](?=(?i:is|was))|[oO]l{Q}|[jy]{Q}(?={A})",
    "quotes": "''|``",
    "verb": rf"{A}+?(?={NOT})",
    "not": NOT + rf"{A}*",
    "name": rf"{NAME}|{A}+(?i:[aeiouy]){Q}(?i:[aeiou]){A}*|(?i:{_any(WITH_APOSTROPHE)})",
    "clitic": CLITIC,
    "dollars": r"[A-Z]{1,2}\$",
    "dashes": "-{2,}",
    "number": r"[-+]?\d*(?:[.,:]\d+)+|[-+]\d+",
    "fraction": r"[¼½¾⅓⅔]",
    "text": TEXT,
    "marks": r"[!?]{2,}|[#*_]{2,}|<{2,}|>{2,}",
    "mark": rf"[#$%&*/+=<>@\\^_|~()\[\]{{}}¢£¤€\u20a0{SYMBOLS}]",
}
"""The kinds of words, the first that fits in each place."""

WORD = re.compile("|".join(f"(?P<{kind}>{rule})" for kind, rule in RULES.items()))
LAST_LETTER = re.compile(r"(?<!\S)[A-Za-z]\.\s*$")
"""A single letter with a full stop at the end of a caption."""

BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-"}
DROPPED = frozenset({"''", "``", "&quot;", "&apos;", "&nbsp;", "&mdash;", "&ndash;"})


def tokenize(caption: str) -> list[str]:
    """Return the words of a caption, in small letters; see the module for what counts as one."""
    text = caption if caption.isascii() else _basic(caption)
    if LAST_LETTER.search(text) and text.split(None, 1)[0] in STARTERS:
        text = text.rstrip()[:-1]
    return list(_words(text))


def _basic(text: str) -> str:
    """Return text without soft hyphens, and with spaces for what is beyond the basic plane."""
    return re.sub("[\U00010000-\U0010ffff]", " ", text.replace("\u00ad", ""))


def _words(text: str) -> Iterator[str]:
    for match in WORD.finditer(text):
        word = match.group().lower()
        kind = match.lastgroup
        if kind in ("plain", "text"):
            yield from SPLIT.get(word, (word,))
        elif kind in ("mixed", "phone", "tag"):
            yield from _bracketed(word).replace("\u00a0", " ").split()
        elif kind in ("clitic", "not"):
            yield word.replace("\u2019", "'").replace("\u2018", "`")
        elif kind == "smiley":
            yield _bracketed(word)
        elif word not in DROPPED and kind != "dashes":
            yield BRACKETS.get(word) or CHARACTERS.get(word) or word.replace("&amp;", "&")


def _bracketed(word: str) -> str:
    return "".join(BRACKETS.get(one, one) for one in word)
