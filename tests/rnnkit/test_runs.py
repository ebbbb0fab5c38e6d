"""Run folders: a log, a figure, and a state that survives a kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from rnnkit.errors import UserError
from rnnkit.runs import RunFolder, draw_curves, load_optimizer_tensors, optimizer_tensors


def test_a_new_run_makes_its_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "b", "parrot")
    assert run.start({}, resume=False) is False
    assert run.path.is_dir() and run.records() == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_checkpoint_without_its_run_is_not_overwritten(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(UserError, match="holds a checkpoint"):
        RunFolder(tmp_path, "parrot").start({}, resume=False)


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "parrot")
    run.start({}, resume=False)
    run.log({"step": 1})
    run.close()
    with pytest.raises(UserError, match="already holds a run: add --resume"):
        RunFolder(tmp_path, "parrot").start({}, resume=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_is_refused_while_the_first_is_at_work_and_not_afterwards(
    resume: bool, tmp_path: Path
) -> None:
    first, second = RunFolder(tmp_path, "parrot"), RunFolder(tmp_path, "parrot")
    first.start({}, resume=False)
    with pytest.raises(UserError, match=r"another run is writing '.*': wait for it to end, or cho"):
        second.start({}, resume=resume)
    first.close()
    second.start({}, resume=resume)
    second.close()
    assert not (tmp_path / ".lock").exists()


def test_there_must_be_a_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume: there is no run in"):
        RunFolder(tmp_path / "nowhere", "parrot").start({}, resume=True)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "metrics.jsonl"])
def test_what_is_not_a_run_is_not_emptied_by_a_resume(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text('{"accuracy": 0.5}\n')
    with pytest.raises(UserError, match="nothing to resume"):
        RunFolder(tmp_path, "parrot").start({}, resume=True)
    assert (tmp_path / file).read_text() == '{"accuracy": 0.5}\n'


def test_a_state_comes_back_with_its_information(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "parrot")
    run.save_state(
        {"weight": torch.arange(6.0).reshape(2, 3).t(), "step": torch.tensor(3)},
        {"voice": "loud"},
        {"epoch": 2, "best": None, "name": "é"},
    )
    assert run.start({}, resume=True) is True
    tensors, info = run.load_state()
    assert (
        torch.equal(tensors["weight"], torch.arange(6.0).reshape(2, 3).t())
        and int(tensors["step"]) == 3
    )
    assert info.pop("settings") == run.settings() == {"voice": "loud"}
    assert info == {"program": "parrot", "epoch": 2, "best": None, "name": "é"}
    run.close()
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_damaged_state_is_refused_by_name(kept: int, tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "parrot")
    run.save_state({"weight": torch.zeros(5)}, {}, {})
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"state.safetensors' is damaged"):
        run.load_state()


def test_a_state_that_something_else_wrote_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(5)}, tmp_path / "state.safetensors")
    with pytest.raises(UserError, match="is damaged"):
        RunFolder(tmp_path, "parrot").load_state()


def test_a_state_of_another_program_is_refused_in_words(tmp_path: Path) -> None:
    RunFolder(tmp_path, "parrot").save_state({"weight": torch.zeros(5)}, {}, {"step": 3})
    assert RunFolder(tmp_path, "parrot").load_state()[1]["step"] == 3
    with pytest.raises(UserError, match=r"holds a run of another program: choose another --output"):
        RunFolder(tmp_path, "finch").load_state()


@pytest.mark.parametrize(
    ("program", "key", "other"),
    [("captioner", "config", "charlm"), ("charlm", "settings", "captioner")],
)
def test_a_state_of_version_0_1_is_read_too(
    program: str, key: str, other: str, tmp_path: Path
) -> None:
    info = {key: {"seed": 7}, "step": 3}
    save_file({"w": torch.zeros(1)}, tmp_path / "state.safetensors", {"info": json.dumps(info)})
    assert RunFolder(tmp_path, program).settings() == {"seed": 7}
    assert RunFolder(tmp_path, program).load_state()[1]["settings"] == {"seed": 7}
    with pytest.raises(UserError, match="another program"):
        RunFolder(tmp_path, other).settings()


def test_a_run_that_was_killed_before_its_first_state_knows_its_settings(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "parrot")
    assert run.settings() is None
    run.start({"voice": "loud"}, resume=False)
    assert run.settings() == {"voice": "loud"}


def test_records_are_read_back_in_order_without_a_last_line_cut_short(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "parrot")
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 1 / step})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "lo')
    assert [record["step"] for record in run.records()] == [1, 2, 3]


def test_records_later_than_the_state_are_forgotten_and_a_cut_line_with_them(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path, "parrot")
    for step in (10, 20, 30):
        run.log({"step": step})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 40')
    run.forget_after(20)
    run.log({"step": 25})
    assert [record["step"] for record in run.records()] == [10, 20, 25]


def test_a_run_killed_before_its_first_state_begins_again_without_its_old_records(
    tmp_path: Path,
) -> None:
    run = RunFolder(tmp_path, "parrot")
    run.start({}, resume=False)
    run.log({"step": 5})
    run.close()
    assert run.start({}, resume=True) is False
    assert run.records() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_record_that_a_full_disk_refuses_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*metrics.jsonl'"):
        RunFolder(tmp_path, "parrot").log({"step": 1})


def test_the_figure_is_drawn_from_what_was_logged(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, "parrot")
    for step in range(1, 5):
        run.log({"step": step, "loss": 1 / step, "score": None if step == 1 else step})
    panels = [("loss", ("loss",)), ("score", ("score", "never_logged"))]
    draw_curves(run.records(), panels, tmp_path / "metrics.png")
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.format == "PNG" and picture.width > picture.height
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 10
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "metrics.png"}


def test_a_figure_without_records_is_drawn_too(tmp_path: Path) -> None:
    draw_curves([], [("loss", ("loss",))], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 0


OPTIMIZERS: dict[str, Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
    "fused AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
    "SGD with momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_goes_on_exactly_from_its_tensors(name: str, tmp_path: Path) -> None:
    def steps(
        parameters: list[torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        first: int,
        last: int,
    ) -> None:
        for number in range(first, last):
            for parameter in parameters:
                parameter.grad = torch.sin(parameter.detach() * number + number)
            optimizer.step()

    def make() -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        parameters = [torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.zeros(4))]
        return parameters, OPTIMIZERS[name](parameters)

    whole, optimizer = make()
    steps(whole, optimizer, 0, 6)

    first, optimizer = make()
    steps(first, optimizer, 0, 3)
    run = RunFolder(tmp_path, "parrot")
    run.save_state({"model.weight": torch.zeros(1)} | optimizer_tensors(optimizer), {}, {})
    second, optimizer = make()
    for new, old in zip(second, first, strict=True):
        new.data.copy_(old.data)
    load_optimizer_tensors(optimizer, run.load_state()[0])
    steps(second, optimizer, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))
