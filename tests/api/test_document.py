"""The OpenAPI document says what the API does: schemathesis finds no 500 and no answer that is not declared.

`ROLLOUT_API_EXAMPLES=2000` tries more.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.core.result import Ok

from rollout.api import connections
from rollout.api.document import document
from rollout.api.problems import KINDS, MEDIA_TYPE
from rollout.api.rules import RULES
from rollout.core.freeze import FreezeSpec
from tests import given
from tests.api.house import ANN, House, bearer

EXAMPLES = int(os.environ.get("ROLLOUT_API_EXAMPLES", "200"))
# What a document cannot say (fields that must agree, a scope's longest name) is refused in spite of it; that tokens are
# asked for is tried in test_rules.py, for every route.
LEFT_OUT = ("positive_data_acceptance", "ignored_auth")
_REFUSED = [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 423]
_CONFIG = {"checks": {"negative_data_rejection": {"expected-statuses": _REFUSED}}}
# Without security: the token is always Ann's, and none that is made up.
_BARE = {key: value for key, value in document().items() if key != "security"}
_ALL = schemathesis.openapi.from_dict(_BARE, config=schemathesis.Config.from_dict(_CONFIG)).get_all_operations()
# Not the probes: they take nothing.
OPERATIONS = [found for found in (one.ok() for one in _ALL if isinstance(one, Ok)) if found.path.startswith("/v1")]
CASES = st.one_of([operation.as_strategy() for operation in OPERATIONS])
WRONG = st.one_of(
    [
        operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        for operation in OPERATIONS
        if operation.body or operation.query or operation.headers
    ]
)
KNOWN = {"namespace": "shop", "name": "checkout-v2", "scope": "shop/checkout"}


@contextlib.contextmanager
def listening(house: House) -> Iterator[str]:
    """The API in a thread of its own, so that a test that is not asynchronous can ask it; gives its URL."""
    closing, listener = asyncio.Event(), connections.listening("127.0.0.1:0")
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        await house.started(given.release().status)
        await house.started(service="payments")
        await house.freezes.put("shop", FreezeSpec(service="search", reason="sale"))
        await connections.serve(listener, house.application(), closing)

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    # Streams and long polls end at once: what is tried is answers, not patience.
    house.backing.closing.set()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(closing.set)
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("cases", "some_known"),
    [(CASES, st.booleans()), (WRONG, st.just(False))],
    ids=["as declared", "not as declared"],
)
def test_whatever_is_asked_the_answer_is_one_that_is_declared(
    house: House, cases: "st.SearchStrategy[Case[Any]]", some_known: "st.SearchStrategy[bool]"
) -> None:
    checks: list[Any] = [one for one in schemathesis.checks.CHECKS.get_all() if one.__name__ not in LEFT_OUT]

    with listening(house) as url:

        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=cases, known=some_known)
        def ask(case: Case[Any], known: bool) -> None:
            if known and case.path_parameters:
                case.path_parameters |= {key: value for key, value in KNOWN.items() if key in case.path_parameters}
            answer = case.call(base_url=url, headers=bearer(ANN))
            case.validate_response(answer, checks=checks)

        ask()


def test_the_reference_has_every_route_and_every_problem_and_no_other() -> None:
    text = (Path(__file__).parents[2] / "docs" / "http-api.md").read_text()
    assert _marked(text, "routes") == list(_routes())
    assert _marked(text, "problems") == [f"| {s} | `{code}` | {title} |" for code, (s, title) in KINDS.items()]


def _marked(text: str, name: str) -> list[str]:
    inside = text.partition(f"<!-- {name}:begin -->")[2].partition(f"<!-- {name}:end -->")[0]
    return [line for line in inside.splitlines() if line.startswith("|")][2:]


def _routes() -> Iterator[str]:
    for (method, path), rule in RULES.items():
        right = ", ".join(f"`{one}`" for one in rule.rights) or ("-" if rule.known else "open")
        known = document()["paths"].get(path)
        what = known[method.lower()]["summary"] if known else "The OpenAPI document"
        yield f"| `{method} {path}` | {right} | {what} |"


def test_every_answer_that_is_a_no_is_declared_as_a_problem() -> None:
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [MEDIA_TYPE], (method, path, status)


def test_the_document_is_made_without_a_cluster_and_as_json() -> None:
    assert json.loads(json.dumps(document())) == document()
    assert document()["openapi"].startswith("3.1")


def test_help_needs_none_of_the_web_framework() -> None:
    code = "import sys, rollout.cli.main; sys.exit(any(name.split('.')[0] == 'fastapi' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
