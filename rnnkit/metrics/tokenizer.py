"""Splits captions into words like coco-caption's Stanford PTB tokeniser, without Java."""

from __future__ import annotations

import re

# What coco-caption drops after tokenising. Its tokeniser writes brackets in lower case, so those
# four names never match and brackets stay; they stay here too, so that scores can be compared.
PUNCTUATION = frozenset(
    [
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
    ]
)
_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_CONTRACTIONS = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
}
# Abbreviations that keep their full stop.
_ABBREVIATIONS = (
    r"(?:mr|mrs|ms|dr|prof|st|ave|blvd|rd|jr|sr|vs|etc|inc|ltd|co|corp|dept|mt|ft|lt|col|gen|capt|sgt|rev|no"
    r"|u\.s|u\.k|a\.m|p\.m|d\.c|e\.g|i\.e)\."
)
_CLITIC = r"'(?:[snmd]|ll|re|ve)(?!\w)"
_INNER = (  # what continues a word: hyphens, slashes, o'clock
    rf"\w|[-/](?=\w)|\.(?=[a-z0-9])|(?!{_CLITIC})'(?=\w)"
)
_TOKEN = re.compile(
    rf"""
      {_ABBREVIATIONS}(?!\w)
    | (?:[a-z]\.){{2,}}                                            # u.s.a.
    | (?<![\w'])[b-hj-z]\.                                         # an initial
    | \d+(?:[.,:/]\d+)+(?=[ap]m\b)                                 # 5:54pm is two tokens
    | \d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?(?!\w|-\w)                # 1,000  1:20  1/2  80s
    | 'n'(?!\w) | {_CLITIC} | n't(?!\w)
    | \w(?:{_INNER})*?(?=n't(?!\w))                                # the word before n't
    | \w(?:{_INNER})*
    | \.{{2,}} | -{{2,}} | [!?]{{2,}} | \S
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[str]:
    """Lower-case tokens without punctuation, as coco-caption's Java tokeniser gives them.

    Clitics become tokens of their own ("dog 's", "does n't"), hyphenated words stay whole, and
    numbers keep their inner signs. Equal to Java's for caption-like English.
    """
    text = text.translate(_QUOTES).lower()
    tokens = []
    for token in _TOKEN.findall(text):
        token = BRACKETS.get(token, token)
        if token not in PUNCTUATION and token.strip('."-'):
            tokens.extend(_CONTRACTIONS.get(token, token).split(" "))
    return tokens
