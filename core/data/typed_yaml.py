"""YAML as people mean it, within bounds: every value is a text until its key gives it a type.

So `no` and `1` are texts. A few lines of YAML can stand for gigabytes, by aliases of aliases, or make a reader
create any Python object: nesting and size are bounded, and no types are known but texts, lists and keys with
values.
"""

from __future__ import annotations

from typing import Any

import yaml

from cohortmix.core.data.cell import TRUTH_TEXTS, whole_text

WHOLE, TRUTH = "whole number", "truth value"  # YAML tags; with a space in them, nobody can write them in a file

DEEPEST = 30
"""Most levels of nesting; a schema has four."""

MOST_NODES = 100_000
"""Most values of a file; an alias counts as many as it stands for."""

HALVES = "\ud800", "\udfff"
"""Code points between these are halves of characters: an escape can write one, no encoding can."""

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
        if isinstance(node, yaml.ScalarNode) and any(HALVES[0] <= letter <= HALVES[1] for letter in node.value):
            raise yaml.composer.ComposerError(None, None, "half of a character, which no text can hold", mark)
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


class AsTyped(BoundedLoader):
    """A YAML reader that guesses no types: everything but null is text, and pydantic gives each key its type.

    There is one exception: a list under the key `values` whose entries have no quotes holds whole numbers if all
    of them look like that, or truth values if all of them do. A key that occurs twice is an error; PyYAML alone
    would keep the last one and say nothing.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value == "values" and isinstance(value, yaml.SequenceNode):
                _type_without_quotes(value)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            repeated = next(key for key in keys if keys.count(key) > 1)
            problem = f"{repeated}: this key occurs twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _type_without_quotes(values: yaml.SequenceNode) -> None:
    """Tag the entries of a list as whole numbers or truth values, where all are written as one without quotes."""
    items = values.value
    if not all(isinstance(item, yaml.ScalarNode) and item.style is None for item in items):
        return
    whole = [whole_text(item.value) for item in items]
    for item, number in zip(items, whole, strict=True):
        if None not in whole:
            item.tag, item.value = WHOLE, number
        elif all(other.value.lower() in TRUTH_TEXTS for other in items):
            item.tag = TRUTH


AsTyped.yaml_constructors = BoundedLoader.yaml_constructors | {
    WHOLE: lambda _, node: int(node.value),
    TRUTH: lambda _, node: node.value.lower() == "true",
}
AsTyped.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_yaml(text: str) -> Any:
    """The content of a text, as `AsTyped` reads it; yaml.YAMLError if it is no YAML, or nested too deeply."""
    try:
        return yaml.load(text, Loader=AsTyped)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
