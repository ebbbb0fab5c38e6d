"""Features that are computed once for each photo and reused by every epoch and run.

A row has the output of the encoder's frozen stages for several views of a photo: the photo as it
is, its mirror image, and random crops. Training then starts where the frozen stages end.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from captioner.backends.select import choose_backend
from captioner.data.images import ImageError, open_image
from captioner.network.encoder import Encoder, Preprocessing, encoder_config
from rnnkit.checkpoint import weights_hash
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
_UNREADABLE = np.uint64(1)  # a photo that cannot be opened; fingerprints are larger


class PhotoRows:
    """One row of numbers for each photo, in a memory map that survives crashes.

    The folder's name is a hash of what the rows depend on (encoder, weights, preprocessing, list of
    photos). Each row also has a fingerprint of its photo's size and time of change, written after
    the row itself. A row whose fingerprint does not match is computed (again), so a crash loses one
    batch, and a changed photo is noticed.
    """

    def __init__(
        self,
        folder: Path,
        photos: Sequence[Path],
        key: dict[str, object],
        shape: tuple[int, ...],
        dtype: type,
    ) -> None:
        listed = [str(photo.resolve()) for photo in photos]
        digest = hashlib.sha256(
            json.dumps([key, listed, shape, np.dtype(dtype).name], sort_keys=True).encode()
        ).hexdigest()[:20]
        self.photos, self._folder = list(photos), folder / digest
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "key.json").exists():
            (self._folder / "key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")
        self._fingerprints = self._map("fingerprints", (len(photos),), np.uint64)
        self.rows = self._map("rows", (len(photos), *shape), dtype)

    def _map(self, name: str, shape: tuple[int, ...], dtype: type) -> np.memmap:
        path = self._folder / f"{name}.bin"
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if path.exists() and path.stat().st_size != size:
            raise UserError(
                f"'{path}' is damaged (its size does not fit its key): delete the folder"
                f" '{self._folder}'"
            )
        if not path.exists():
            _reserve(path, size)
        return np.memmap(path, dtype=dtype, mode="r+", shape=shape)

    def fill(
        self,
        compute: Callable[[Sequence[int]], Iterator[tuple[Sequence[int], np.ndarray]]],
        what: str,
    ) -> dict[int, str]:
        """Compute the rows that are missing or stale.

        Args:
            compute: indices of photos -> batches of (indices, rows), without the photos that cannot
                be opened.
            what: what the progress lines call the rows.

        Returns: index -> reason for photos that cannot be opened.
        """
        wanted = np.array([_fingerprint(photo) for photo in self.photos], dtype=np.uint64)
        stale = [int(index) for index in np.flatnonzero(self._fingerprints != wanted)]
        if stale:
            logger.info(
                "%s: %d of %d photos to compute, kept in %s",
                what,
                len(stale),
                len(self.photos),
                self._folder,
            )
        done, reported = 0, time.monotonic()
        for indices, rows in compute(stale):
            self.rows[indices] = rows
            self.rows.flush()
            self._fingerprints[indices] = wanted[indices]
            self._fingerprints.flush()
            done += len(indices)
            if time.monotonic() - reported > 10:
                reported = time.monotonic()
                logger.info("%s: %d of %d", what, done, len(stale))
        return {
            index: _reason(self.photos[index])
            for index in np.flatnonzero(self._fingerprints != wanted).tolist()
        }


def _reserve(path: Path, size: int) -> None:
    """Make a file of zeros of that size.

    If the disk is too small for it, that is an error now; later it would be a signal that ends the
    process while rows are written. The file gets its name by a link, once it is whole, because a
    rename would replace the file that another process has made meanwhile and may have written to.
    """
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        try:
            path.hardlink_to(part)
        except OSError:  # another process was faster, or the file system has no links
            if not path.exists():
                part.rename(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{path}, {size / 1e9:.1f} GB") from None
    finally:
        part.unlink(missing_ok=True)


def photo_views(
    encoder: Encoder,
    photos: Sequence[Path],
    folder: Path,
    device: torch.device,
    *,
    trained: int = 0,
    crops: int = 0,
    crop_scale: float = 0.6,
    backend: str = "auto",
    batch_size: int = 16,
) -> tuple[PhotoRows, dict[int, str]]:
    """The output of the encoder's frozen stages for several views of each photo.

    Args:
        trained: how many of the last stages are trained; 0 gives the whole encoder's features.
        crops: views beside the photo and its mirror image; every other one is mirrored.
        crop_scale: smallest share of the photo's area in a crop.
        backend: what computes them.

    Returns: float16 rows (photos, 2 + crops, h, w, C), or (photos, 2 + crops, regions, channels) if
        trained is 0, where odd views are mirrored; and the unreadable photos with their reasons.
    """
    with torch.inference_mode():
        blank = torch.zeros(
            1, encoder.preprocessing.size, encoder.preprocessing.size, 3, dtype=torch.uint8
        )
        shape = (encoder.front(blank, trained) if trained else encoder(blank)).shape[1:]
    # In half precision, as in a checkpoint, so that weights and their stored copy have one hash;
    # and without zeros below zero, which a moving average makes zeros above it.
    frozen = {
        name: tensor.half() + 0
        for name, tensor in encoder.stages[: len(encoder.stages) - trained].state_dict().items()
    }
    key = {
        **encoder_config(encoder),
        "weights": weights_hash(frozen),
        "trained": trained,
        "crops": crops,
        "crop_scale": crop_scale,
    }
    rows = PhotoRows(folder, photos, key, (2 + crops, *shape), np.float16)

    def compute(indices: Sequence[int]) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        if not indices:
            return
        runner = choose_backend(backend, encoder, device, trained=trained)
        prepare = partial(
            _views, preprocessing=encoder.preprocessing, crops=crops, crop_scale=crop_scale
        )
        for chosen, pixels in decoded(photos, indices, prepare, batch_size):  # (B, views, S, S, 3)
            features = runner.encode(pixels.reshape(-1, *pixels.shape[2:])).to(torch.float16).cpu()
            yield chosen, features.unflatten(0, pixels.shape[:2]).numpy()

    return rows, rows.fill(compute, "features")


def _views(
    photo: Path, index: int, *, preprocessing: Preprocessing, crops: int, crop_scale: float
) -> np.ndarray:
    """Views (2 + crops, S, S, 3) of a photo; crops are the same for the same index."""
    # Twice the size, so that a crop of a large photo has pixels of its own; smaller photos are not
    # changed by it.
    image = open_image(photo, size=(2 * preprocessing.size, 2 * preprocessing.size))
    whole = preprocessing.pixels(image)
    views = [whole, whole[:, ::-1]]
    generator = np.random.default_rng(index)
    for number in range(crops):
        area, proportion = (
            generator.uniform(crop_scale, 1),
            np.exp(generator.uniform(-0.2877, 0.2877)),
        )  # up to 3:4 or 4:3
        width, height = (
            min(np.sqrt(area * proportion), 1) * image.width,
            min(np.sqrt(area / proportion), 1) * image.height,
        )
        left, top = (
            generator.uniform(0, image.width - width),
            generator.uniform(0, image.height - height),
        )
        size = (preprocessing.size, preprocessing.size)
        view = np.array(
            image.resize(
                size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height)
            )
        )
        views.append(view[:, ::-1] if number % 2 else view)
    return np.stack(views)


def decoded(
    photos: Sequence[Path],
    indices: Sequence[int],
    prepare: Callable[[Path, int], np.ndarray],
    batch_size: int,
) -> Iterator[tuple[Sequence[int], np.ndarray]]:
    """Batches of prepare(photo, index), stacked, made by threads a little ahead; photos that do not
    open are left out.
    """

    def decode(index: int) -> np.ndarray | None:
        try:
            return prepare(photos[index], index)
        except ImageError:
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        batches = [
            indices[start : start + batch_size] for start in range(0, len(indices), batch_size)
        ]
        ahead = [pool.map(decode, batch) for batch in batches[:2]]
        for number, batch in enumerate(batches):
            if number + 2 < len(batches):
                ahead.append(pool.map(decode, batches[number + 2]))
            found = [
                (index, pixels)
                for index, pixels in zip(batch, ahead.pop(0), strict=True)
                if pixels is not None
            ]
            if found:
                yield [index for index, _ in found], np.stack([pixels for _, pixels in found])


def _fingerprint(photo: Path) -> np.uint64:
    try:
        stat = photo.stat()
    except OSError:
        return _UNREADABLE
    digest = hashlib.blake2b(f"{stat.st_size} {stat.st_mtime_ns}".encode(), digest_size=8).digest()
    return np.uint64(max(int.from_bytes(digest, "big"), 2))


def _reason(photo: Path) -> str:
    try:
        open_image(photo, size=(32, 32))
    except ImageError as error:
        return error.reason
    return "could not be read when features were computed"
