"""Texts: texts that may do harm if they are shown, run, stored or used as a file name."""

from __future__ import annotations

import random
import unicodedata

# A shell that runs one of the texts creates a file of this name.
CANARY = "canary"
# A line that begins with this id was forged: no message of a trial has it.
FORGED = "#999999999"

TERMINAL = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP+q544e\x1b\\",
    "\x1b[2J",
    "\x9b2J",
    "\x90q\x9c",
    "\x9d0;title\x9c",
    f"a\r{FORGED} forged",
    f"a\n{FORGED} forged",
    f"a\x85{FORGED}",
    "a\b\b\bb",
    "\x7f",
    "\x0e\x0f",
    "\x05",
    "\tx",
    "\u202edesrever",
    "\u2066x\u2069",
    "\u200b\u200d\u2060\ufeff",
    f"\u2028{FORGED}",
    f"\u2029{FORGED}",
    "\u0301combining",
    "漢字ｆｕｌｌ",
    "\U000e0041tag",
    "\ue000private",
    "\u0378unassigned",
    "\u3164filler",
    "x" * 900,
)
SHELL = (
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY};",
    f"| touch {CANARY}",
    f"&& touch {CANARY}",
    f"'; touch {CANARY}; '",
    f'"; touch {CANARY}; "',
    f"\ntouch {CANARY}\n",
    f"${{x:=$(touch {CANARY})}}",
    f">{CANARY}",
    f"-x touch {CANARY}",
    "--help",
    "-",
    "--",
    f"--db={CANARY}",
    "$HOME",
    "~",
    "*",
    "%s%n%x",
    "{}",
    "\\",
    "!!",
    "#",
)
SQL = (
    "'",
    "''",
    "'; DROP TABLE messages; --",
    '"; DELETE FROM deliveries; --',
    "' OR 1=1 --",
    "%",
    "_",
    "[a-z]",
    "?",
    "^",
    ":x",
    "?1",
    "@x",
    "$x",
    "NEAR(x)",
    "x\\' --",
    "messages",
    "sqlite_schema",
    "/*",
    "*/",
    "x'00'",
)
JSON = (
    '"',
    "\\",
    '{"a":1}',
    "\\u0000",
    "\\ud800",
    "NaN",
    "null",
    "]}",
    '"}\n{"id":9',
    '\r\n{"jsonrpc":"2.0"}',
    "\ufeff{}",
    "</script>",
    "\\",
    "\U0001f989",
    "\uffff",
    "\ufffe",
)
_NUL = ("a\0b", "\0", f"\0{CANARY}")
_NAMES = (
    "..",
    ".",
    f"../../{CANARY}",
    f"/tmp/{CANARY}",
    "a/../b",
    "a/b",
    "~",
    "~root",
    "%2e%2e",
    "%2F",
    "a%20b",
    "a b",
    "watch.lock",
    ".new-1",
    "-rf",
    "a.",
    "a",
    "A",
    "a%41",
    "con",
    "nul",
    "é",
    "e\u0301",
    "É",
    "Å",
    "A\u030a",
    "\u212b",
    "\u212a",
    "K",
    "k",
    "ﬁ",
    "fi",
    "ß",
    "ss",
    "ẞ",
    "\u0131",
    "i",
    "İ",
    "a\u200bb",
    "ab",
    "\u0430",
    "x" * 199,
    "x" * 200,
    "x" * 255,
    "x" * 300,
    "é" * 130,
    "漢" * 80,
    "漢" * 66,
    "🦉" * 60,
    "\\",
    "a\\b",
    "'",
    '"',
    "$",
    "`id`",
    "<",
    ">",
    "|",
    "?",
    "#",
    "@",
    "+",
    "=",
    ",",
    ";",
    "&",
)


def texts(rng: random.Random, count: int, *, nul: bool = False) -> list[str]:
    """Return random texts of every kind, some joined; `nul` adds texts with a NUL, which no argument can have."""
    kinds = [TERMINAL, SHELL, SQL, JSON, *([_NUL] if nul else [])]
    result = []
    for number in range(count):
        text = rng.choice(kinds[number % len(kinds)])
        if rng.random() < 0.3:
            text += rng.choice(rng.choice(kinds))
        result.append(text[:1000])
    return result


def addresses() -> list[str]:
    """Return valid addresses that are all different, though many are similar as file names."""
    return [f"{name}:s" for name in _NAMES] + [f"r:{name}" for name in _NAMES]


def is_harmless(text: str) -> bool:
    """Whether a text has only characters that a terminal prints, and newlines."""
    return all(char == "\n" or unicodedata.category(char) not in _ACTIVE for char in text)


# Control, format, surrogate, private and unassigned characters, and the line and paragraph separators.
_ACTIVE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
