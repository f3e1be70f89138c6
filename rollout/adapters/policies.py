"""Files of the controller and objects of the cluster as one: implements `ports.Policies`.

Belongs here: which of the two counts, and what is said where neither or both have a policy. Does not belong here: how
either is read (`policy_files.py`, `policy_objects.py`).
"""

from typing import Final

from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_objects import NONE, UNREADABLE, PolicyObjects, place_of
from rollout.core.policy import PolicySpec
from rollout.core.route import Problem

TWICE: Final = "policy-twice"
"""A file and an object both speak for the service, so nobody could say which of them is meant."""


class Policies:
    """The policy of a service from a file or from a ServicePolicy object, never from both.

    Where objects may not be read at all, files alone count: no object can have been in force there.
    """

    def __init__(self, files: PolicyFiles, objects: PolicyObjects) -> None:
        self._files = files
        self._objects = objects

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        """The last good policy of a service, or why there is none. Raises Outage if objects cannot be asked for."""
        in_file = await self._files.find(namespace, service)
        in_object = await self._objects.find(namespace, service)
        if isinstance(in_file, PolicySpec):
            if isinstance(in_object, Problem) and in_object.code in {NONE, UNREADABLE}:
                return in_file
            where = f"in {self._files.place_of(namespace, service)} and as {place_of(namespace, service)}"
            return Problem(TWICE, f"{service} has a policy {where}; no release begins until one of them is gone")
        if isinstance(in_object, Problem) and in_object.code == NONE:
            return Problem(NONE, f"{in_file.message}, and {in_object.message}")
        return in_object
