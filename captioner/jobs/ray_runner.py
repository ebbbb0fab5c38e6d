"""Photos captioned by a Ray cluster: shards of rows in a folder. Needs the extra `ray`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

from captioner.captioner import Captioner
from captioner.checkpoint import KIND, VERSION, require_confidence
from captioner.data.path_list import PathList
from captioner.jobs.pipeline import caption_photos
from captioner.outputs.resumable_file import check_writable, read_rows
from captioner.outputs.text_around import TextAround
from captioner.outputs.text_formats import ROW_FORMATS, Format, Record
from captioner.types import CaptionResult, Decoding
from rnnkit.checkpoint import read_config
from rnnkit.errors import UserError
from rnnkit.files import replace_file

# Read when Ray is imported and when it starts: nothing is sent anywhere, and lost workers are
# restarted silently.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
try:
    import pyarrow
    import ray
    import ray.data
    import ray.exceptions
except ImportError:
    raise UserError('--runner ray needs Ray: pip install "show-and-spell[ray]"') from None

LARGEST_SHARD = 1000  # photos, which are captioned again if a worker is lost


class ShardFolder:
    """A folder with shards of rows; `photos` are those without captions in any of them.

    Rows of failures are taken out, and those photos tried again.

    Raises: UserError for a format other than jsonl and parquet, a folder that cannot be written, or
        one with other files of that kind.
    """

    def __init__(
        self, folder: Path | None, format: str, photos: Sequence[Path], if_exists: str = "skip"
    ) -> None:
        if format not in ("jsonl", "parquet"):
            raise UserError(
                f"--runner ray writes jsonl or parquet, not {format}: add --format jsonl"
            )
        if folder is None or (folder.exists() and not folder.is_dir()):
            raise UserError("--runner ray writes many files: give --output a folder")
        if if_exists != "skip":
            raise UserError(
                f"--existing {if_exists} is not supported with --runner ray, which only adds"
                " shards: choose another --output"
            )
        check_writable(folder / "shard" if folder.exists() else folder)
        self.folder, self.format = folder, format
        key = _rows_of(format).key
        wanted = {key(photo) for photo in photos}
        done: set[str] = set()
        self._failed: dict[Path, set[str]] = {}
        for shard in sorted(folder.glob(f"*.{format}")):
            for record in self._read(shard):
                if record.key in wanted and record.error is not None:
                    self._failed.setdefault(shard, set()).add(record.key)
                elif record.key in wanted:
                    done.add(record.key)
        self.photos: Sequence[Path] = PathList(
            str(photo) for photo in photos if key(photo) not in done
        )

    def mend(self) -> None:
        """Make the folder, and take out the rows of photos that will be tried again."""
        self.folder.mkdir(exist_ok=True)
        for shard, keys in self._failed.items():
            rows = [record.data for record in self._read(shard) if record.key not in keys]
            if rows:
                write_shard(shard, rows, self.format)
            else:
                shard.unlink()

    def _read(self, shard: Path) -> Iterator[Record]:
        if self.format == "jsonl":
            return read_rows(shard, ROW_FORMATS["jsonl"], frozenset())
        from captioner.outputs.parquet import read_parquet

        return read_parquet(shard)


def write_shard(path: Path, rows: Sequence[bytes], format: str) -> None:
    """Write rows, which are lines of jsonl, as a whole shard or none."""
    # The worker that repeats a lost one's shard clears away what that one left.
    with replace_file(path, only_writer=True) as temporary:
        if format == "jsonl":
            temporary.write_bytes(b"".join(rows))
        else:
            from captioner.outputs.parquet import write_parquet

            write_parquet(temporary, (json.loads(row) for row in rows))


def caption_with_ray(
    shards: ShardFolder,
    decoding: Decoding,
    *,
    model: Path | None = None,
    device: str = "auto",
    backend: str = "auto",
    batch_size: int = 32,
    workers: int = 2,
    min_confidence: float | None = None,
    text_around: TextAround = TextAround(),  # noqa: B008 - it cannot be changed
    actors: int | None = None,
) -> Iterator[list[CaptionResult]]:
    """Caption the photos of a shard folder; yields rows as shards are done, with errors but without
    captions.

    Ray Data hands lists of photos to actors, each of which holds a Captioner, opens the photos and
    writes the shard. All machines must see photos, output and model under the same paths. If an
    actor is lost, another one repeats its shard under the same name.

    Args:
        device: with cuda, or auto if the cluster has GPUs, each actor takes a GPU, otherwise a CPU
            core.
        workers: threads of each actor that decode photos.
        min_confidence, text_around: as in `caption_photos`.
        actors: the number of captioners; None for one for each GPU or core of the cluster.

    Raises: UserError if the checkpoint cannot be used, or the cluster fails.
    """
    # One error here instead of one from each worker.
    if decoding.prefix:
        Captioner.load(model, device="cpu", backend="torch").vocabulary.encode_prefix(
            decoding.prefix
        )
    if model is not None:
        config = read_config(model, kind=KIND, version=VERSION)
        if min_confidence is not None or decoding.careful:
            require_confidence(config, "--min-confidence or --careful")
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        resources = ray.cluster_resources()
        on_gpu = device.startswith("cuda") or (device == "auto" and resources.get("GPU", 0) >= 1)
        count = actors or max(1, int(resources.get("GPU" if on_gpu else "CPU", 1)))
        # Small folders are divided too.
        size = max(1, min(LARGEST_SHARD, -(-len(shards.photos) // (4 * count))))
        names = [os.fsencode(str(photo)) for photo in shards.photos]
        lists = [names[start : start + size] for start in range(0, len(names), size)]
        done = ray.data.from_arrow(
            [pyarrow.table({"path": pyarrow.array(part, pyarrow.binary())}) for part in lists]
        ).map_batches(
            CaptionActor,
            fn_constructor_kwargs={
                "folder": str(shards.folder.resolve()),
                "format": shards.format,
                "here": os.getcwd(),  # noqa: PTH109 - not a path of this machine's own
                "model": None if model is None else str(model.resolve()),
                "decoding": asdict(decoding),
                "device": device,
                "backend": backend,
                "batch_size": batch_size,
                "workers": workers,
                "min_confidence": min_confidence,
                "text_around": text_around,
            },
            batch_size=None,  # a table is a shard
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(count, len(lists))),
            num_cpus=0 if on_gpu else 1,
            num_gpus=1 if on_gpu else 0,
        )
        tables: Iterator[Any] = iter(
            done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        )
        for table in tables:
            yield [
                CaptionResult(
                    Path(os.fsdecode(row["path"])), error=row["error"], unsure=row["unsure"]
                )
                for row in table.to_pylist()
            ]
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"the cluster failed ({reason}); finished shards are complete: run the same command to"
            " continue"
        ) from None
    finally:
        if started_here:
            ray.shutdown()


class CaptionActor:
    """One worker of the cluster: a Captioner that turns lists of photos into shards."""

    def __init__(
        self,
        *,
        folder: str,
        format: str,
        here: str,
        model: str | None,
        decoding: dict[str, Any],
        device: str,
        backend: str,
        batch_size: int,
        workers: int,
        min_confidence: float | None,
        text_around: TextAround,
    ) -> None:
        self._folder, self._format, self._here = Path(folder), format, Path(here)
        self._decoding = Decoding(**decoding)
        self._batch_size, self._workers = batch_size, workers
        self._min_confidence, self._text_around = min_confidence, text_around
        self._captioner = Captioner.load(model, device=device, backend=backend)

    def __call__(self, photos: Any) -> Any:
        """Write the shard of a table of photos with the column path; returns it with the column
        error and unsure.
        """
        names = photos["path"].to_pylist()
        paths = [Path(os.fsdecode(name)) for name in names]
        batches = caption_photos(
            self._captioner,
            (self._here / path for path in paths),
            self._decoding,
            batch_size=self._batch_size,
            workers=self._workers,
            min_confidence=self._min_confidence,
            text_around=self._text_around,
        )
        # With the paths as they were given.
        rows = [
            replace(row, path=path)
            for path, row in zip(paths, chain.from_iterable(batches), strict=True)
        ]
        # Named after its photos, so that a shard that is done twice exists once.
        name = hashlib.sha256(b"\0".join(names)).hexdigest()[:20]
        encode = _rows_of(self._format).encode
        write_shard(
            self._folder / f"{name}.{self._format}", [encode(row) for row in rows], self._format
        )
        errors = pyarrow.array([row.error for row in rows], pyarrow.string())
        unsure = pyarrow.array([row.unsure for row in rows], pyarrow.bool_())
        return pyarrow.table({"path": photos["path"], "error": errors, "unsure": unsure})


def _rows_of(format: str) -> Format:
    """The lines that shards of a format are made from."""
    if format == "jsonl":
        return ROW_FORMATS["jsonl"]
    from captioner.outputs.parquet import JOURNAL

    return JOURNAL
