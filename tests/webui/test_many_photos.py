"""The list of many photos in a browser: no edit is lost, shifted or passed off as the model's."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio

from tests.webui.looks import PALE_TEXT, accessibility_faults

Visit = Callable[..., Any]
OPENED = """() => {
  const tab = [...document.querySelectorAll('[role=tab]')].find((each) =>
    each.textContent.trim() === 'Many photos' && each.checkVisibility());
  if (tab?.getAttribute('aria-selected') === 'false') tab.click();
  return document.querySelector('.photo-editor[data-ready]')?.checkVisibility();
}"""
CAPTIONED = """() => document.querySelector('.photo-bar .running').hidden
  && document.querySelector('.photo-row') && !document.querySelector('[data-status=waiting]')"""
SAVED = "() => document.querySelector('.saving').textContent === 'Saved'"
# A run shows only once the server has answered, and perhaps only for a moment.
WATCH_RUN = """() => {
  const running = document.querySelector('.photo-bar .running');
  window.ran = false;
  new MutationObserver(() => { window.ran ||= !running.hidden; })
    .observe(running, {attributes: true});
}"""
RAN = "() => window.ran && document.querySelector('.photo-bar .running').hidden"
SMALL_TARGETS = """() => [...document.querySelectorAll('#photos button, #photos label')]
  .filter((control) => control.checkVisibility())
  .filter((control) => {
    const {width, height} = control.getBoundingClientRect();
    return width < 24 || height < 24;
  }).map((control) => control.outerHTML.slice(0, 100))"""


# What the phone's bar should not make a person look for.
MISPLACED = """() => {
  const place = (selector) => document.querySelector(selector).getBoundingClientRect();
  const names = ['Download', 'Undo', 'Redo', 'More'];
  const bar = [...document.querySelectorAll('.photo-bar .tools > button')];
  const away = names.filter((name) => {
    const {left, right, width} = bar.find((each) => each.innerText.trim() === name)
      .getBoundingClientRect();
    return left < 0 || right > innerWidth || width < 24;
  });
  const aligned = place('.pick-all input').x === place('.photo-row .pick input').x;
  return aligned ? away : [...away, 'Select all'];
}"""


def make_zip(folder: Path, tower: Path) -> Path:
    path = folder / "holiday.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tower, "paris/tower.jpg")
        archive.write(gradio.get_image("lion.jpg"), "zoo/lion.jpg")
        archive.writestr("zoo/broken.jpg", b"\xff\xd8\xff\xe0 not much of a photo")
        archive.writestr("../../escape.jpg", tower.read_bytes())
    return path


def photo_of_its_own(tower: Path, number: int) -> bytes:
    """The tower, as another file."""
    return tower.read_bytes() + number.to_bytes(2)


def open_list(visit: Visit, *files: Path, width: int = 1280) -> Any:
    """The tab with files in it, once its script has drawn them all."""
    page = visit(width)
    ready(page)
    if files:
        page.locator(".drop-place input").first.set_input_files(files)
        page.locator(".photo-row").first.wait_for()
    return page


def ready(page: Any) -> None:
    """Go to the tab. A click before Gradio's scripts have attached is lost, so it is repeated."""
    page.wait_for_function(OPENED)


def reload(page: Any) -> None:
    page.reload()
    ready(page)


def row(page: Any, name: str) -> Any:
    return page.locator(".photo-row").filter(has_text=name)


def caption(page: Any, name: str) -> Any:
    return page.get_by_label(f"Caption of {name}").first


def press(page: Any, name: str) -> None:
    page.locator("#photos").get_by_role("button", name=name, exact=True).click()


def download(page: Any, kind: str) -> str:
    """The text of a file from the menu."""
    press(page, "Download")
    with page.expect_download() as file:
        page.locator(".menu button", has=page.get_by_text(kind, exact=True)).click()
    return Path(file.value.path()).read_text(encoding="utf-8")


def records(page: Any) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, download(page, "JSONL").splitlines())
    return {record["path"]: record for record in lines}


def test_captions_are_edited_in_place_and_every_download_has_the_last_edit(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    note = tmp_path / "own.txt"
    note.write_text("a caption of my own\n")
    own = tmp_path / "own.jpg"
    own.write_bytes(tower.read_bytes())
    page = open_list(visit, make_zip(tmp_path, tower), own, note)
    page.get_by_role("heading", name="This photo is in the list already").wait_for()
    press(page, "Keep it too")
    page.locator(".drop-place input").first.set_input_files(own)
    press(page, "Skip it")
    row(page, "own.jpg").get_by_text("From file").wait_for()
    assert caption(page, "own.jpg").input_value() == "a caption of my own"
    page.wait_for_function("document.querySelector('.sum').innerText.startsWith('5 photos, 0.')")
    assert "Failed" in row(page, "broken.jpg").inner_text()
    assert "outside of the ZIP" in row(page, "escape.jpg").inner_text()
    press(page, "Show zoo/broken.jpg large")
    assert "amaged" in page.locator("dialog.large .frame").inner_text()
    page.keyboard.press("Escape")
    page.locator(".filter:text-is('Empty 2')").wait_for()
    press(page, "Caption the other 2 photos")
    page.wait_for_function(CAPTIONED)
    tower_caption, lion = caption(page, "paris/tower.jpg"), caption(page, "zoo/lion.jpg")
    models = tower_caption.input_value()
    assert len(models.split()) >= 3
    assert "%" in row(page, "tower.jpg").locator(".state").inner_text()

    tower_caption.click()  # one click, and what is typed stands where the cursor is
    page.keyboard.press("End")
    page.keyboard.type(" nonsense")
    page.keyboard.press("Escape")
    assert tower_caption.input_value() == models
    page.keyboard.type(" of mine")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.ariaLabel") == "Caption of zoo/lion.jpg"
    page.keyboard.press("Control+A")
    page.keyboard.type("=the king")
    page.keyboard.press("Control+Z")
    page.wait_for_function("() => !document.activeElement.value.includes('king')")
    page.keyboard.press("Control+Z")
    row(page, "tower.jpg").locator(".sure").wait_for()
    assert tower_caption.input_value() == models
    for _ in range(2):
        page.keyboard.press("Control+Shift+Z")
    page.wait_for_function("() => document.activeElement.value === '=the king'")
    assert tower_caption.input_value() == f"{models} of mine"

    lion.press("End")
    page.keyboard.type(" of the zoo")  # typed and not left
    table = download(page, "CSV").splitlines()
    assert table[0] == "path,caption,score,status,error,confidence,edited"
    assert "zoo/lion.jpg,'=the king of the zoo,,ok,,,true" in table  # no score, and no formula
    caption(page, "own.jpg").fill("")
    found = records(page)
    assert found["own.jpg"]["status"] == "error" and "empty" in found["own.jpg"]["error"]
    assert found["zoo/lion.jpg"] == {
        "path": "zoo/lion.jpg",
        "caption": "=the king of the zoo",
        "status": "ok",
        "edited": True,
    }
    assert found["zoo/broken.jpg"]["status"] == "error"
    assert "1 caption is empty" in page.locator(".message").first.inner_text()
    assert "file_name" in download(page, "metadata.jsonl")
    told = page.locator(".message").first.inner_text()
    assert "2 photos have no caption and are not in metadata.jsonl. 1 caption" in told
    assert len(json.loads(download(page, "COCO results"))) == 2

    reload(page)
    assert lion.input_value() == "=the king of the zoo"
    assert page.locator(".photo-row img").first.get_attribute("src")


def test_an_edit_made_during_a_run_stays_and_captioning_again_asks_first(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(300):  # so many that a fast machine can still be stopped
            archive.writestr(f"{number:03}.jpg", photo_of_its_own(tower, number))
    page = open_list(visit, path)
    press(page, "Caption 300 photos")
    page.wait_for_function(
        "() => ['ok', 'unsure'].includes(document.querySelector('.photo-row').dataset.status)"
    )
    caption(page, "001.jpg").fill("edited during the run")  # its photo is done
    caption(page, "299.jpg").fill("edited before its turn")  # and this one is not
    page.wait_for_function(
        "() => /a second, .* left/.test(document.querySelector('.pace').innerText)"
    )
    press(page, "Stop")
    page.locator(".photo-bar .running").wait_for(state="hidden")
    left = page.locator('.photo-row[data-status="waiting"]').count()
    assert 0 < left < 299
    page.wait_for_function(SAVED)
    assert len(records(page)) == 300 - left
    told = page.locator(".message").first.inner_text()
    assert told.startswith(f"{left} photo") and told.endswith("not in captions.jsonl.")
    found = records(page)
    assert found["001.jpg"]["caption"] == "edited during the run" and found["001.jpg"]["edited"]
    assert found["299.jpg"]["caption"] == "edited before its turn"
    assert len(found) == 300 - left

    for name in ("000.jpg", "001.jpg"):
        page.get_by_label(f"Select {name}").check()
    press(page, "Caption 2 selected")
    page.get_by_role("heading", name="One caption is yours").wait_for()
    press(page, "Cancel")
    press(page, "Caption 2 selected")
    page.evaluate(WATCH_RUN)
    press(page, "Keep mine, caption the other one")
    page.wait_for_function(RAN)
    assert caption(page, "001.jpg").input_value() == "edited during the run"
    press(page, "Caption 2 selected")
    press(page, "Replace 2 captions")
    page.wait_for_function(
        "() => !document.querySelectorAll('.caption-field')[1].value.includes('edited')"
    )
    page.locator(".photo-bar .running").wait_for(state="hidden")
    press(page, "Undo")
    page.wait_for_function(
        "() => document.querySelectorAll('.caption-field')[1].value.includes('edited')"
    )


def test_many_captions_change_together_and_a_restart_of_the_server_costs_the_photos_alone(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.jpg").write_bytes(photo_of_its_own(tower, number))
        (tmp_path / f"{name}.txt").write_text(f"A dog and a cat named {name}")
    page = open_list(visit, *sorted(tmp_path.iterdir()))
    page.locator(".photo-row").nth(2).wait_for()
    press(page, "Change captions…")
    page.get_by_label("Find", exact=True).fill("a")
    page.get_by_label("Replace with").fill("one")
    page.get_by_label("Match case").check()
    page.get_by_label("Put before").fill("sks photo:")
    preview = page.locator(".preview .after")
    expected = [f"sks photo: A dog and one cat named {name}" for name in ("one", "b", "c")]
    assert preview.all_inner_texts() == expected
    marked = [page.locator(f".preview {tag}").all_inner_texts() for tag in ("del", "ins")]
    assert marked[0] == ["a"] * 4 and marked[1][:4] == ["sks", "photo:", "one", "one"]
    press(page, "Change 3 captions")
    page.get_by_text("3 captions changed. Undo changes them back.").wait_for()
    page.wait_for_function(SAVED)
    fields = page.locator(".photo-row .caption-field")
    page.wait_for_function(
        "() => document.querySelector('.photo-row .caption-field').value.startsWith('sks')"
    )
    assert [field.input_value() for field in fields.all()] == expected
    press(page, "Undo")
    page.wait_for_function(
        "() => document.querySelector('.photo-row .caption-field').value.startsWith('A dog')"
    )
    caption(page, "b.jpg").fill("an edit")
    press(page, "Edited 1")
    assert page.locator(".photo-row:visible").count() == 1
    press(page, "All 3")

    press(page, "Show a.jpg large")
    page.get_by_text("1 of 3: a.jpg").wait_for()
    page.keyboard.press("Enter")
    page.get_by_text("2 of 3: b.jpg").wait_for()
    page.keyboard.type(" of the large photo")
    page.keyboard.press("PageDown")
    page.get_by_text("3 of 3: c.jpg").wait_for()
    page.keyboard.press("Escape")
    assert caption(page, "b.jpg").input_value() == "an edit of the large photo"

    page.wait_for_function(SAVED)
    page.wait_for_function("sessionStorage['many-photos']")
    page.evaluate(  # as a restart does
        "fetch(`photos/${JSON.parse(sessionStorage['many-photos']).token}/forget`,"
        " {method: 'POST', body: '{}'})"
    )
    caption(page, "c.jpg").fill("typed after the restart")
    page.get_by_text("The server no longer has your photos").wait_for()
    reload(page)
    loss = page.locator(".loss").inner_text()
    assert "3 photos are lost" in loss and "3 captions, 2 of them edited, are still here" in loss
    press(page, "Bring the captions back")
    page.locator(".loss").wait_for(state="detached")
    found = records(page)
    assert found["b.jpg"]["caption"] == "an edit of the large photo" and found["b.jpg"]["edited"]
    assert found["c.jpg"]["caption"] == "typed after the restart"
    assert "edited" not in found["a.jpg"]


def test_the_list_is_readable_named_and_large_enough_to_touch_on_a_phone_and_in_the_dark(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad.jpg", tmp_path / "good.jpg"
    bad.write_text("no photo")
    good.write_bytes(tower.read_bytes())
    (tmp_path / "good.txt").write_text("a tower")
    page = open_list(visit, *tmp_path.iterdir(), width=390)
    page.get_by_label("Select good.jpg").check()
    caption(page, "good.jpg").fill("")
    page.wait_for_function(SAVED)
    assert page.locator(".photo-row").last.bounding_box()["height"] < 130
    assert page.evaluate(MISPLACED) == []
    for dark in (False, True):
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
        page.wait_for_function(f"() => !({PALE_TEXT})().length")
        assert accessibility_faults(page) == []
        assert page.evaluate(SMALL_TARGETS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    press(page, "Show good.jpg large")
    tops = page.locator(".large .top button").evaluate_all(
        "all => all.map((each) => each.offsetTop)"
    )
    assert len(tops) == 3 and len(set(tops)) == 1
    page.keyboard.press("Escape")
    press(page, "Remove")
    page.locator("dialog button.danger").wait_for()
    press(page, "Cancel")
    press(page, "More")
    press(page, "Settings")
    page.locator("#photo-settings").get_by_label("Sampling").check()
    page.locator("#photo-settings").get_by_label("Seed").fill("7")
    assert page.evaluate(  # nothing stands beside what can be seen
        """() => [...document.querySelectorAll('#photo-settings, #photo-settings .form')]
          .every((part) => part.scrollWidth <= part.clientWidth)"""
    )
    page.keyboard.press("Escape")
    page.wait_for_function(
        "JSON.parse(sessionStorage['many-photos-settings'] ?? '[]').includes('7')"
    )
    reload(page)
    page.wait_for_function("window.captionSettings?.includes('7')")
