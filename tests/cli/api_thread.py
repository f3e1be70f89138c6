"""The HTTP API on a port of its own, in a thread: what `--server` asks while the command line runs in the test's."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from rollout.administration import Api
from rollout.api import connections
from rollout.api.application import application
from rollout.api.backing import Backing
from rollout.core.access import Identity
from rollout.desk import Desk
from rollout.ports import Authorizer, Clock, Policies, Preflight
from tests.fakes.access import FakeAuthenticator, FakeTokenUses

TOKEN = "a-good-token"
NOBODY_IS_COUNTED = Api(per_minute=100_000, burst=10_000, streams=1000)


class ApiThread:
    """Started by `with`; what it stands on is asked in its own thread."""

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        policies: Policies,
        preflight: Preflight,
        *,
        authorizer: Authorizer,
        limits: Api = NOBODY_IS_COUNTED,
        port: int = 0,
    ) -> None:
        ann = Identity(name="github:ann", groups=("builders",))
        self.authenticator = FakeAuthenticator({TOKEN: ann})
        self._listener = connections.listening(f"127.0.0.1:{port}")
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._make: Callable[[], Backing] = lambda: Backing(
            desk=desk,
            authenticator=self.authenticator,
            authorizer=authorizer,
            token_uses=FakeTokenUses(),
            policies=policies,
            clock=clock,
            check=lambda _text: ((), ()),
            preflight=preflight,
            limits=limits,
            look_seconds=0.005,
        )
        self._started = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let running answers end, then close the port; a second time does nothing."""
        stop, self._stop = self._stop, lambda: None
        stop()
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        backing, loop = self._make(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(backing.closing.set)
        self._listener.listen()
        self._started.set()
        await connections.serve(self._listener, application(backing), backing.closing)
