"""Who goes first: services that are released after others, and circles of them that would wait for ever.

Belongs here: what `after` of all policies of a namespace means together. Does not belong here: one policy
(`policy.py`), what a release does while it waits (`waiting.py`).
"""

from collections import deque
from collections.abc import Mapping


def circles(policies: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """One circle of services that wait for one another, such as `("a", "b", "a")`; () if there is none.

    `policies` maps each service of one namespace to those that it is released after (`spec.after`); services without a
    policy may be named and wait for nobody. The same circle is found whatever order they come in.
    """
    return next(filter(None, (circle_through(service, policies) for service in sorted(policies))), ())


def circle_through(service: str, policies: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The shortest circle that this service is part of, its own name first and last; () if it is in none."""
    came_from: dict[str, str] = {}
    waiting = deque([service])
    while waiting:
        one = waiting.popleft()
        for other in sorted(policies.get(one, ())):
            if other == service:
                return (service, *_way(came_from, service, one), service)
            if other not in came_from:
                came_from[other] = one
                waiting.append(other)
    return ()


def _way(came_from: Mapping[str, str], start: str, end: str) -> tuple[str, ...]:
    """The services after `start` up to `end`."""
    way = []
    while end != start:
        way.append(end)
        end = came_from[end]
    return tuple(reversed(way))
