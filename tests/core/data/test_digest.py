"""The hash of schemas and questions: its bytes, and where they are those of canonical JSON."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.data.digest import digest
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import question_hash
from cohortmix.protocol import canonical

SCHEMA = Schema.from_yaml("""
name: t
target: tod
columns:
  größe: {type: number, min: 0, max: 1}
  tod: {type: category, values: [ja, nein]}
""")

ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | ASCII,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ASCII, inner),
    max_leaves=12,
)


def of(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()


def test_golden_bytes_of_a_schema_beyond_ascii() -> None:
    assert SCHEMA.hash == of(
        r'{"columns":[["gr\u00f6\u00dfe",{"max":"1.0","min":"0.0","type":"number"}],'
        r'["tod",{"type":"category","values":["ja","nein"]}]],"name":"t","target":"tod"}'
    )


def test_golden_bytes_of_a_question() -> None:
    asked = f'["{SCHEMA.hash}",["second moment",[[0,1],[0]]]]'
    assert question_hash(PairTables(((0, 1), (0,))), SCHEMA) == of(asked)


def test_golden_bytes_of_a_question_with_numbers_beyond_those_of_canonical_json() -> None:
    asked = f'["{SCHEMA.hash}",["level second moment",[],4611686018427387904,9007199254740993]]'
    assert question_hash(LevelMoment((), 2**62, 2**53 + 1), SCHEMA) == of(asked)


@given(PLAIN)
def test_of_plain_ascii_and_small_numbers_it_is_the_hash_of_canonical_json(value: Any) -> None:
    assert digest(value) == canonical.sha256(value)


@pytest.mark.parametrize("value", ["ö", "\x7f", "\u2028", {"ö": 1}])
def test_of_other_texts_it_is_not(value: Any) -> None:
    """So the two cannot become one without changing the hashes of schemas that hospitals have approved."""
    assert json.loads(json.dumps(value)) == json.loads(canonical.canonical(value))
    assert digest(value) != canonical.sha256(value)
