"""The example photos: what the Caption tab offers, and what the Score tab's sample is made of."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from webui.uploads import new_folder


@dataclass(frozen=True)
class ExamplePhoto:
    """A photo that comes with the page.

    Attributes:
        name: what it shows, in a few words.
        licence: under which it may be shown.
        source: the page of the photo and its photographer.
        references: what people would say of it.
        fails: whether it is here because the captioner gets it wrong.
    """

    path: Path
    name: str
    licence: str
    source: str
    references: tuple[str, ...]
    fails: bool = False

    def lend(self) -> Path:
        """A copy among the visitors' files, which the page may read and send."""
        return Path(shutil.copy(self.path, new_folder()))


FOLDER = Path(__file__).with_name("examples")


def _photo(
    name: str, shows: str, licence: str, flickr: int, *references: str, fails: bool = False
) -> ExamplePhoto:
    """A photo of COCO 2014's validation part, made smaller; the captioner did not learn from it."""
    source = f"https://www.flickr.com/photo.gne?id={flickr}"
    return ExamplePhoto(FOLDER / f"{name}.jpg", shows, licence, source, references, fails)


EXAMPLES = (
    _photo(
        "000000126107", "a gull over a beach", "CC BY 2.0", 100911501,
        "a seagull flies over the beach",
        "a white bird is flying above the sea",
        "a large bird with its wings spread over a beach",
    ),
    _photo(
        "000000062554", "broccoli", "CC BY 2.0", 5560942229,
        "a plate of broccoli beside other dishes",
        "several plates of food on a table",
        "a bowl of broccoli with noodles behind it",
    ),
    _photo(
        "000000011511", "a statue", "CC BY-SA 2.0", 7556029168,
        "a statue of two women who sit on a bench",
        "two bronze women sit side by side on a stone bench",
        "a bronze statue of women with bags, sitting in a street",
    ),
    _photo(
        "000000557172", "a bathroom", "CC BY-SA 2.0", 5875095353,
        "a bathroom with a sink and a large mirror",
        "a white sink in front of a mirror",
        "a modern bathroom with a sink and a bathtub",
    ),
    _photo(
        "000000000285", "a bear", "CC BY 2.0", 9138147604,
        "a brown bear sits in the grass",
        "a close up of a large brown bear",
        "the face of a bear with grass behind it",
    ),
    _photo(
        "000000006012", "bananas", "CC BY 2.0", 4281955635,
        "a bunch of bananas around a red fruit",
        "bananas and an apple in front of a blue pattern",
        "some bananas with an apple in the middle",
    ),
    _photo(
        "000000229997", "a bear among vultures", "CC BY-SA 2.0", 4517379000,
        "a black bear sits in the grass among vultures",
        "black birds stand around a bear",
        "a bear and several large birds beside a fallen tree",
        fails=True,
    ),
)  # fmt: skip
