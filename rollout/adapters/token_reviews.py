"""Tokens that the Kubernetes API judges: ServiceAccounts, and whoever else it knows by our audience.

Belongs here: the TokenReview (kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1),
and for how long its answer holds. Does not belong here: what the bearer may do (`permissions.py`), CI (`oidc.py`).
"""

import hashlib
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from rollout.adapters.cluster import Cluster, Denied, JsonObject
from rollout.adapters.recently import Recently
from rollout.adapters.web_token import Unverified
from rollout.core.access import Identity
from rollout.ports import Clock, Conflict, NotFound, Outage, Refused, Unauthenticated

BELIEVED: Final = 60.0
"""Seconds for which a token that was good is not asked about again: so long one that is revoked still counts."""
DISBELIEVED: Final = 10.0
"""The same for one that was not."""
_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_MOST: Final = 4096
_NO: Final = "the Kubernetes API does not know this token, or not for this audience"


class TokenReviews:
    """Asks the Kubernetes API who bears a token that was issued for us.

    A token for another audience, the API server's own for instance, is refused: whoever gets to see tokens that are
    meant for us must not be able to use them there, nor the other way round. Tokens are remembered by their SHA-256.

    Args:
        cluster: a connection with the right to `create` tokenreviews; stays open.
        audience: ours, which the token must carry.
        clock: for the end of tokens.
        now: seconds that only ever rise, for what is remembered.
    """

    def __init__(self, cluster: Cluster, audience: str, clock: Clock, now: Callable[[], float] = monotonic) -> None:
        self._cluster = cluster
        self._audience = audience
        self._clock = clock
        self._believed: Recently[bytes, Identity] = Recently(_MOST, now)
        # Apart, so that made-up tokens push out none that is good.
        self._disbelieved: Recently[bytes, str] = Recently(_MOST, now)

    async def identify(self, token: str, unverified: Unverified | None) -> Identity:
        """The bearer; `unverified` is what the token says of itself, if it can be read.

        Raises Unauthenticated; Outage if the Kubernetes API cannot be asked, or does not let us ask.
        """
        lasts = self._worth_asking(unverified)
        digest = hashlib.sha256(token.encode()).digest()
        if self._disbelieved.get(digest) is not None:
            raise Unauthenticated(_NO)

        async def question() -> tuple[Identity, float]:
            return await self._review(token, digest), lasts

        return await self._believed.ask(digest, question)

    def _worth_asking(self, unverified: Unverified | None) -> float:
        """For how many seconds a good answer would hold. Raises Unauthenticated for what can have none."""
        if unverified is None:
            return BELIEVED
        if unverified.audiences and self._audience not in unverified.audiences:
            raise Unauthenticated("this token is for another audience")
        if unverified.expires is None:
            return BELIEVED
        rest = unverified.expires - self._clock.now().timestamp()
        if rest <= 0:
            raise Unauthenticated("this token has expired")
        return min(BELIEVED, rest)

    async def _review(self, token: str, digest: bytes) -> Identity:
        spec = {"token": token, "audiences": [self._audience]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        problem = ""
        answer: JsonObject = {}
        try:
            answer = await self._cluster.create(_PATH, body)
        except Denied:
            problem = "the API's own account needs the right to `create` tokenreviews of authentication.k8s.io"
        except (Outage, Refused, NotFound, Conflict) as error:
            problem = f"the Kubernetes API gave no answer that helps ({type(error).__name__})"
        if problem:
            # Anew, and not from the error: what a server says of a request may repeat what was in it.
            raise Outage(f"tokens cannot be checked now: {problem}")
        who = _bearer(answer, self._audience)
        if who is None:
            self._disbelieved.put(digest, "no", DISBELIEVED)
            raise Unauthenticated(_NO)
        return who


def _bearer(review: Mapping[str, Any], audience: str) -> Identity | None:
    """Whom the review names. A server that knows nothing of audiences answers without them, and is not believed."""
    status = review.get("status")
    if not isinstance(status, dict) or status.get("authenticated") is not True:
        return None
    user, for_whom = status.get("user"), status.get("audiences")
    if not isinstance(for_whom, list) or audience not in for_whom or not isinstance(user, dict):
        return None
    name, extra = user.get("username"), user.get("extra")
    if not isinstance(name, str) or not name or name == "system:anonymous":
        return None
    return Identity(
        name=name,
        groups=_texts(user.get("groups")),
        uid=str(user.get("uid") or ""),
        extra={str(key): _texts(values) for key, values in extra.items()} if isinstance(extra, dict) else {},
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
