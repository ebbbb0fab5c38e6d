"""The page in a browser, as a visitor uses it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio
import pytest

from tests.webui.conftest import Server
from tests.webui.looks import NAMELESS, PALE_TEXT

# A small model is done before a test has found the button.
STOP_AT_ONCE = """() => {
  const box = document.querySelector('#text textarea');
  const looking = setInterval(() => {
    const stop = document.querySelector('#stop-writing');
    if (box.value && stop) { clearInterval(looking); stop.click(); }
  }, 2);
}"""
# Asks for another text once one is written, and keeps which of the two the box showed.
SUBMIT_MEANWHILE = """() => {
  window.seen = [];
  const box = document.querySelector('#text textarea');
  const prompt = document.querySelector('#prompt textarea');
  setInterval(() => {
    const start = box.value.slice(0, 8);
    if (!start || start === window.seen.at(-1)) return;
    window.seen.push(start);
    if (window.seen.length > 1) return;
    prompt.value = 'And who will';
    prompt.dispatchEvent(new Event('input', {bubbles: true}));
    const keys = {key: 'Enter', shiftKey: true, bubbles: true, cancelable: true};
    const enter = new KeyboardEvent('keypress', keys);
    setTimeout(() => prompt.dispatchEvent(enter), 50);
  }, 2);
}"""
# Which files the three buttons give.
DOWNLOADS = (
    "() => [...document.querySelectorAll('a[download]')].map((link) => link.href).filter((file) =>"
    " file.includes('captions.'))"
)
# True when the text has been the same in twenty frames.
STANDS_STILL = """() => {
  const text = document.querySelector('#text textarea').value;
  [window.same, window.last] = [text === window.last ? (window.same ?? 0) + 1 : 0, text];
  return window.same >= 20;
}"""
TABS = ("Caption", "Many photos", "Write", "Read", "Inside", "Score")
Visit = Callable[..., Any]


def drop(page: Any, photo: Path) -> str:
    """Put a photo into the form; returns its caption."""
    page.locator("#photo input[type=file]").first.set_input_files(photo)
    return str(page.locator(".sentence .caption").inner_text())


def shown(page: Any, text: str) -> None:
    page.get_by_text(text).first.wait_for()


def text_has(page: Any, length: int) -> str:
    """The text of Write, as soon as it has reached a length."""
    page.wait_for_function(
        "(length) => document.querySelector('#text textarea').value.length === length", arg=length
    )
    return str(page.locator("#text textarea").input_value())


def test_a_photo_dropped_gets_its_caption_with_candidates_chips_and_a_line(
    visit: Visit, tower: Path
) -> None:
    page = visit()
    caption = drop(page, tower)
    assert len(caption.split()) >= 3
    page.locator(".sentence li").nth(1).wait_for(state="attached")
    assert page.locator(".sentence li").count() == 2
    assert re.fullmatch(r"(< )?[\d.]+%", page.locator(".sentence li .number").first.inner_text())
    words = page.locator(".chip").all_inner_texts()
    assert " ".join(words[1:]).lower() == caption.lower()
    assert re.search(
        r"efficientnet-lite2.* CPU .*beam 3 · \d+ ms", page.locator(".line").inner_text()
    )


def test_choosing_a_word_darkens_what_was_not_looked_at_and_another_word_looks_elsewhere(
    visit: Visit, tower: Path
) -> None:
    page = visit()
    drop(page, tower)
    photo = page.locator("#photo .image-frame")
    pictures = []
    for number, opacity in ((0, "0"), (2, "1"), (-1, "1")):
        page.locator(".chip").nth(number).click()
        page.wait_for_function(
            "() => getComputedStyle(document.querySelector('#photo .image-frame'),"
            f" '::after').opacity === '{opacity}'"
        )
        pictures.append(photo.screenshot())
        for _ in range(100):  # the picture of a word may be drawn a little after it is chosen
            if pictures[-1] not in pictures[:-1]:
                break
            page.wait_for_timeout(100)
            pictures[-1] = photo.screenshot()
    assert len(set(pictures)) == 3
    frame, image = photo.bounding_box(), page.locator("#photo img").bounding_box()
    # The overlay covers the photo exactly.
    assert all(abs(frame[side] - image[side]) <= 2 for side in frame)


def test_words_can_be_chosen_with_the_arrow_keys(visit: Visit, tower: Path) -> None:
    page = visit()
    drop(page, tower)
    page.locator(".chip input").first.focus()
    page.keyboard.press("ArrowRight")
    assert (
        page.locator(".chip input:checked").get_attribute("data-mask").startswith("data:image/png")
    )
    assert "looking" in page.locator("#photo").get_attribute("class")


def test_an_example_fills_everything_on_a_click_and_clearing_empties_it(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="Example photo: a lion").click()
    assert len(page.locator(".sentence .caption").inner_text().split()) >= 3
    page.get_by_role("button", name="Remove Image").click()
    shown(page, "or pick an example: its caption appears here")


def test_sampling_shows_its_settings_and_the_same_seed_draws_the_same(
    visit: Visit, tower: Path
) -> None:
    page = visit()
    drop(page, tower)
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Sampling").check()
    results = []
    for seed in ("7", "8", "7"):  # another one in between, because two lines may be the same
        page.get_by_label("Seed").first.fill(seed)
        page.get_by_role("button", name="Caption again").click()
        shown(page, f"seed {seed} ")
        results.append(page.locator(".sentence").inner_text().split("efficientnet")[0])
    assert results[0] == results[2] != results[1]


def test_a_file_that_is_not_a_photo_is_refused_in_a_sentence_and_the_page_still_works(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    page = visit()
    wrong = tmp_path / "notes.png"
    wrong.write_text("these are my notes")
    page.locator("#photo input[type=file]").first.set_input_files(wrong)
    shown(page, "notes.png cannot be used: not a picture of a known format")
    assert "Traceback" not in page.content() and str(tmp_path) not in page.content()
    page.reload()
    assert drop(page, tower)


def make_zip(folder: Path, tower: Path) -> Path:
    path = folder / "holiday.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tower, "paris/tower.jpg")
        archive.write(gradio.get_image("lion.jpg"), "zoo/lion.jpg")
        archive.writestr("zoo/broken.jpg", b"\xff\xd8\xff\xe0 not much of a photo")
        archive.writestr("../../escape.jpg", tower.read_bytes())
    return path


def test_a_zip_with_bad_files_captions_the_others_and_the_table_can_be_edited_and_downloaded(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    page = visit(tab="Many photos")
    page.locator("#files input[type=file]").first.set_input_files(make_zip(tmp_path, tower))
    shown(page, "holiday.zip")
    page.get_by_role("button", name="Caption them").click()
    shown(page, "4 of 4 photos")
    shown(page, "2 could not be used")
    # The parts of the page are drawn one after another.
    page.locator("#gallery img").nth(1).wait_for()
    assert page.locator("#gallery img").count() == 2
    rows = page.locator("#table .virtual-row")
    rows.filter(has_text="broken.jpg").wait_for()
    texts = "\n".join(rows.all_inner_texts())
    assert "paris/tower.jpg" in texts and "outside of the ZIP" in texts and "broken.jpg" in texts
    cell = rows.filter(has_text="lion.jpg").get_by_role("gridcell").nth(1)
    cell.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("the king of the zoo")
    files = page.evaluate(DOWNLOADS)
    page.keyboard.press("Enter")
    page.wait_for_function(
        f"(before) => ({DOWNLOADS})().every((file, index) => file !== before[index])", arg=files
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSONL").click()
    records = {
        record["path"]: record
        for record in map(json.loads, Path(download.value.path()).read_text().splitlines())
    }
    assert records["zoo/lion.jpg"]["caption"] == "the king of the zoo"
    assert records["zoo/broken.jpg"]["status"] == "error"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download ZIP of text files").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert sorted(archive.namelist()) == ["paris/tower.txt", "zoo/lion.txt"]


def test_many_photos_can_be_stopped_and_what_is_done_stays(
    visit: Visit, tower: Path, tmp_path: Path
) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(150):
            archive.write(tower, f"{number:03}.jpg")
    page = visit(tab="Many photos")
    page.locator("#files input[type=file]").first.set_input_files(path)
    shown(page, "many.zip")
    page.get_by_role("button", name="Caption them").click()
    page.locator("#table .virtual-row").filter(has_text="003.jpg").wait_for()
    # There is no file yet, or one of an earlier run.
    assert page.get_by_role("button", name="Download CSV").is_disabled()
    page.get_by_role("button", name="Stop", exact=True).click()
    shown(page, "Stopped.")
    page.locator("button:enabled", has_text="Download CSV").wait_for()
    done = int(
        re.findall(r"(\d+) of 150 photos are done", page.locator("#progress").inner_text())[0]
    )
    assert 0 < done < 150
    page.get_by_role("button", name="Caption them").wait_for()
    page.wait_for_timeout(1500)
    # It has stopped.
    assert f"{done} of 150 photos are done" in page.locator("#progress").inner_text()


def test_text_streams_stops_and_continues_where_it_stopped(visit: Visit) -> None:
    page = visit(tab="Write")
    page.get_by_label("number input for Length").fill("5000")
    page.get_by_label("Seed").last.fill("3")
    page.evaluate(STOP_AT_ONCE)
    page.get_by_role("button", name="Write", exact=True).click()
    shown(page, "Stopped. Continue picks up from here.")
    page.wait_for_function(STANDS_STILL)
    stopped = page.locator("#text textarea").input_value()
    assert 0 < len(stopped) < 5000
    page.locator("#likeliest tbody tr").nth(9).wait_for(state="attached")
    assert page.locator("#likeliest tbody tr").count() == 10
    page.wait_for_timeout(500)
    assert page.locator("#text textarea").input_value() == stopped
    page.get_by_label("number input for Length").fill("100")
    page.get_by_role("button", name="Continue").click()
    shown(page, "100 characters")
    assert text_has(page, len(stopped) + 100).startswith(stopped)


def test_another_text_asked_for_with_the_keyboard_while_one_is_written_takes_its_place(
    visit: Visit,
) -> None:
    page = visit(tab="Write")
    page.get_by_label("Prompt").fill("The rain")
    page.get_by_label("number input for Length").fill("5000")
    page.evaluate(SUBMIT_MEANWHILE)
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_function("() => window.seen.at(-1) === 'And who '")
    page.get_by_role("button", name="Write", exact=True).wait_for()
    text_has(page, len("And who will") + 5000)
    page.wait_for_timeout(700)
    assert page.evaluate("window.seen") == ["The rain", "And who "]


def test_a_stop_text_may_be_an_empty_line(visit: Visit) -> None:
    page = visit(tab="Write")
    page.get_by_label("Stop text").press("Enter")
    page.get_by_label("Stop text").press("Enter")
    page.get_by_label("number input for Length").fill("5000")
    page.get_by_role("button", name="Write", exact=True).click()
    shown(page, "ended at the stop text")
    assert "\n\n" not in page.locator("#text textarea").input_value()


def test_again_keeps_the_prompt_and_takes_a_new_seed(visit: Visit) -> None:
    page = visit(tab="Write")
    page.get_by_label("Prompt").fill("The rain")
    page.get_by_label("number input for Length").fill("60")
    page.get_by_role("button", name="Write", exact=True).click()
    shown(page, "60 characters")
    first, seed = text_has(page, len("The rain") + 60), page.get_by_label("Seed").last.input_value()
    assert first.startswith("The rain")
    page.get_by_role("button", name="Again").click()
    page.wait_for_function(
        """(first) => {
          const text = document.querySelector('#text textarea').value;
          return text.length === first.length && text !== first;
        }""",
        arg=first,
    )
    assert page.locator("#text textarea").input_value().startswith("The rain")
    assert page.get_by_label("Prompt").input_value() == "The rain"
    assert page.get_by_label("Seed").last.input_value() != seed


def test_every_view_of_inside_draws_and_a_character_can_be_asked_about(visit: Visit) -> None:
    page = visit(tab="Inside")
    page.get_by_label("Your text").fill("The rain is cold.\nThe ${1+1} hill {{is}} <b>green</b>.")
    page.get_by_role("button", name="Look inside").click()
    shown(page, "nats a character")
    page.locator("#surprise span[style]").nth(10).wait_for()
    assert page.locator("#surprise b").count() == 0  # a visitor's text is text
    page.locator("#units .heat-row").nth(1).wait_for()
    page.locator("#gradient svg polyline").nth(2).wait_for(state="attached")
    page.locator("#connectivity [data-index]").last.wait_for()
    assert [
        figure.split("\n")[0] for figure in page.locator("#gradient figcaption").all_inner_texts()
    ] == ["RNN", "GRU", "LSTM"]
    before = page.locator("#connectivity").inner_html()
    page.locator("#connectivity [data-index='9']").click()
    page.locator("#connectivity [data-index='9'].marked").wait_for()
    assert page.locator("#connectivity").inner_html() != before
    page.wait_for_function(
        "() => document.querySelector('#position input[type=number]').value === '9'"
    )
    title = page.locator("#surprise [data-index='9']").get_attribute("title")
    assert "likeliest were" in title
    # For those who cannot point:
    assert page.locator("#connectivity .fine").inner_text() == title
    page.get_by_label("range slider for Character").press("ArrowRight")
    page.locator("#connectivity [data-index='10'].marked").wait_for()
    assert page.locator("#connectivity .fine").inner_text() == page.locator(
        "#surprise [data-index='10']"
    ).get_attribute("title")
    page.get_by_label("number input for Clip norm").fill("0.05")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelectorAll('#gradient polyline.dashed').length === 3"
    )
    page.get_by_label("Clip the gradient").uncheck()
    page.wait_for_function(
        "() => [...document.querySelectorAll('#gradient .fine')].some((e) =>"
        " e.innerText.includes('not clipped'))"
    )
    assert page.locator("#gradient polyline.dashed").count() == 0


def test_a_text_of_two_characters_is_looked_into(visit: Visit) -> None:
    page = visit(tab="Inside")
    page.get_by_label("Your text").fill("is")
    page.get_by_role("button", name="Look inside").click()
    shown(page, "2 characters.")
    page.locator("#connectivity [data-index='1'].marked").wait_for()
    page.locator("#gradient svg polyline").nth(2).wait_for(state="attached")


def test_what_cannot_be_written_leaves_nothing_to_continue(visit: Visit) -> None:
    page = visit(tab="Write")
    # The page may write its first seed there a little late.
    page.wait_for_function("document.querySelector('#seed input')?.value === '1'")
    page.get_by_label("Seed").last.fill("")
    page.get_by_role("button", name="Write", exact=True).click()
    shown(page, "The seed must be a whole number")
    page.locator("button:enabled", has_text="Again").wait_for()
    assert page.get_by_role("button", name="Continue").is_disabled()


def write_score_files(folder: Path) -> tuple[Path, Path]:
    captions = {1: "a dog runs on grass", 2: "a man rides a horse", 3: "two birds sit on a wire"}
    references = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in captions],
        "annotations": [{"image_id": number, "caption": text} for number, text in captions.items()],
    }
    predictions = [
        {"image_id": number, "caption": text if number < 3 else "a red bus"}
        for number, text in captions.items()
    ]
    paths = folder / "references.json", folder / "predictions.json"
    for path, content in zip(paths, (references, predictions), strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_score_draws_bars_intervals_and_the_photos_at_both_ends(
    visit: Visit, tmp_path: Path
) -> None:
    references, predictions = write_score_files(tmp_path)
    page = visit(tab="Score")
    page.get_by_role("button", name="Score", exact=True).click()
    shown(page, "Two files are needed")
    for place, path in (("#references", references), ("#predictions", predictions)):
        page.locator(f"{place} input[type=file]").set_input_files(path)
        page.locator(place).get_by_text(path.name).wait_for()
    page.get_by_role("button", name="Score", exact=True).click()
    rows = page.locator("table.scores tbody tr")
    rows.first.wait_for()
    assert [text.split()[0] for text in rows.all_inner_texts()] == [
        "BLEU-1",
        "BLEU-2",
        "BLEU-3",
        "BLEU-4",
        "ROUGE-L",
        "CIDEr-D",
    ]
    page.locator(".whisker").nth(5).wait_for(state="attached")
    assert page.locator(".whisker").count() == 6
    assert "two birds sit on a wire" in page.locator("table.plain").last.inner_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_enough_contrast_and_every_control_a_name(
    visit: Visit, tower: Path, dark: bool
) -> None:
    page = visit(dark=dark)
    page.get_by_role("button", name="Options").first.click()
    drop(page, tower)
    page.locator(".chip").nth(1).click()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == dark
    for tab in TABS:
        page.get_by_role("tab", name=tab, exact=True).click()
        if tab == "Write":
            page.get_by_role("button", name="Write", exact=True).click()
            page.locator("#likeliest table").wait_for()
        if tab == "Read":
            page.locator("#translate-result table").wait_for()
        if tab == "Inside":
            page.get_by_role("button", name="Look inside").click()
            page.locator("#gradient svg").first.wait_for()
        page.wait_for_timeout(500)
        for _ in range(100):  # what fades in is pale at first
            if not page.evaluate(PALE_TEXT):
                break
            page.wait_for_timeout(100)
        assert page.evaluate(PALE_TEXT) == [], tab
        assert page.evaluate(NAMELESS) == [], tab
    page.evaluate("document.querySelector('.masthead p').style.color = '#777a'")
    assert page.evaluate(PALE_TEXT) != []  # it would be found


def test_a_phones_width_is_enough_for_every_tab(visit: Visit, tower: Path) -> None:
    page = visit(390)
    drop(page, tower)
    assert (
        page.locator("#photo").bounding_box()["y"]
        < page.locator("#caption-result").bounding_box()["y"]
    )
    assert (
        page.locator("#caption-result").bounding_box()["y"]
        < page.locator("#examples").bounding_box()["y"]
    )
    assert page.locator("footer").inner_text().strip() == "Settings"
    for tab in TABS:
        page.get_by_role("tab", name=tab, exact=True).click()
        if tab == "Inside":
            page.get_by_role("button", name="Look inside").click()
            page.locator("#gradient svg").first.wait_for()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


def test_tabs_and_buttons_are_reached_with_the_keyboard(visit: Visit) -> None:
    page = visit()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.textContent.trim() || document.activeElement.ariaLabel"
            )
        )
    assert any("Caption" in str(text) for text in reached)
    assert any("Score" in str(text) for text in reached)
    page.get_by_role("tab", name="Write", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_label("Prompt").wait_for()


def test_the_page_of_the_api_and_the_settings_ask_nobody_elsewhere(
    visit: Visit, server: Server
) -> None:
    page = visit()
    page.get_by_role("button", name="Use via API").click()
    for name in ("/caption", "/generate", "/classify", "/score"):
        page.get_by_text(name, exact=True).first.wait_for()
    page.goto(f"{server.address}/?view=settings")
    page.get_by_role("tab", name="Caption").wait_for()
    page.wait_for_timeout(500)
    assert server.outgoing() == ""
