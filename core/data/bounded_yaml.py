"""A YAML reader with bounds on nesting and size, which knows no types but texts, lists and keys with values.

A few lines of YAML can stand for gigabytes, by aliases of aliases, or make a reader create any Python object.
"""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 30
"""Most levels of nesting; a schema has four."""

MOST_NODES = 100_000
"""Most values of a file; an alias counts as many as it stands for."""

_TYPES = ("map", "seq", "str", "null")


class BoundedLoader(yaml.SafeLoader):
    """PyYAML's safe reader with bounds; a file beyond one is a YAMLError, like other faults of a file."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth, self._nodes = 0, 0
        self._sizes: dict[int, int] = {}  # values in each complete node, by the node's identity

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next value of the file, with everything in it."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # of types-pyyaml
        before, self._depth = self._nodes, self._depth + 1
        if self._depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST} levels are nested", mark)
        repeated = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if repeated and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "a value holds itself", mark)
        self._nodes += self._sizes[id(node)] if repeated else 1
        if self._nodes > MOST_NODES:
            raise yaml.composer.ComposerError(None, None, f"it has more than {MOST_NODES} values", mark)
        self._sizes[id(node)] = self._nodes - before
        self._depth -= 1
        return node


BoundedLoader.yaml_constructors = {
    tag: make
    for tag, make in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix("tag:yaml.org,2002:") in _TYPES
}
