"""What is computed once for each photo and reused by every epoch and run: memory-mapped rows, keyed
so that none is ever stale.

A row holds what the encoder's frozen stages make of several views of a photo: the photo as it is,
its mirror image, and random crops. Training then begins where the frozen stages end.
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
_UNREADABLE = np.uint64(
    1
)  # marks a photo that does not open; real fingerprints are never this small


class PhotoRows:
    """One row of numbers a photo, in a memory map that survives crashes.

    The folder's name is a hash of what the rows depend on (encoder, weights, preprocessing, the
    list of photos); each row also carries a fingerprint of its photo's size and time of change,
    written after the row itself. A row whose fingerprint does not match is computed (again): so a
    crash loses one batch, and a changed photo is noticed.
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
                f"'{path}' is damaged (it has another size than its key says): delete the folder"
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
            compute: indices of photos -> batches of (indices, rows); raises nothing for a bad photo
                but leaves it out.
            what: named in the progress line.

        Returns: index -> reason for photos that do not open.
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
        done, told = 0, time.monotonic()
        for indices, rows in compute(stale):
            self.rows[indices] = rows
            self.rows.flush()
            self._fingerprints[indices] = wanted[indices]
            self._fingerprints.flush()
            done += len(indices)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                logger.info("%s: %d of %d", what, done, len(stale))
        return {
            index: _reason(self.photos[index])
            for index in np.flatnonzero(self._fingerprints != wanted).tolist()
        }


def _reserve(path: Path, size: int) -> None:
    """Make a file of that size, of zeros; a disk that has no room for it says so now, not by a
    signal while rows are written.

    It gets its name when it is whole, and never that of another process's file, which may hold rows
    already.
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
        except OSError:  # it is there already, or the file system knows no links
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
    """What the frozen stages make of views of each photo, computed by the engine of that backend.

    Args:
        trained: how many last stages are left for training; 0 gives the whole encoder's features.
        crops: views beside the photo and its mirror; every other one is mirrored.
        crop_scale: smallest share of the photo's area in a crop.

    Returns: rows (photos, 2 + crops, h, w, C) float16, (photos, 2 + crops, regions, channels) where
        trained is 0; odd views are mirrored. And the unreadable photos with their reasons.
    """
    with torch.inference_mode():
        blank = torch.zeros(
            1, encoder.preprocessing.size, encoder.preprocessing.size, 3, dtype=torch.uint8
        )
        shape = (encoder.front(blank, trained) if trained else encoder(blank)).shape[1:]
    # In half precision, so that a checkpoint's weights, stored so, count as those that it was
    # trained from.
    frozen = {
        name: tensor.half()
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
