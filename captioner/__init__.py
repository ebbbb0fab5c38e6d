"""Photo in, sentence out: a pretrained CNN encoder and an attention-LSTM decoder.

>>> from captioner import Captioner
>>> captioner = Captioner.load()  # doctest: +SKIP
>>> captioner.caption("dog.jpg").text  # doctest: +SKIP
'a dog runs through the snow'
"""

from captioner.captioner import Captioner
from captioner.data.images import ImageError
from captioner.types import Caption, Decoding
from rnnkit.version import VERSION as __version__

__all__ = ["Caption", "Captioner", "Decoding", "ImageError", "__version__"]
