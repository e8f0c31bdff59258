"""An extension of Griffe: docstrings as this project writes them, for a parser that knows numpydoc.

Here a parameter's line is `name : what it is`, where numpydoc has a type; types stand in the signature. And a
formula such as `|x| <= R` or `[z, w]` is text, not Markdown.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

NAMED = ("Parameters", "Attributes")
ENTRY = re.compile(r"^([\w*]+(?:, [\w*]+)*) : (.*)$")
SHORT = 45  # characters of what is a type, not the first line of a sentence
RULE = re.compile(r"-{3,}")
CODE = re.compile(r"(`[^`]*`)")
MARKUP = re.compile(r"([*_\[\]])")


class Plain(Extension):
    """Rewrites each docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """The docstring with a line of its own for each name, and without markup by accident."""
    source, lines, section = text.split("\n"), [], ""
    for line, under in zip(source, [*source[1:], ""], strict=True):
        if RULE.fullmatch(under):
            section = line
        entry = ENTRY.match(line) if section in NAMED else None
        code = section == "Examples" or (section not in NAMED and line.startswith((">>>", "    ")))
        if entry:  # numpydoc's own form, a type and then a sentence below it, is in a few places
            typed = len(entry[2]) < SHORT and re.match(r" +[A-Z]", under)
            lines += [entry[1], "    " + plain(entry[2]) + ("." if typed else "")]
        else:
            lines.append(line if code or RULE.fullmatch(line) else plain(line))
    return "\n".join(lines)


def plain(line: str) -> str:
    """A line whose characters stand for themselves, but for code between backticks."""
    return "".join(part if part.startswith("`") else escaped(part) for part in CODE.split(line))


def escaped(text: str) -> str:
    """Text for Markdown, which knows no escape for `<`."""
    return MARKUP.sub(r"\\\1", text.replace("<", "&lt;"))
