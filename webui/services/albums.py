"""The albums of all visitors, each under a token that nobody can guess. They expire."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from webui.services.album import Album
from webui.services.album_run import AlbumRun

CAPACITY = 200  # albums
EXPIRES = 7200.0  # seconds without a sign of the page; a page that is open gives one every minute


@dataclass
class Visit:
    """An album in use.

    Attributes:
        network: of the visitor; see `webui.shares.network_of`.
        run: the last time that photos were captioned.
    """

    network: str
    album: Album
    run: AlbumRun | None = None
    seen: float = field(default_factory=time.monotonic)

    @property
    def running(self) -> bool:
        """Whether photos are being captioned."""
        return self.run is not None and not self.run.ended


class Albums:
    """Albums by token. If there are too many, the network that has the most gives up the one that
    it has not used for the longest.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._visits: dict[str, Visit] = {}  # the one used last comes last
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Visit]:
        with self._lock:
            return iter(list(self._visits.values()))

    def new(self, network: str) -> tuple[str, Visit]:
        """An empty album and its token."""
        token, visit = secrets.token_urlsafe(24), Visit(network, Album())
        with self._lock:
            self._visits[token] = visit
            if len(self._visits) > self._capacity:
                owners = Counter(visit.network for visit in self._visits.values())
                most, _ = owners.most_common(1)[0]
                self._drop(next(key for key, old in self._visits.items() if old.network == most))
        return token, visit

    def find(self, token: str) -> Visit | None:
        """The album of a token, which is thereby in use; None if there is none any more."""
        with self._lock:
            visit = self._visits.pop(token, None)
            if visit is not None:
                self._visits[token] = visit
                visit.seen = time.monotonic()
            return visit

    def close(self, token: str) -> None:
        """Delete an album."""
        with self._lock:
            self._drop(token)

    def expire(self, age: float = EXPIRES) -> None:
        """Delete the albums that nobody has used for so many seconds."""
        with self._lock:
            for token, visit in list(self._visits.items()):
                if time.monotonic() - visit.seen > age:
                    self._drop(token)

    def _drop(self, token: str) -> None:
        visit = self._visits.pop(token, None)
        if visit is not None:
            if visit.run is not None:
                visit.run.stopped = True
            visit.album.close()
