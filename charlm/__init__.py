"""A character-level recurrent language model: prompt in, text out.

>>> from charlm import CharLM
>>> lm = CharLM.load()  # doctest: +SKIP
>>> "".join(lm.sample("ROMEO:", length=200, temperature=0.8, seed=1))  # doctest: +SKIP
"""

from importlib.metadata import version

from charlm.model import CharLM
from charlm.sampling import SamplingParams

__all__ = ["CharLM", "SamplingParams", "__version__"]
__version__ = version("show-and-spell")
