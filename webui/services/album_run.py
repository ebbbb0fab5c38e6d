"""Captions photos of an album in a thread of its own, while its visitor looks on and edits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from captioner import Decoding
from rnnkit.errors import UserError
from webui.errors import sentence
from webui.services.album import Album, PhotoRow, Wording
from webui.services.many_photos import captions_of
from webui.workers import Models

logger = logging.getLogger(__name__)
# Browsers let a page in the background ask once a minute.
UNSEEN = 150.0  # seconds that a run goes on while no page asks for it


class _Task(NamedTuple):
    row: PhotoRow
    before: Wording | None  # its caption at the start; an edit made since stays


class AlbumRun:
    """Some photos being captioned.

    Args:
        numbers: of the rows.
        replace: also caption anew what a person wrote, or what came with the photo.
        seen: when the visitor's page last gave a sign, on the monotonic clock.
    """

    def __init__(
        self, album: Album, numbers: Iterable[int], *, replace: bool, seen: Callable[[], float]
    ) -> None:
        self.stopped = False
        self.problem = ""  # why it failed
        self._album, self._seen = album, seen
        rows = filter(None, map(album.row, dict.fromkeys(numbers)))
        self._tasks = [
            _Task(row, row.wording)
            for row in rows
            if row.path is not None
            and not row.error
            and (replace or row.wording is None or row.wording.author == "model")
        ]
        self._done = 0
        self._started = time.monotonic()
        self._ended: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended is not None

    def start(self, models: Models, decoding: Decoding) -> None:
        """Begin."""
        work = threading.Thread(target=self._work, args=(models, decoding), daemon=True)
        work.start()

    def as_json(self) -> dict[str, object]:
        """How far it has come."""
        return {
            "done": self._done,
            "total": len(self._tasks),
            "seconds": (self._ended or time.monotonic()) - self._started,
            "stopped": self.stopped,
            "ended": self.ended,
            "problem": self.problem,
        }

    def _work(self, models: Models, decoding: Decoding) -> None:
        try:
            worker = models.captioner.get()
            self._started = time.monotonic()  # not before the model was loaded
            step = f"run at {self._started}"
            paths = [task.row.path for task in self._tasks if task.row.path is not None]
            answers = captions_of(worker, paths, decoding)
            for task, answer in zip(self._tasks, answers, strict=False):
                self.stopped = self.stopped or time.monotonic() - self._seen() > UNSEEN
                if self.stopped:
                    break
                self._album.finish(task.row, task.before, answer, step)
                self._done += 1
            answers.close()
        except UserError as error:
            self.problem = sentence(error)
        except Exception as error:
            logger.exception("a run failed")
            self.problem = f"Something unexpected went wrong ({type(error).__name__})."
        finally:
            self._ended = time.monotonic()
