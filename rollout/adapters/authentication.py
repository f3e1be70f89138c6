"""Who bears a token, whatever kind it is: implements `ports.Authenticator`.

Belongs here: which token is shown to whom. Does not belong here: the judging itself (`oidc.py`, `token_reviews.py`).
"""

from collections.abc import Sequence

from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.token_reviews import TokenReviews
from rollout.adapters.web_token import is_token, looks_like_jwt, read
from rollout.core.access import Identity
from rollout.ports import Unauthenticated


class Authentication:
    """A CI system's tokens are judged here, by their issuer's keys alone; all others by the Kubernetes API.

    What a token says of its issuer decides who judges it, and nothing else: a judge believes only its own signature.

    Args:
        reviews: the Kubernetes API.
        issuers: the CI systems of the settings.
    """

    def __init__(self, reviews: TokenReviews, issuers: Sequence[OidcIssuer] = ()) -> None:
        self._reviews = reviews
        self._issuers = {one.url: one for one in issuers}

    async def identify(self, token: str) -> Identity:
        """The bearer. Raises Unauthenticated; Outage if that cannot be known now."""
        if not is_token(token):
            raise Unauthenticated("this is no bearer token")
        unverified = read(token)
        if unverified is None:
            if looks_like_jwt(token):
                raise Unauthenticated("this is no well-formed token")
            return await self._reviews.identify(token, None)
        issuer = self._issuers.get(unverified.issuer)
        if issuer is not None:
            return await issuer.identify(token, unverified)
        return await self._reviews.identify(token, unverified)
