"""Recurrent networks for sentences and series: a label for a sentence, a tag for each word, a
translation, and what comes next in a series.

>>> from sequences import Classifier
>>> Classifier.load("sentiment").classify("a moving story")  # doctest: +SKIP
"""

from importlib.metadata import version

from sequences.classifier import Classification, Classifier
from sequences.forecasting import Forecast, forecast
from sequences.tagger import TaggedWord, Tagger
from sequences.translator import Translation, Translator

__all__ = [
    "Classification",
    "Classifier",
    "Forecast",
    "TaggedWord",
    "Tagger",
    "Translation",
    "Translator",
    "__version__",
    "forecast",
]
__version__ = version("show-and-spell")
