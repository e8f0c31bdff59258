"""What is printed for a person, on a terminal or into a log: the one place that knows rich.

Names of columns, studies, sites and files come from outside. Here they are never markup (`[/min]`), never an
emoji (`:cross:`), and never a command to the terminal: a control character is shown as its escape.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_JOINERS = "\u200c\u200d"  # format characters that are part of words in some languages
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode: controls, formats, surrogates, line and paragraph separators


def visible(text: str) -> str:
    r"""The text with every character that could move, hide or reorder others as its Python escape.

    >>> visible("Hb [g/dL]"), visible("a\x1b[2Jb\nc"), visible("gnp.\u202ecod")
    ('Hb [g/dL]', 'a\\x1b[2Jb\\nc', 'gnp.\\u202ecod')
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(letter) if _hides(letter) else letter for letter in text)


def printable() -> None:
    """From now on, escape what standard output cannot encode, as standard error does; for entry points."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


class Terminal(Console):
    """A console on which no text is markup; the arguments are those of rich's Console."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"soft_wrap": True, **options, "markup": False, "emoji": False, "highlight": False})

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text on its way to the screen passes here, also from within tables and panels."""
        return super().render_str(
            visible(text), **{**options, "markup": False, "emoji": False, "highlight": False}
        )


def say(text: str, *, err: bool = False, style: str = "") -> None:
    """One line on standard output, or on standard error."""
    Terminal(stderr=err).print(styled(text, style))


def styled(text: str, style: str = "") -> Text:
    """A text in one style, as rich takes it where a string will not do."""
    return Text(visible(text), style=style)


def compact_table(header: Sequence[str] = (), *, left: Sequence[str] = (), **options: Any) -> Table:
    """A compact table; columns but the first, and those named in `left`, are aligned to the right."""
    table = Table(**{"box": None, "pad_edge": False, "header_style": "bold", **options})
    for position, name in enumerate(header):
        justify: Any = "right" if position and name not in left else "left"
        table.add_column(styled(name), justify=justify, overflow="fold")
    return table


def panel(content: RenderableType, title: str | None = None, **options: Any) -> Panel:
    """A frame around `content`, with a title at its upper left."""
    return Panel(content, title=None if title is None else styled(title), title_align="left", **options)


def _hides(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
