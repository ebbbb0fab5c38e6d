"""Which names the page answers to, and which other sites may call it: none.

A page on this machine can be reached by every site that its owner visits: a site can give its own
name this machine's address (DNS rebinding) or send requests from its own pages. So the page answers
only to names that are known to be its own, and to requests that come from its own pages or from no
page at all.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")
READING = ("GET", "HEAD")


class Names:
    """The names of a page.

    Args:
        host: the address it listens on. A page for this machine alone answers to the names in
            LOOPBACK; one for a network also to every numeric address, since no other site can have
            one as its name, and to the machine's own name.
        allowed: further names, which a page may also be called from.
    """

    def __init__(self, host: str, allowed: Iterable[str] = ()) -> None:
        self._allowed = {name.lower() for name in allowed}
        self._names = {*LOOPBACK, *self._allowed}
        self._numbers = host not in LOOPBACK
        if self._numbers:
            machine = socket.gethostname().lower()
            short = machine.partition(".")[0]
            self._names |= {host.lower(), machine, short, f"{short}.local"}

    def add(self, address: str) -> None:
        """Answer to the name in an address too, such as the public one."""
        self._names.add(_name(address.partition("://")[2]))

    def include(self, host: str) -> bool:
        """Whether a request to this host, with or without a port, is meant for the page."""
        name = _name(host)
        return name in self._names or (self._numbers and _is_number(name))

    def may_call(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may call the one at this host."""
        _, _, site = origin.lower().partition("://")
        return site == host.lower() or _name(site) in self._allowed


class SiteGuard:
    """ASGI middleware that refuses requests to other names and from other sites' pages."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self.app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without its origin, so that no answer permits another site to read
        it, or refuse it.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (problem := self._problem(scope)) is not None:
            await JSONResponse({"detail": problem}, 403)(scope, receive, send)
        else:
            headers = [pair for pair in scope["headers"] if pair[0] != b"origin"]
            await self.app({**scope, "headers": headers}, receive, send)

    def _problem(self, scope: Scope) -> str | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._names.include(hosts[0]):
            name = ascii(_name(hosts[0]) if hosts else "")
            return f"This page does not answer to the name {name}; --allow-host would allow it."
        if scope["method"] in READING:
            return None
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        origin, fetch = headers.get(b"origin"), headers.get(b"sec-fetch-site", "none")
        if origin is None:
            foreign = fetch not in ("none", "same-origin")
        else:
            foreign = not self._names.may_call(origin, hosts[0])
        return "Other sites may not call this page." if foreign else None


def _name(host: str) -> str:
    """The name or number in a host, without the port, in small letters; empty if there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
