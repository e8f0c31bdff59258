"""The daemon's protocol: its two calls, and generated code that is the one of `site.proto`."""

import subprocess
import sys
from pathlib import Path

import pytest

from cohortmix.protocol import site_pb2

FOLDER = Path(str(site_pb2.__file__)).parent


def test_the_service_has_two_calls_of_one_message_each() -> None:
    service = site_pb2.DESCRIPTOR.services_by_name["Site"]
    assert {call.name: (call.input_type.name, call.output_type.name) for call in service.methods} == {
        "Describe": ("Empty", "Envelope"),
        "Release": ("Envelope", "Envelope"),
    }
    assert not any(call.client_streaming or call.server_streaming for call in service.methods)


def test_an_envelope_is_one_field_of_bytes() -> None:
    assert site_pb2.Envelope(message=b"\x00{}").SerializeToString() == b"\x0a\x03\x00{}"


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    source = tmp_path / "cohortmix" / "protocol" / "site.proto"
    source.parent.mkdir(parents=True)
    source.write_bytes((FOLDER / "site.proto").read_bytes())
    program = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(tmp_path), "--python_out", str(tmp_path)]
    outputs = ["--pyi_out", str(tmp_path), str(source.relative_to(tmp_path))]
    subprocess.run([*program, *outputs], cwd=tmp_path, check=True)
    for name in ("site_pb2.py", "site_pb2.pyi"):
        assert (source.parent / name).read_text() == (FOLDER / name).read_text(), f"{name}: run `make proto`"
