"""The contact sheet: one page with every photo in it, the least sure first."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from captioner.outputs.contact_sheet import Sheet, check_sheet
from captioner.types import Caption, CaptionResult
from rnnkit.errors import UserError


def test_a_sheet_holds_its_pictures_and_shows_failures_then_the_least_sure_and_then_the_others(
    tmp_path: Path,
) -> None:
    photos = [tmp_path / name for name in ("sure.png", "bad.png", "old.png", "un<sure>.png")]
    for photo in photos:
        Image.new("RGB", (900, 600)).save(photo)
    photos[1].write_bytes(b"")
    sheet = Sheet(tmp_path / "sheet.html")
    rows = [
        CaptionResult(photos[0], (Caption("a <dog>", -1.0, (), confidence=0.9),)),
        CaptionResult(photos[1], error="the file is empty"),
        CaptionResult(photos[3], (Caption("two cats", -1.0, (), confidence=0.25),)),
    ]
    assert list(sheet.noting(iter([rows]))) == [rows]
    found = {photos[0]: "a <dog>", photos[2]: "a person's words", photos[3]: "two cats"}

    def existing(asked: object) -> list[tuple[Path, tuple[Caption, ...]]]:
        assert asked is photos
        return [(p, (Caption.written(found[p]),) if p in found else ()) for p in photos]

    sheet.write(photos, existing, {})
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    shown = re.findall(r'<p class="path">.*?(\w+)(?:&lt;sure&gt;)?\.png</p>', page)
    assert shown == ["bad", "un", "sure", "old"]
    assert '<p>two cats <span class="sure">25% sure</span></p>' in page
    assert "a &lt;dog&gt;" in page and "<dog>" not in page and "a person&#x27;s words</p>" in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 3 and page.count("src=") == 3 and "http:" not in page
    assert Image.open(BytesIO(base64.b64decode(pictures[0]))).size == (320, 213)
    assert "4 photos, the least sure first; 1 failed" in page
    check_sheet(tmp_path / "sheet.html")  # a later run may replace it
    with pytest.raises(UserError, match=r"sure\.png' exists and is no contact sheet"):
        check_sheet(photos[0])
