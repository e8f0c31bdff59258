"""What the documentation shows: its pages, blocks of code, tables, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "core", "protocol", "client", "server", "deploy", "tests")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> dict[str, str]:
    """Every Markdown file of the repository by its path, as text."""
    files = [*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sorted(files)}


def page(path: str) -> str:
    """One of them."""
    return (ROOT / path).read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Without line breaks and the width of spaces."""
    return " ".join(text.split())


def blocks(text: str, language: str = "") -> list[str]:
    """The blocks of code in a language; by default those of shell commands, which name none."""
    return [body for name, body in FENCED.findall(text) if name == language]


def shown_commands(text: str) -> Iterator[list[str]]:
    """The words of each command `cohortmix` in blocks, as a shell would split them; what is redirected is not."""
    for block in blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.partition(" > ")[0] if " > " in line else line, comments=True)
            if words[:2] == ["sudo", "-u"]:
                words = words[3:]
            if words[:1] == ["cohortmix"]:
                yield words[1:]


def mentioned_commands(text: str) -> Iterator[list[str]]:
    """The same of commands within a sentence, which may leave out what they need."""
    for code in INLINE.findall(FENCED.sub("", text)):
        if re.match(
            r"cohortmix (?!COMMAND|cohortmix )", code
        ):  # the latter is a line of PostgreSQL's pg_ident.conf
            yield shlex.split(code)[1:]


def section(text: str, heading: str) -> str:
    """What stands below a heading, down to the next one of its kind."""
    level = heading.split(" ")[0]
    start = text.index(f"\n{heading}\n") + len(heading) + 2
    following = re.search(rf"^#{{1,{len(level)}}} ", text[start:], re.MULTILINE)
    return text[start : start + following.start()] if following else text[start:]


def keys_of_table(text: str) -> list[str]:
    """All that stands as code in the first cell of each row, such as `min` and `max` of "| `min`, `max` |"."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [code for cell in rows for code in INLINE.findall(cell)]


def anchors(text: str) -> set[str]:
    """The names under which a page's headings can be reached."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def paths(text: str) -> list[str]:
    """The files and folders of the repository that a page names as code."""
    named = INLINE.findall(FENCED.sub("", text))
    return [code for code in named if re.fullmatch(rf"({'|'.join(FOLDERS)}|examples)/[\w./-]*", code)]


def links(text: str) -> list[str]:
    """Where a page's links lead, other than to the web."""
    return [target for target in LINK.findall(FENCED.sub("", text)) if "://" not in target]
