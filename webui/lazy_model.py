"""A model that loads in the background, or when it is first needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
Model = TypeVar("Model")


class LazyModel(Generic[Model]):
    """A model that loads in a thread of its own, from `start` on or when it is first needed."""

    def __init__(self, load: Callable[[], Model]) -> None:
        self._load, self._loaded = load, Future[Model]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to load, unless that has been done."""
        with self._lock:
            if self._thread.ident is None:
                self._thread.start()

    def get(self) -> Model:
        """The model, as soon as it is there.

        Raises: UserError that says why it could not be loaded.
        """
        self.start()
        return self._loaded.result()

    def _run(self) -> None:
        try:
            self._loaded.set_result(self._load())
        except UserError as error:
            self._loaded.set_exception(error)
        except Exception as error:
            logger.exception("a model could not be loaded")
            self._loaded.set_exception(
                UserError(f"the model could not be loaded ({type(error).__name__}: {error})")
            )
