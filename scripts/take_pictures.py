"""Takes the README's pictures of the page anew.

    webui --port 7860 &
    python scripts/take_pictures.py http://127.0.0.1:7860 webui/examples docs

Needs Playwright and a Chromium (the `test` extra, and `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from playwright.sync_api import sync_playwright

from rnnkit.command_line import run_app
from rnnkit.errors import UserError

COLOURS = 256  # as many as a palette holds; without one the files would be larger
EDITED = "000000229997.jpg"  # the example that the captioner gets wrong
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SETTLED = """() => {
  const count = document.querySelectorAll('*').length;
  [window.calm, window.count] = [count === window.count ? (window.calm ?? 0) + 1 : 0, count];
  return 'ready' in document.documentElement.dataset && window.calm >= 5;
}"""


def caption(page: Any, photos: Path) -> None:
    """A photo's caption, and where the network looked for its second word."""
    page.get_by_role("button", name="Example photo: a gull over a beach", exact=True).click()
    page.locator("button.word").nth(1).click()
    page.locator("#photo.looking").wait_for()


def many(page: Any, photos: Path) -> None:
    """A list of photos, one of them with an edited caption."""
    page.locator(".drop-place input").first.set_input_files(sorted(photos.glob("*.jpg")))
    page.get_by_role("button", name="Caption", exact=False).first.click()
    page.get_by_role("button", name="Caption all again").wait_for()
    field = page.get_by_label(f"Caption of {EDITED}").first
    field.fill("a black bear sits in the grass among vultures")
    field.press("Enter")
    page.get_by_text("Saved", exact=True).wait_for()


def write(page: Any, photos: Path) -> None:
    """A text from a prompt, and the characters that could come next."""
    page.get_by_label("Prompt").fill("ROMEO:")
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("· 600 characters").wait_for()
    page.locator("#text .text").first.evaluate("(text) => text.scrollTo(0, 0)")


def inside(page: Any, photos: Path) -> None:
    """The four views of the network."""
    page.get_by_role("button", name="Look inside").click()
    page.get_by_text("Three small networks").wait_for()


PICTURES: tuple[tuple[str, str, bool, Callable[[Any, Path], None]], ...] = (
    ("page-caption", "Caption", False, caption),
    ("page-many", "Many photos", False, many),
    ("page-write", "Write", False, write),
    ("page-inside", "Inside", True, inside),
)


def take(
    address: Annotated[str, typer.Argument(help="Address of the running page.")],
    photos: Annotated[Path, typer.Argument(help="Folder of the page's example photos.")],
    folder: Annotated[Path, typer.Argument(help="Where the pictures go.")],
    only: Annotated[str, typer.Option(help="A picture's name; all of them if not given.")] = "",
) -> None:
    """Take pictures of the page's tabs."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise UserError("there is no Chromium here", hint="apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for name, tab, dark, show in PICTURES:
            if only in ("", name):
                scheme = "dark" if dark else "light"
                context = browser.new_context(
                    viewport={"width": 1280, "height": 860}, color_scheme=scheme
                )
                page = context.new_page()
                page.goto(address)
                page.wait_for_function(SETTLED)
                page.get_by_role("tab", name=tab, exact=True).click()
                page.wait_for_function(SETTLED)
                show(page, photos)
                page.mouse.move(0, 0)
                page.evaluate("window.scrollTo(0, 0)")
                page.wait_for_function(SETTLED)
                picture = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
                picture.quantize(COLOURS).save(folder / f"{name}.png", optimize=True)
                context.close()
        browser.close()


if __name__ == "__main__":
    run_app("take_pictures", take)
