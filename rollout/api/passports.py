"""What a caller was let in with: who they are, and which rule their request is measured by.

Belongs here: asking the authorizer for the rights of a route. Does not belong here: the routes' rules (`rules.py`), who
bears a token (`doorway.py`).

An answer that is no refusal leaves only after the passport was stamped, that is after a rule was asked and said yes: a
route that forgets to ask answers 500 (`doorway.py`).
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import structlog
from fastapi import Depends, Path
from starlette.requests import Request

from rollout.api.backing import Backing
from rollout.api.problems import Problem, pointer
from rollout.api.rules import RULES, Rule
from rollout.core.access import Identity, Right
from rollout.core.quantities import Label, ObjectName
from rollout.core.release import Release
from rollout.desk import Scope
from rollout.telemetry import clean

STAMPED: Final = "rollout.stamped"
"""In the ASGI scope once a rule let the request pass."""
IDENTITY: Final = "rollout.identity"

_log = structlog.stdlib.get_logger("rollout.api")


class Passport:
    """One caller's, for one request."""

    def __init__(self, request: Request, rule: Rule, backing: Backing) -> None:
        self._request = request
        self._rule = rule
        self._backing = backing
        self.identity: Identity = request.scope[IDENTITY]

    @property
    def name(self) -> str:
        """Who asks, as it is written into objects."""
        return self.identity.name[:256]

    async def may(self, right: Right, namespace: str | None, service: str | None = None) -> bool:
        """Whether they have a right (in a namespace, else in all; for a service, else for any). Raises Outage."""
        return await self._backing.authorizer.allows(self.identity, right, namespace, service)

    async def demand(self, namespace: str | None, service: str | None = None) -> None:
        """Ask for the route's rights. Raises Problem `denied`; Outage."""
        self._served(namespace)
        for right in self._rule.rights:
            if not await self.may(right, namespace, service):
                raise self._denied(right, namespace, service)
        self.stamp()

    async def demand_also(self, right: Right, namespace: str, service: str) -> None:
        """Ask for a further right that only some requests to the route need. Raises Problem `denied`; Outage."""
        if not await self.may(right, namespace, service):
            raise self._denied(right, namespace, service)

    async def demand_scope(self, scope: Scope) -> None:
        """Ask for the route's rights in what a freeze is for."""
        await self.demand(scope.namespace, scope.service)

    async def demand_namespaces(self, namespace: str | None, service: str | None = None) -> Sequence[str | None]:
        """Ask for the route's rights in one namespace, or in all that are served; which to look at."""
        looked_at = (namespace,) if namespace is not None else self._backing.namespaces or (None,)
        for one in looked_at:
            await self.demand(one, service)
        return looked_at

    async def release(self, namespace: str, name: str) -> Release:
        """The release of the path, with the route's rights for it.

        Who may not ask for it is told the same whether there is one or not. Raises Problem; Outage.
        """
        self._served(namespace)
        everywhere = [await self.may(right, namespace) for right in self._rule.rights]
        found = await self._backing.desk.get(namespace, name)
        service = None if found is None else found.status.service or found.spec.service
        for right, allowed in zip(self._rule.rights, everywhere, strict=True):
            if not allowed and (service is None or not await self.may(right, namespace, service)):
                raise self._denied(right, namespace, service)
        if found is None:
            raise Problem("not-found", f"there is no release {name} in {namespace}")
        self.stamp()
        return found

    def stamp(self) -> None:
        """Let the answer leave."""
        self._request.scope[STAMPED] = True

    def _served(self, namespace: str | None) -> None:
        """A namespace that this API is not for is as good as forbidden, whoever asks."""
        if self._backing.namespaces and namespace is not None and namespace not in self._backing.namespaces:
            raise self._denied(None, namespace, None)

    def _denied(self, right: Right | None, namespace: str | None, service: str | None) -> Problem:
        where = f"in {namespace}" if namespace is not None else "in all namespaces"
        what = f"`{right}` {right.resource}" if right is not None else "do anything"
        _log.warning(
            "auth.denied", actor=self.name, right=right or "", namespace=namespace or "all", service=service or ""
        )
        return Problem("denied", f"{self.name} may not {what} {where}")


def backing_of(request: Request) -> Backing:
    """What the application stands on."""
    backing: Backing = request.app.state.backing
    return backing


def passport_of(request: Request) -> Passport:
    """The caller's passport. A route without a rule refuses everybody."""
    route: Any = request.scope.get("route")
    rule = RULES.get((request.method, getattr(route, "path_format", "")))
    if rule is None or IDENTITY not in request.scope:
        raise Problem("denied", "nobody may do this: the route has no rule")
    _check_query(request, route)
    return Passport(request, rule, backing_of(request))


def _check_query(request: Request, route: Any) -> None:
    """Raise Problem for a name that the route does not know: a filter with a slip would list everything."""
    known = {one.alias for one in route.dependant.query_params}
    given = [name for name, _ in request.query_params.multi_items()]
    wrong = [name for name in dict.fromkeys(given) if name not in known or given.count(name) > 1]
    if wrong:
        said = {one: "stands twice" if one in known else "not known here" for one in wrong}
        errors = [{"pointer": f"#query{pointer([clean(one)[:64]])}", "detail": said[one]} for one in wrong]
        raise Problem("invalid", "the query has a name that is not known here, or one twice", errors=errors)


Bearer = Annotated[Passport, Depends(passport_of)]
Stood = Annotated[Backing, Depends(backing_of)]
Namespace = Annotated[Label, Path(description="Namespace of the release.", examples=["shop"])]
Name = Annotated[ObjectName, Path(description="Name of the release, its id.", examples=["checkout-1f0e9a3c77"])]


async def _asked(passport: Bearer, namespace: Namespace, name: Name) -> Release:
    return await passport.release(namespace, name)


Asked = Annotated[Release, Depends(_asked)]
"""The release in the path, which the caller may ask for."""
