"""Whom the Kubernetes API knows, for how long its word counts, and which token is shown to whom."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from rollout.adapters.authentication import Authentication
from rollout.adapters.cluster import Cluster
from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.recently import MOST_WAITING
from rollout.adapters.token_reviews import BELIEVED, DISBELIEVED, TokenReviews
from rollout.core.access import Identity
from rollout.ports import Outage, Unauthenticated
from tests.adapters.access.ci_system import NOW, CiSystem
from tests.adapters.access.conftest import Seconds
from tests.adapters.access.listener import JsonObject, Listener, Said
from tests.fakes.clock import FakeClock

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
USER = {
    "username": "system:serviceaccount:shop:ci",
    "uid": "77",
    "groups": ["system:serviceaccounts", "system:authenticated"],
    "extra": {"authentication.kubernetes.io/pod-name": ["runner-1"]},
}


def reviewed(authenticated: bool = True, audiences: Any = ("rollout",), user: Any = None) -> Callable[..., Said]:
    status: JsonObject = {"authenticated": authenticated, "user": USER if user is None else user}
    if audiences is not None:
        status["audiences"] = list(audiences)
    return lambda _: Said({"kind": "TokenReview", "status": status}, 201)


def kubernetes_token(**claims: Any) -> str:
    """As a ServiceAccount's looks; nobody here checks its signature."""
    known = {"iss": "https://kubernetes.default.svc", "aud": ["rollout"], "exp": NOW + 3600, "sub": "ci"}
    return jwt.encode({**known, **claims}, "k" * 32, algorithm="HS256")


@pytest.fixture
def known(api: Listener, cluster: Cluster, clock: FakeClock, seconds: Seconds, issuer: OidcIssuer) -> Authentication:
    """The whole chain; the Kubernetes API knows every token."""
    api.answers[PATH] = reviewed()
    return Authentication(TokenReviews(cluster, "rollout", clock, seconds), [issuer])


async def test_an_account_is_who_the_review_says(known: Authentication, api: Listener) -> None:
    token = kubernetes_token()
    assert await known.identify(token) == Identity(
        name="system:serviceaccount:shop:ci",
        groups=("system:serviceaccounts", "system:authenticated"),
        uid="77",
        extra={"authentication.kubernetes.io/pod-name": ("runner-1",)},
    )
    assert [body["spec"] for _, body in api.asked] == [{"token": token, "audiences": ["rollout"]}]


NOT_BELIEVED = {
    "not authenticated": reviewed(authenticated=False),
    "authenticated as text": reviewed(authenticated="true"),  # type: ignore[arg-type]
    "for another audience": reviewed(audiences=["https://kubernetes.default.svc"]),
    "for no audience, by a server that knows of none": reviewed(audiences=None),
    "nobody": reviewed(user={}),
    "an empty name": reviewed(user={"username": ""}),
    "anonymous": reviewed(user={"username": "system:anonymous"}),
    "no status": lambda _: Said({"kind": "TokenReview"}, 201),
}


@pytest.mark.parametrize("what", NOT_BELIEVED)
async def test_a_review_is_not_believed_that_says(what: str, known: Authentication, api: Listener) -> None:
    api.answers[PATH] = NOT_BELIEVED[what]
    with pytest.raises(Unauthenticated):
        await known.identify(kubernetes_token())


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 429, 500, 503])
async def test_an_api_server_that_does_not_say_is_an_outage_that_repeats_nothing(
    status: int, known: Authentication, api: Listener
) -> None:
    token = kubernetes_token()
    api.answers[PATH] = lambda body: Said({"kind": "Status", "message": f"bad: {body['spec']['token']}"}, status)
    with pytest.raises(Outage) as caught:
        await known.identify(token)
    told, cause = str(caught.value), caught.value.__cause__
    assert token not in told
    assert cause is None


async def test_a_good_token_is_asked_about_once_a_minute(
    known: Authentication, api: Listener, seconds: Seconds
) -> None:
    token = kubernetes_token()
    for _ in range(5):
        await known.identify(token)
    assert len(api.asked) == 1
    api.answers[PATH] = reviewed(authenticated=False)
    seconds.now += BELIEVED
    with pytest.raises(Unauthenticated):
        await known.identify(token)


async def test_a_token_is_not_believed_beyond_its_own_end(
    known: Authentication, api: Listener, seconds: Seconds, clock: FakeClock
) -> None:
    token = kubernetes_token(exp=NOW + 20)
    await known.identify(token)
    seconds.now += 19
    await known.identify(token)
    assert len(api.asked) == 1
    seconds.now += 1
    clock.advance(timedelta(seconds=20))
    with pytest.raises(Unauthenticated):
        await known.identify(token)
    assert len(api.asked) == 1


async def test_a_bad_token_is_asked_about_again_after_ten_seconds(
    known: Authentication, api: Listener, seconds: Seconds
) -> None:
    api.answers[PATH] = reviewed(authenticated=False)
    token = kubernetes_token()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await known.identify(token)
    assert len(api.asked) == 1
    api.answers[PATH] = reviewed()
    seconds.now += DISBELIEVED
    assert (await known.identify(token)).name == USER["username"]


async def test_an_outage_is_not_remembered(known: Authentication, api: Listener) -> None:
    api.answers[PATH] = lambda _: Said({}, 503)
    with pytest.raises(Outage):
        await known.identify(kubernetes_token())
    api.answers[PATH] = reviewed()
    assert (await known.identify(kubernetes_token())).name == USER["username"]


async def test_many_who_come_with_one_token_at_once_are_one_question(known: Authentication, api: Listener) -> None:
    api.hold = asyncio.Event()
    waiting = [asyncio.ensure_future(known.identify(kubernetes_token())) for _ in range(30)]
    await _until(lambda: len(api.asked) == 1)
    # The one who asks gives up; the next one asks.
    waiting[0].cancel()
    await _until(lambda: len(api.asked) == 2)
    api.hold.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {one.name for one in found[1:] if isinstance(one, Identity)} == {"system:serviceaccount:shop:ci"}
    assert len(api.asked) == 2


async def test_a_flood_of_made_up_tokens_does_not_become_a_flood_of_reviews(
    known: Authentication, api: Listener
) -> None:
    api.hold = asyncio.Event()
    waiting = [
        asyncio.ensure_future(known.identify(kubernetes_token(sub=str(number)))) for number in range(MOST_WAITING + 20)
    ]
    await _until(lambda: sum(one.done() for one in waiting) == 20)
    assert len(api.asked) <= MOST_WAITING
    api.hold.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(one, Outage) for one in found) == 20


HOPELESS: dict[str, dict[str, Any]] = {
    "it has expired": {"exp": NOW - 1},
    "it is the API server's own": {"aud": ["https://kubernetes.default.svc.cluster.local"]},
    "it is for somebody else": {"aud": "vault"},
}


@pytest.mark.parametrize("what", HOPELESS)
async def test_nobody_is_asked_about_a_token_when(what: str, known: Authentication, api: Listener) -> None:
    with pytest.raises(Unauthenticated):
        await known.identify(kubernetes_token(**HOPELESS[what]))
    assert not api.asked


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "é", "x" * 20_000, "a.b.c", "..", "a\x00b"])
async def test_what_is_no_token_is_refused_and_nobody_is_asked(
    token: str, known: Authentication, api: Listener, ci: CiSystem
) -> None:
    with pytest.raises(Unauthenticated):
        await known.identify(token)
    assert not api.asked
    assert not ci.listener.asked


async def test_a_token_without_any_form_is_shown_to_the_kubernetes_api(known: Authentication, api: Listener) -> None:
    assert (await known.identify("opaque-token-of-a-webhook")).name == USER["username"]
    assert len(api.asked) == 1


async def test_a_ci_systems_token_is_shown_to_nobody_else(known: Authentication, api: Listener, ci: CiSystem) -> None:
    assert (await known.identify(ci.token())).issuer == "github"
    # Forged, it is not tried elsewhere, though the Kubernetes API would believe it.
    with pytest.raises(Unauthenticated):
        await known.identify(ci.token(aud="rollout"))
    assert not api.asked


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.01)
