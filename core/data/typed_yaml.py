"""YAML as people type it: a value is a text until its key gives it a type, so `no` and `1` are texts."""

from __future__ import annotations

from typing import Any

import yaml

from cohortmix.core.data.bounded_yaml import BoundedLoader
from cohortmix.core.data.cell import TRUTH_TEXTS, whole_text

WHOLE, TRUTH = "whole number", "truth value"  # tags; nobody can write one that has a space


class AsTyped(BoundedLoader):
    """YAML without guessing: everything but null is text, and pydantic gives each key its declared type.

    A list of `values` without quotes holds numbers or truth values, if all of them look like that. A key that
    occurs twice is an error; YAML's usual reader keeps the last one and says nothing.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value == "values" and isinstance(value, yaml.SequenceNode):
                _without_quotes(value)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"{twice}: this key occurs twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _without_quotes(values: yaml.SequenceNode) -> None:
    """Tag all values of a list as whole numbers or as truth values where each is written as one."""
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
    """What a text says, as `AsTyped` reads it; yaml.YAMLError if it is none, or is nested beyond reading."""
    try:
        return yaml.load(text, Loader=AsTyped)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
