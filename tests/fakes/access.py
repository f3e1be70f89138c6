"""Who calls and what they may do, as a test says."""

from collections.abc import Iterable, Mapping

from rollout.core.access import Identity, Right
from rollout.ports import Outage, Unauthenticated

Grant = tuple[str, Right, str | None]
"""(name of the identity, right, namespace); the namespace None grants it in all of them."""


class FakeAuthenticator:
    """`ports.Authenticator` that knows these tokens.

    Attributes:
        tokens: token -> bearer; may be changed at any time.
        reachable: whether anybody can be identified.
    """

    def __init__(self, tokens: Mapping[str, Identity] | None = None) -> None:
        self.tokens = dict(tokens or {})
        self.reachable = True

    async def identify(self, token: str) -> Identity:
        if not self.reachable:
            raise Outage("the Kubernetes API cannot be reached")
        if token not in self.tokens:
            raise Unauthenticated("the Kubernetes API does not know this token")
        return self.tokens[token]


class FakeAuthorizer:
    """`ports.Authorizer` that allows what was granted and nothing else.

    Attributes:
        grants: what is allowed; may be changed at any time.
        everything: names of those who may do everything.
        services: what CI identities may do, (issuer, right, namespace, service).
        reachable: whether anybody can be asked.
    """

    def __init__(self, grants: Iterable[Grant] = (), *, everything: Iterable[str] = ()) -> None:
        self.grants = set(grants)
        self.everything = set(everything)
        self.services: set[tuple[str, Right, str, str]] = set()
        self.reachable = True

    async def allows(self, who: Identity, right: Right, namespace: str | None, service: str | None) -> bool:
        if not self.reachable:
            raise Outage("the Kubernetes API cannot be reached")
        if who.issuer:
            named = namespace is not None and service is not None
            # To list a service's releases is to get them.
            asked = Right.GET if right is Right.LIST else right
            return named and (who.issuer, asked, namespace, service) in self.services
        if who.name in self.everything:
            return True
        return bool({(who.name, right, namespace), (who.name, right, None)} & self.grants)


class FakeTokenUses:
    """`ports.TokenUses` in memory; `shared` makes several of them replicas of one API."""

    def __init__(self, shared: dict[tuple[str, object], str] | None = None) -> None:
        self.uses: dict[tuple[str, object], str] = {} if shared is None else shared
        self.reachable = True

    async def first(self, who: Identity, use: str) -> bool:
        if not self.reachable:
            raise Outage("the Kubernetes API cannot be reached")
        if not who.issuer:
            return True
        return self.uses.setdefault((who.issuer, who.claims.get("jti")), use) == use


def allow_all() -> FakeAuthorizer:
    """For tests that are not about rights."""

    class _Everybody(FakeAuthorizer):
        async def allows(self, who: Identity, right: Right, namespace: str | None, service: str | None) -> bool:
            del who, right, namespace, service
            return True

    return _Everybody()
