"""YAML as people mean it: every value is a text until its key gives it a type, so `no` and `1` are texts."""

from __future__ import annotations

from typing import Any

import yaml

from cohortmix.core.data.bounded_yaml import BoundedLoader
from cohortmix.core.data.cell import TRUTH_TEXTS, whole_text

WHOLE, TRUTH = "whole number", "truth value"  # YAML tags; with a space in them, nobody can write them in a file


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
