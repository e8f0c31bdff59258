"""A signature holds for one content, one key and one kind of message."""

from decimal import Decimal
from types import ModuleType

import pytest

from cohortmix.protocol.messages import SignedRequest, SignedStudy
from cohortmix.protocol.signing import (
    Key,
    SignatureError,
    sign_receipt,
    sign_request,
    verify,
    verify_receipt,
    verify_request,
    verify_study,
)


def test_golden_signature() -> None:
    # RFC 8032, section 7.1, test 1: the empty message.
    key = Key.from_bytes(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert key.public_hex == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"") == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    assert Key.from_bytes(key.to_bytes()).public_hex == key.public_hex


def test_printing_a_key_shows_no_secret() -> None:
    key = Key.generate()
    assert key.to_bytes().hex() not in repr(key)
    assert key.public_hex in repr(key)


def test_verify_and_its_negation() -> None:
    key, other = Key.generate(), Key.generate()
    signature = key.sign(b"message")
    verify(key.public_hex, b"message", signature)
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for public, message, made in (
        (other.public_hex, b"message", signature),
        (key.public_hex, b"massage", signature),
        (key.public_hex, b"message", flipped),
        (key.public_hex, b"message", ""),
        ("no key", b"message", signature),
    ):
        with pytest.raises(SignatureError):
            verify(public, message, made)


def test_an_altered_study_is_refused(examples: ModuleType) -> None:
    signed = examples.signed_study()
    verify_study(signed)
    altered = SignedStudy(study=examples.study(mu=Decimal("0.269")), signature=signed.signature)
    with pytest.raises(SignatureError):
        verify_study(altered)


def test_another_coordinator_is_refused(examples: ModuleType) -> None:
    theirs = SignedStudy(
        study=examples.study(coordinator_key=examples.OTHER.public_hex),
        signature=examples.signed_study().signature,
    )
    with pytest.raises(SignatureError):
        verify_study(theirs)


def test_request_and_study_are_both_checked(examples: ModuleType) -> None:
    signed = sign_request(examples.COORDINATOR, examples.request(2))
    verify_request(signed)
    with pytest.raises(SignatureError):
        verify_request(sign_request(examples.OTHER, examples.request(2)))
    with pytest.raises(SignatureError):
        verify_request(SignedRequest(request=examples.request(2, "request-2"), signature=signed.signature))
    unsigned = SignedStudy(study=examples.study(), signature="0" * 128)
    with pytest.raises(SignatureError):
        verify_request(
            sign_request(examples.COORDINATOR, examples.request(2).model_copy(update={"study": unsigned}))
        )


def test_a_signature_of_one_kind_is_none_of_another(examples: ModuleType) -> None:
    study = examples.study()
    receipt = examples.release().receipt
    verify_receipt(sign_receipt(examples.SITE, receipt), examples.SITE.public_hex)
    from cohortmix.protocol.canonical import canonical

    bare = examples.COORDINATOR.sign(canonical(study.plain()))
    as_receipt = examples.COORDINATOR.sign(b"cohortmix/receipt/1\n" + canonical(study.plain()))
    for signature in (bare, as_receipt):
        with pytest.raises(SignatureError):
            verify_study(SignedStudy(study=study, signature=signature))
