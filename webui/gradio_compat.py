"""The only file that touches the insides of Gradio: one function for each touch, with its reason.

If the installed Gradio no longer has what a function touches, the page refuses to start and says
so. tests/webui/test_gradio_compat.py finds out earlier.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, cast

import gradio as gr
from gradio import processing_utils, routes
from gradio.context import LocalContext
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.route_utils import get_fn
from gradio.server_messages import EventMessage
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import get_function_description, run_coro_in_background
from starlette.requests import Request
from starlette.types import ASGIApp

from rnnkit.errors import UserError
from webui.shares import Rota, Visitor, network_of, refusal

FETCHES = ("async_ssrf_protected_download", "async_ssrf_protected_get")
UNHEARD = 30.0  # seconds that an event goes on without a listener
LOOK_EVERY = 1.0  # seconds
CALL = "call-"  # how the sessions of calls begin that name none


def close_fetching() -> None:
    """Refuse to download anything, wherever a client hid the address.

    Gradio downloads a file that a client gives as an address, so that any visitor could make this
    machine send requests. No setting turns that off.
    """
    _require(processing_utils, *FETCHES)
    for name in FETCHES:
        setattr(processing_utils, name, _fetch_nothing)


async def _fetch_nothing(*_: Any, **__: Any) -> Any:
    raise gr.Error("Addresses are not fetched: send the file itself.", print_exception=False)


def answer_misfits(page: gr.Blocks, answer: Callable[[Exception], gr.Error]) -> None:
    """Answer a request that Gradio itself cannot process, such as one with too few values.

    Gradio would send an empty answer and print a traceback.

    Args:
        answer: gives the error to show in place of Gradio's own.
    """
    _require(page, "process_api")
    process = page.process_api

    @functools.wraps(process)
    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except Exception as error:
            if isinstance(error, gr.Error) and not error.print_exception:
                raise  # a handler's own answer
            raise answer(error) from None

    page.process_api = process_api


def fill_in_defaults(page: gr.Blocks) -> None:
    """Let a call leave out values at the end of its list; they take the function's defaults.

    So a new parameter of an endpoint breaks no program that sends a plain list of values.
    """
    _require(page, "process_api", "fns")
    process = page.process_api

    @functools.wraps(process)
    async def process_api(block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> Any:
        handler = page.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if 0 < len(inputs) < len(handler.inputs):
            parameters = list(inspect.signature(handler.fn).parameters.values())
            defaults = [each.default for each in parameters[len(inputs) : len(handler.inputs)]]
            if inspect.Parameter.empty not in defaults:
                inputs = [*inputs, *defaults]
        return await process(block_fn, inputs, *args, **kwargs)

    page.process_api = process_api


class FairQueue(Queue):  # type: ignore[misc]
    """The events that wait, with a share for each visitor, and an end to those nobody listens to.

    Gradio has one queue for all: whoever comes first fills it for everybody, and an event runs to
    its end even if nobody ever asked for its answer.

    Args:
        places: the most events under way for one model, or for one event that has none: those that
            wait, run, or have an answer that was not yet fetched.
    """

    def __init__(self, page: gr.Blocks, *, places: int, concurrency: int) -> None:
        super().__init__(
            live_updates=True,
            concurrency_count=page.max_threads,
            update_intervals=1,
            max_size=None,  # counted here, for each model
            blocks=page,
            default_concurrency_limit=concurrency,
        )
        self._places = places
        self._held: dict[str, _Place] = {}  # by event
        self._rotas: defaultdict[str, Rota] = defaultdict(Rota)

    def start(self) -> None:
        """Begin to work."""
        super().start()
        run_coro_in_background(self._watch)

    async def push(
        self, body: PredictBodyInternal, request: Any, username: str | None
    ) -> tuple[
        bool,
        str | list[dict[str, Any]],
        Literal["success", "error", "queue_full", "validator_error"],
    ]:
        """Queue an event, or say why not."""
        if body.session_hash == "":
            return False, "The session must have a name, or be left out.", "error"
        queue = get_fn(self.blocks, None, body).concurrency_id
        network = network_of(request.client.host if request.client else "")
        visitor = Visitor(network, body.session_hash or "")
        self._held = {event: place for event, place in self._held.items() if self._holds(event)}
        held = [place.visitor for place in self._held.values() if place.queue == queue]
        if (reason := refusal(visitor, held, self._places)) is not None:
            return False, reason, "queue_full"
        session = body.session_hash = body.session_hash or f"{CALL}{uuid.uuid4().hex}"
        if session not in self.pending_messages_per_session:
            self.pending_messages_per_session[session] = _Mailbox()
        self._sessions.owners[session] = network
        queued, event, state = await super().push(body, request, username)
        if queued:
            self._held[str(event)] = _Place(queue, visitor, session)
        return queued, event, state

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next event to run, with False because it is not a batch, and its queue's name."""
        running = defaultdict(list)
        for event in (event for job in self.active_jobs for event in job or ()):
            running[event.concurrency_id].append(self._visitor(event))
        names = list(self.event_queue_per_concurrency_id)
        random.shuffle(names)
        for name in names:
            line = self.event_queue_per_concurrency_id[name]
            limit = line.concurrency_limit
            if not line.queue or (limit is not None and line.current_concurrency >= limit):
                continue
            waiting = [self._visitor(event) for event in line.queue]
            chosen = self._rotas[name].choose(waiting, running[name], limit)
            if chosen is not None:
                return [line.queue.pop(chosen)], False, name
        return None

    async def clean_events(
        self, *, session_hash: str | None = None, event_id: str | None = None
    ) -> None:
        """End a session's events and forget what Gradio would keep of it: its messages and, if it
        is that of a single call, its state.
        """
        await super().clean_events(session_hash=session_hash, event_id=event_id)
        if session_hash is not None:
            self.pending_messages_per_session.pop(session_hash, None)
            self.pending_event_ids_session.pop(session_hash, None)
            if session_hash.startswith(CALL):
                self._sessions.forget(session_hash)

    async def _watch(self) -> None:
        """End what nobody has listened to for a while, and forget sessions with nothing to say."""
        while not self.stopped:
            await asyncio.sleep(LOOK_EVERY)
            boxes, events = self.pending_messages_per_session, self.pending_event_ids_session
            for session in {*boxes, *events}:
                box = boxes.get(session)
                if not events.get(session) or box is None or box.unheard > UNHEARD:
                    await self.clean_events(session_hash=session)

    @property
    def _sessions(self) -> Sessions:
        return cast(Sessions, self.blocks.state_holder)

    def _holds(self, event: str) -> bool:
        """Whether an event is still under way."""
        fetched = self.pending_event_ids_session.get(self._held[event].session, ())
        return event in self.event_ids_to_events or event in fetched

    def _visitor(self, event: Event) -> Visitor:
        place = self._held.get(event._id)
        return place.visitor if place else Visitor("", "")


class _Place(NamedTuple):
    """Who holds a place in which queue."""

    queue: str
    visitor: Visitor
    session: str  # as Gradio knows it; the visitor need not have named one


class _Mailbox(asyncio.Queue[EventMessage]):
    """A session's messages, which knows whether somebody listens."""

    def __init__(self) -> None:
        super().__init__()
        self._listeners, self._left = 0, time.monotonic()

    async def get(self) -> EventMessage:
        """The next message, as soon as there is one."""
        self._listeners += 1
        try:
            return await super().get()
        finally:
            self._listeners -= 1
            self._left = time.monotonic()

    @property
    def unheard(self) -> float:
        """Seconds since somebody last listened; 0 while somebody does."""
        return 0.0 if self._listeners else time.monotonic() - self._left


def use_fair_queue(page: gr.Blocks, *, places: int, concurrency: int) -> None:
    """Give the page a `FairQueue` and `Sessions`, and close the way around the queue.

    Args:
        places: see `FairQueue`.
        concurrency: how many events run at a time that state no limit of their own.
    """
    _require(Queue, "push", "get_events", "clean_events", "start")
    _require(SessionState, "_update_config", "_update_value_in_config")
    _require(routes, "StateHolder")
    routes.StateHolder = Sessions
    page.queue(api_open=False)
    _require(page._queue, "pending_messages_per_session", "pending_event_ids_session")
    page._queue = FairQueue(page, places=places, concurrency=concurrency)


def listener() -> Callable[[], bool]:
    """Whether anybody still wants the answer of the event that is being handled; to be asked
    again and again, from any thread, by what takes long.
    """
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = page._queue.event_ids_to_events.get(event_id or "") if page is not None else None
    return lambda: event is None or event.alive


class Sessions(StateHolder):  # type: ignore[misc]
    """What visitors have on the page, bounded so that none pushes out another.

    Gradio keeps 0.2 MB for each session, and every call by the API is one. If there are more than
    `capacity`, the network that has the most gives up the one it has not used for the longest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[str, str] = {}  # the network of each session that has queued an event

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = _Session(self.blocks)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """Note that a session is in use, and make room."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                owners = [self.owners.get(session, "") for session in self.session_data]
                most, _ = Counter(owners).most_common(1)[0]
                self.forget(list(self.session_data)[owners.index(most)])

    def forget(self, session_id: str) -> None:
        """Drop a session."""
        for kept in (self.session_data, self.time_last_used, self.owners):
            kept.pop(session_id, None)


class _Session(SessionState):  # type: ignore[misc]
    """A session without its own copy of every component's settings: only deep links, which this
    page does not have, read those. They take 0.2 MB, and 15 ms to make at each call.
    """

    def __init__(self, page: gr.Blocks) -> None:
        none = SimpleNamespace(default_config=page.default_config, blocks={})
        super().__init__(none)

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


def guard_sites(guard: Callable[[ASGIApp], ASGIApp]) -> None:
    """Put a guard where Gradio would permit other sites to read the answers.

    Gradio names every site that asks as permitted, unless its own host's name is local, and no
    setting turns that off.
    """
    _require(routes, "CustomCORSMiddleware")
    routes.CustomCORSMiddleware = lambda app, **_: guard(app)


def logged_in(request: Request) -> bool:
    """Whether a request comes with the cookie of a login, or the page asks for none. Gradio itself
    does not ask on every route.
    """
    app = request.app
    _require(app, "auth", "cookie_id", "tokens")
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return app.auth is None or any(request.cookies.get(name) in app.tokens for name in names)


def end_connections(page: gr.Blocks) -> None:
    """End the visitors' connections, from the server's own thread.

    `page.close` alone would set the event that ends them from the thread that calls it, and fails
    if a visitor comes or goes at that moment.
    """
    _require(page, "app", "server")
    _require(page.app, "stop_event")
    _require(page.server, "servers")
    ended = threading.Event()

    def end() -> None:
        page.app.stop_event.set()
        ended.set()

    page.server.servers[0].get_loop().call_soon_threadsafe(end)
    ended.wait(5)


def describe_parameters(endpoint: Any, function: Callable[..., Any]) -> None:
    """Show on the API page what a function's docstring says about each parameter.

    Gradio reads the docstring but shows only its first paragraph.

    Args:
        endpoint: what `gr.api` returned.
    """
    page = gr.context.Context.root_block
    _, parameters, _ = get_function_description(function)
    components = page.fns[endpoint["id"]].inputs
    for component, name in zip(components, inspect.signature(function).parameters, strict=True):
        _require(component, "_api_info")
        component.label = name
        component._api_info = {**component._api_info, "additional_description": parameters[name]}


def _require(owner: Any, *names: str) -> None:
    for name in names:
        if not hasattr(owner, name):
            raise UserError(
                f"the page cannot run with Gradio {gr.__version__}, which has no '{name}'",
                hint="install the version of Gradio that pyproject.toml names",
            )
