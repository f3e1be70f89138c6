"""Routes for the kubelet: whether the process lives, started, and can answer.

Ready means that the Kubernetes API answered lately and that we are not closing. Nobody is asked who they are.
"""

from fastapi import APIRouter
from starlette.responses import Response

from rollout.api.answers import Declared, problems, said
from rollout.api.forms import HealthAnswer
from rollout.api.passports import Stood
from rollout.api.problems import outage

router = APIRouter(tags=["probes"])

_OK: Declared = {200: {"description": "Yes.", "model": HealthAnswer}}


@router.get("/livez", summary="Whether the process lives", responses={**_OK})
async def livez() -> Response:
    """The event loop turns."""
    return said(HealthAnswer())


@router.get("/startupz", summary="Whether the process has started", responses={**_OK})
async def startupz() -> Response:
    """It would not listen before."""
    return said(HealthAnswer())


@router.get("/readyz", summary="Whether requests can be answered", responses={**_OK, 503: problems(503, ["outage"])})
async def readyz(backing: Stood) -> Response:
    """Not ready takes nothing but traffic away."""
    if backing.closing.is_set():
        raise outage("closing")
    if not backing.is_ready():
        raise outage("the Kubernetes API does not answer")
    return said(HealthAnswer())
