"""A checkpoint is a folder with model.safetensors and config.json.

There is no pickle anywhere, so loading a checkpoint runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rnnkit.errors import UserError, problem
from rnnkit.files import naming, replace_file

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_checkpoint(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint folder.

    Both files are written beside their final names and then renamed. Both hold the hash of the
    weights, so a pair that a crash has left half replaced is recognised, and completed, on loading.

    Args:
        dtype: floating-point tensors are stored in this type; None keeps theirs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: _storable(tensor, dtype) for name, tensor in tensors.items()}
    digest = weights_hash(stored)
    weights, text = folder / f"{WEIGHTS}.part", folder / f"{CONFIG}.part"
    write_tensors(weights, stored, {"weights_hash": digest})
    with naming(text):
        text.write_text(_config_text({**config, "weights_hash": digest}), encoding="utf-8")
    weights.chmod(text.stat().st_mode & 0o777)  # safetensors writes for the owner alone
    weights.replace(folder / WEIGHTS)
    text.replace(folder / CONFIG)


def update_config(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change entries of a checkpoint's config, and leave its weights as they are.

    Raises: OSError or ValueError if there is no config that can be read.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with replace_file(folder / CONFIG) as temporary:
        temporary.write_text(_config_text({**config, **changes}), encoding="utf-8")


def _config_text(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=1, ensure_ascii=False) + "\n"


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file.

    Raises: OSError naming the file. safetensors itself hides the system's error (a full disk).
    """
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a safetensors file. Raises: UserError if there is none or it is damaged."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise UserError(f"there is no file '{path}'") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"'{path}' cannot be read as safetensors ({error})") from None


def load_checkpoint(
    folder: Path, *, kind: str, version: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a checkpoint folder onto the CPU, whatever it was trained on.

    Args:
        kind: what the config's "kind" must be ("captioner", "charlm"), so that no network loads
            another one's folder.
        version: the newest format version this code reads.

    Returns: (tensors by name, in the type they were stored in; the config).
    Raises: UserError naming the folder, if it is missing, damaged, of another kind or too new, or
        if a weight is not a finite number.
    """
    config = read_config(folder, kind=kind, version=version)
    try:
        with safe_open(folder / WEIGHTS, framework="pt", device="cpu") as file:
            digest = (file.metadata() or {}).get("weights_hash")
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise UserError(f"no {WEIGHTS} in '{folder}': copy both files of the checkpoint") from None
    except OSError as error:
        raise UserError(f"'{folder / WEIGHTS}' cannot be read ({error.strerror})") from None
    except SafetensorError as error:
        raise UserError(
            f"'{folder / WEIGHTS}' is damaged ({error}): copy or train the checkpoint again"
        ) from None
    if digest != config.get("weights_hash"):
        config = _left_between_renames(folder, digest) or config
    if digest != config.get("weights_hash"):
        raise UserError(
            f"the two files in '{folder}' belong to different checkpoints: copy or train it again"
        )
    if weights_hash(tensors) != digest:
        # Not only because of damage: the cache keeps converted networks under this hash.
        raise UserError(
            f"the weights in '{folder}' are not those that were saved there: copy or save the"
            " checkpoint again"
        )
    _check_finite(tensors, folder)
    return tensors, config


def _check_finite(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    for name, tensor in tensors.items():
        # A sum is faster than a look at each weight, and no sound ones sum to infinity.
        if tensor.is_floating_point() and not tensor.float().sum().isfinite():
            raise UserError(
                f"the weights in '{folder}' are not all finite numbers ({name}): copy or train the"
                " checkpoint again"
            )


def read_config(folder: Path, *, kind: str, version: int) -> dict[str, Any]:
    """The config of a checkpoint folder; see `load_checkpoint` for arguments and errors."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"no checkpoint at '{folder}': a checkpoint is a folder with {WEIGHTS} and {CONFIG}"
        ) from None
    except NotADirectoryError:
        raise UserError(
            f"'{folder}' is a file: a checkpoint is the folder with {WEIGHTS} and {CONFIG}"
        ) from None
    except OSError as error:  # such as a link to itself
        raise UserError(f"'{folder / CONFIG}' cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{folder / CONFIG}' cannot be read as JSON ({problem(error)})") from None
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else None
        raise UserError(f"'{folder}' is not a {kind} checkpoint (its kind is {found!r})")
    if not isinstance(config.get("version"), int) or config["version"] > version:
        raise UserError(
            f"'{folder}' has format version {config.get('version')!r}, this program reads up to"
            f" {version}: update show-and-spell"
        )
    return config


def _left_between_renames(folder: Path, digest: str | None) -> dict[str, Any] | None:
    """The config of new weights, if a crash came before it was renamed."""
    try:
        config = json.loads((folder / f"{CONFIG}.part").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) and config.get("weights_hash") == digest else None


def load_weights(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, source: object
) -> None:
    """Copy stored tensors into a module after comparing names, shapes and kinds of numbers.

    Raises: UserError naming the source and the first tensors that do not fit.
    """
    expected = {name: _form(tensor) for name, tensor in module.state_dict().items()}
    found = {name: _form(tensor) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise UserError(
            f"the weights in '{source}' do not fit its config:"
            f" {', '.join(wrong[:3])}{' ...' if len(wrong) > 3 else ''}"
        )
    own = module.state_dict()
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})


def _form(tensor: torch.Tensor) -> tuple[tuple[int, ...], bool]:
    return tuple(tensor.shape), tensor.is_floating_point()


def check_sizes(
    sizes: Mapping[str, int], tensors: Mapping[str, torch.Tensor], *, source: object
) -> None:
    """Compare a config's sizes with the stored tensors, before a network of that size is built.

    Raises: UserError naming the source and a size that is larger than any the tensors have.
    """
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    for name, size in sizes.items():
        if size > largest:
            raise UserError(
                f"the weights in '{source}' do not fit its config: {name} is {size}, their largest"
                f" size {largest}"
            )


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """A short fingerprint of named tensors: names, shapes, types and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # A copy, because a single number may have a stride of 0, which cannot be viewed as bytes.
        flat = tensor.reshape(-1).clone(memory_format=torch.contiguous_format)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _storable(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
    return tensor.clone().contiguous()
