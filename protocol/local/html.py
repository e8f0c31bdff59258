"""HTML and SVG as nested calls. Whatever is not markup yet is escaped, so that no name can become markup.

Nor can a name reverse the direction of the text behind it: control characters are shown as on a terminal.
"""

from __future__ import annotations

from html import escape

from cohortmix.protocol.local.terminal import visible

_VOID = frozenset({"meta", "br"})


class Html(str):
    """Text that is markup already; `element` and `join` make it."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: object) -> Html:
    """One element with its children, in order; `class_` and `stroke_width` become `class` and `stroke-width`.

    Examples
    --------
    >>> element("p", "AUC < 1 in ", element("b", "A&B"), class_="note")
    '<p class="note">AUC &lt; 1 in <b>A&amp;B</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{written}>" if name in _VOID else f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    """The children one after another, without an element around them."""
    return Html("".join(child if isinstance(child, Html) else escape(visible(child)) for child in children))
