"""Checkpoint folders: what is written is read back, and what is not whole is refused by name."""

from __future__ import annotations

import errno
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rnnkit import checkpoint
from rnnkit.checkpoint import (
    load_checkpoint,
    load_weights,
    read_config,
    save_checkpoint,
    weights_hash,
)
from rnnkit.errors import UserError

TENSORS = {
    "weight": torch.linspace(-3, 3, 12).reshape(3, 4),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "steps": torch.tensor(7),
    "mask": torch.tensor([True, False]),
    "nothing": torch.empty(0, 3),
}
CONFIG: dict[str, Any] = {"kind": "parrot", "version": 2, "words": ["café", "犬"], "score": 0.25}


def load(
    folder: Path, kind: str = "parrot", version: int = 2
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return load_checkpoint(folder, kind=kind, version=version)


def test_tensors_and_config_come_back_as_they_were(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "folder", TENSORS, CONFIG)
    tensors, config = load(tmp_path / "new" / "folder")
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_only_floating_point_tensors_are_stored_in_the_type_asked_for(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, CONFIG, dtype=torch.float16)
    tensors, _ = load(tmp_path)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "weight": torch.float16,
        "half": torch.float16,
        "steps": torch.int64,
        "mask": torch.bool,
        "nothing": torch.float16,
    }
    torch.testing.assert_close(tensors["weight"].float(), TENSORS["weight"], atol=2e-3, rtol=0)


def test_views_and_shared_tensors_are_stored_each_for_itself(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    save_checkpoint(
        tmp_path, {"whole": base, "again": base, "turned": base.t(), "row": base[1]}, CONFIG
    )
    tensors, _ = load(tmp_path)
    assert (
        torch.equal(tensors["turned"], base.t())
        and torch.equal(tensors["row"], base[1])
        and torch.equal(tensors["again"], base)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")
def test_whoever_may_read_the_config_may_read_the_weights(tmp_path: Path) -> None:
    for mask in (0o022, 0o077):
        before = os.umask(mask)
        try:
            save_checkpoint(tmp_path / str(mask), TENSORS, CONFIG)
        finally:
            os.umask(before)
        modes = {path.stat().st_mode & 0o777 for path in (tmp_path / str(mask)).iterdir()}
        assert modes == {0o666 & ~mask}


def test_a_checkpoint_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, TENSORS, CONFIG)
    save_checkpoint(tmp_path, {"weight": torch.zeros(1)}, CONFIG | {"score": 0.5})
    tensors, config = load(tmp_path)
    assert list(tensors) == ["weight"] and config["score"] == 0.5


# --- what is refused ------------------------------------------------------------------------------


def refused(folder: Path, **wanted: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **wanted)
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message
    return message


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path, TENSORS, CONFIG)
    return tmp_path


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    assert "no checkpoint at" in refused(tmp_path / "nowhere")
    assert "no checkpoint at" in refused(tmp_path)


def test_a_file_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file")


def test_a_checkpoint_of_the_other_network_is_refused(saved: Path) -> None:
    assert "is not a captioner checkpoint (its kind is 'parrot')" in refused(
        saved, kind="captioner"
    )


def test_a_newer_format_is_refused_and_an_older_one_read(saved: Path) -> None:
    assert "has format version 2, this program reads up to 1: update" in refused(saved, version=1)
    assert load(saved, version=3)[1]["version"] == 2


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '"text"',
        "[" * 100_000,
        '{"kind": "parrot"}',
        '{"kind": "parrot", "version": "2"}',
    ],
)
def test_a_config_that_is_damaged_is_refused(content: str, saved: Path) -> None:
    (saved / "config.json").write_text(content, encoding="utf-8")
    refused(saved)


def test_a_config_that_is_not_text_is_refused(saved: Path) -> None:
    (saved / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as JSON" in refused(saved)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_weights_that_are_cut_short_are_refused(kept: int, saved: Path) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    assert "damaged" in refused(saved)


def test_weights_that_are_missing_are_refused(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert "no model.safetensors in" in refused(saved)


def test_two_files_of_different_checkpoints_are_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    save_checkpoint(other, {"weight": torch.zeros(2)}, CONFIG)
    (other / "model.safetensors").replace(saved / "model.safetensors")
    assert "belong to different checkpoints" in refused(saved)


def test_weights_changed_under_the_old_mark_are_refused(saved: Path) -> None:
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        mark = file.metadata()
    tensors = load_file(saved / "model.safetensors")
    save_file(
        {
            name: tensor + 1 if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        },
        saved / "model.safetensors",
        mark,
    )
    assert "are not those that were saved there" in refused(saved)


def test_weights_without_the_mark_of_their_config_are_refused(saved: Path) -> None:
    save_file(load_file(saved / "model.safetensors"), saved / "model.safetensors")
    assert "belong to different checkpoints" in refused(saved)


def test_a_crash_between_the_two_renames_loses_nothing(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace
    names: list[str] = []

    def crash(path: Path, target: Path) -> Path:
        names.append(target.name)
        if len(names) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, {"weight": torch.full((2,), 9.0)}, {**CONFIG, "score": 0.75})
    tensors, config = load(saved)
    assert tensors["weight"].tolist() == [9.0, 9.0] and config["score"] == 0.75


def test_a_crash_while_saving_leaves_the_old_checkpoint(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(saved, {"weight": torch.zeros(1)}, CONFIG)
    assert torch.equal(load(saved)[0]["weight"], TENSORS["weight"])


def test_a_config_is_read_without_its_weights(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert read_config(saved, kind="parrot", version=2)["words"] == CONFIG["words"]


# --- weights into modules -------------------------------------------------------------------------


def test_weights_are_loaded_into_a_module_in_its_own_type() -> None:
    module = torch.nn.Linear(3, 2)
    stored = {"weight": torch.randn(2, 3).half(), "bias": torch.randn(2).half()}
    load_weights(module, stored, source="here")
    assert module.weight.dtype == torch.float32 and torch.equal(
        module.weight, stored["weight"].float()
    )


@pytest.mark.parametrize(
    ("stored", "named"),
    [
        ({"weight": torch.zeros(2, 3)}, "bias"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "weight"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, "more"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(
    stored: dict[str, torch.Tensor], named: str
) -> None:
    with pytest.raises(UserError, match=f"the weights in 'here' do not fit its config: {named}$"):
        load_weights(torch.nn.Linear(3, 2), stored, source="here")


# --- fingerprints ---------------------------------------------------------------------------------


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8), st.data())
def test_a_fingerprint_tells_any_change_of_a_value(
    values: list[float], data: st.DataObject
) -> None:
    before = {"a": torch.tensor(values), "b": torch.zeros(2)}
    after = {"b": torch.zeros(2), "a": torch.tensor(values)}
    assert weights_hash(before) == weights_hash(after), "the order of names is of no account"
    index = data.draw(st.integers(0, len(values) - 1))
    after["a"][index] = -1.5 if values[index] == 2.5 else 2.5
    assert (weights_hash(before) == weights_hash(after)) == torch.equal(before["a"], after["a"])


def test_a_fingerprint_tells_names_shapes_and_types() -> None:
    one = {"a": torch.zeros(4)}
    others = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.zeros(5)},
        {},
    ]
    assert len({weights_hash(tensors) for tensors in [one, *others]}) == 6
    assert weights_hash({"a": torch.ones(2, 3).t()}) == weights_hash({"a": torch.ones(3, 2)})


@pytest.mark.skipif(sys.platform == "win32", reason="no limits to files there")
def test_a_file_that_may_not_grow_is_the_systems_error_and_leaves_the_old_checkpoint(
    saved: Path,
) -> None:
    import resource

    before = (saved / "model.safetensors").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*model\.safetensors\.part") as error:
            save_checkpoint(saved, {"weight": torch.rand(100_000)}, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG and (saved / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_that_are_not_finite_are_refused_by_name(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = {"sound": torch.ones(2), "layer.weight": torch.tensor([1.0, value, 2.0])}
    save_checkpoint(tmp_path, tensors, {"kind": "test", "version": 1}, dtype=dtype)
    with pytest.raises(UserError, match=r"not all finite numbers \(layer\.weight\)"):
        load_checkpoint(tmp_path, kind="test", version=1)


def test_whole_numbers_in_place_of_weights_are_refused() -> None:
    module = torch.nn.Linear(2, 2)
    tensors = {name: tensor.to(torch.int8) for name, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=r"do not fit its config: bias, weight"):
        load_weights(module, tensors, source="here")


@pytest.mark.parametrize("name", ["", "config.json", "model.safetensors"])
def test_a_link_to_itself_is_refused_in_a_sentence(name: str, saved: Path) -> None:
    loop = saved / name if name else saved.with_name("loop")
    loop.unlink(missing_ok=True)
    loop.symlink_to(loop)
    try:
        with pytest.raises(
            UserError, match=r"cannot be read .*symbolic links|no model.safetensors"
        ):
            load(saved if name else loop)
    finally:
        loop.unlink()  # pytest stumbles over it


def test_a_single_number_has_the_hash_of_its_bytes_whatever_its_stride() -> None:
    expanded = torch.tensor(3).expand(1)
    assert expanded.stride() == (0,)
    assert weights_hash({"n": expanded}) == weights_hash({"n": torch.tensor([3])})
