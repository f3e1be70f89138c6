"""docs/gates.md is true: its examples are read, its snippets run, and believe what we sign and nothing else."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rollout.adapters.config_file import read as read_settings
from rollout.adapters.job_gate import environment
from rollout.adapters.policy_yaml import read as read_policies
from rollout.adapters.signing import SIGNATURE, TIMESTAMP, read_key, signed
from rollout.adapters.strict_yaml import parse
from rollout.adapters.webhook_gate import KEY, body_of
from tests.adapters.gates.questions import question

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/gates.md").read_text(encoding="utf-8")
BODY = b'{"release":"checkout-v2-1","weight":10}'


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def headers(at: float, key: bytes = b"s3cret") -> dict[str, str]:
    return signed(key, datetime.fromtimestamp(at, UTC), BODY)


def in_python(key: bytes, sent: dict[str, str], body: bytes) -> bool:
    [code] = snippets("python")
    names: dict[str, Any] = {}
    exec(code, names)
    verify: Callable[..., bool] = names["is_from_rollout"]
    return verify(key, sent, body)


def in_shell(key: bytes, sent: dict[str, str], body: bytes, folder: Path) -> bool:
    [code] = snippets("sh")
    (folder / "key").write_bytes(key)
    (folder / "body").write_bytes(body)
    env = {"PATH": "/usr/bin:/bin", "timestamp": sent[TIMESTAMP], "signature": sent[SIGNATURE]}
    ran = subprocess.run(["sh", "-c", code], cwd=folder, env=env, capture_output=True, timeout=20, check=False)
    return ran.stdout == b"genuine\n"


@pytest.mark.parametrize("shell", [False, True])
def test_the_snippets_believe_what_we_sign_and_nothing_else(tmp_path: Path, shell: bool) -> None:
    def believes(key: bytes, sent: dict[str, str], body: bytes) -> bool:
        return in_shell(key, sent, body, tmp_path) if shell else in_python(key, sent, body)

    (tmp_path / "file").write_bytes(b"s3cret\n")
    now = time.time()  # noqa: TID251 - the snippets ask the machine's clock
    good = headers(now, read_key(tmp_path / "file"))
    assert believes(b"s3cret", good, BODY)
    assert not believes(b"another", good, BODY)
    assert not believes(b"s3cret", good, BODY.replace(b"10", b"99"))
    assert not believes(b"s3cret", good | {TIMESTAMP: str(int(now) - 1)}, BODY)
    assert not believes(b"s3cret", good | {SIGNATURE: good[SIGNATURE][3:]}, BODY)
    assert not believes(b"s3cret", headers(now - 400), BODY)


def test_the_policy_of_the_example_is_one() -> None:
    policy, _ = snippets("yaml")
    head = "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\nmetadata: {name: checkout, namespace: shop}\n"
    [read] = read_policies(head + policy, "policy.yaml")
    assert [gate.kind for gate in read.spec.gates] == ["approval", "job", "webhook"]


def test_the_settings_of_the_example_are_some_that_its_policy_can_use() -> None:
    policy, settings = snippets("yaml")
    read = read_settings("apiVersion: rollout.dev/v1alpha1\nkind: ControllerConfig\n" + settings, "settings.yaml")
    for kind in (read.webhooks, read.jobs):
        assert all(f"use: {one.name}\n" in policy for one in kind)


def test_the_body_of_the_example_has_the_fields_of_ours() -> None:
    [example] = map(json.loads, snippets("json"))
    sent = body_of(replace(question(), gate=question().gate.model_copy(update={"before": "promotion"})))
    assert list(example) == list(sent)
    assert [type(value) for value in example.values()] == [type(value) for value in sent.values()]


def test_every_header_and_variable_is_named() -> None:
    for name in (KEY, TIMESTAMP, SIGNATURE, *environment(question("job", "smoke"))):
        assert f"`{name}`" in TEXT


@pytest.mark.parametrize("file", sorted((ROOT / "config/settings").glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_of_settings_fit_the_schema_for_editors(file: Path) -> None:
    schema = json.loads((ROOT / "config/schema/controller-config.v1alpha1.json").read_text(encoding="utf-8"))
    [document] = parse(file.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document.value, schema)
