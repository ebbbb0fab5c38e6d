"""Every choice of a training run, in one dataclass a task that --config and the flags fill."""

from __future__ import annotations

from dataclasses import dataclass

from rnnkit.layers import LAYERS, parse_dilations
from rnnkit.settings import check_ranges, setting
from sequences.network.architecture import (
    MAX_LAYERS,
    MAX_SIZE,
    OUTPUTS,
    SentenceArchitecture,
    SentenceDropout,
)


@dataclass(frozen=True)
class TrainingConfig:
    """What all tasks have; each field is also a flag.

    Raises: UserError for a value out of its range.
    """

    # The network
    cell: str = setting("lstm", "Recurrent cell: rnn, gru or lstm.", choices=tuple(LAYERS))
    hidden_size: int = setting(128, "Units of each layer in each direction.", low=1, high=MAX_SIZE)
    num_layers: int = setting(1, "Recurrent layers.", low=1, high=MAX_LAYERS)
    bidirectional: bool = setting(True, "Read backwards as well as forwards.")
    dilations: str = setting(
        "1", "Steps that each layer reaches back, from the bottom, for example 1,2,4."
    )
    word_size: int = setting(64, "Size of a word's embedding.", low=1, high=MAX_SIZE)
    character_size: int = setting(32, "Size of a character's embedding.", low=1, high=MAX_SIZE)
    spelling_size: int = setting(
        64, "Units that read a word's characters, in each direction.", low=1, high=MAX_SIZE
    )
    min_count: int = setting(
        2, "Words seen less often have no embedding, only their spelling.", low=1
    )
    init: str = setting(
        "", "Start from this checkpoint's words and layers, of whatever task it is."
    )
    # The optimiser
    epochs: int = setting(
        20,
        "Passes over the examples. --resume may raise it: the learning rate then follows the"
        " schedule of a run that was planned so long.",
        low=1,
        may_grow=True,
    )
    max_minutes: float = setting(
        0.0, "Shorten the schedule so that it ends within this time; 0 sets no limit.", low=0
    )
    batch_size: int = setting(32, "Examples a step.", low=1)
    learning_rate: float = setting(0.002, "Peak learning rate of AdamW.", above=0)
    final_learning_rate: float = setting(0.00002, "Learning rate at the end of the cosine.", low=0)
    warmup_steps: int = setting(100, "Steps of linear warm-up before the cosine decay.", low=0)
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases have none.", low=0)
    clip_norm: float = setting(
        1.0, "Gradients of a larger norm are scaled down to this norm.", above=0
    )
    ema_decay: float = setting(
        0.998,
        "Decay of the moving average of the weights that is scored and kept; 0 keeps the weights"
        " themselves.",
        low=0,
        below=1,
    )
    # Dropout
    dropout_word: float = setting(0.1, "Chance of hiding a word's embedding.", low=0, below=1)
    dropout_input: float = setting(0.3, "Dropout on the vectors of words.", low=0, below=1)
    dropout_hidden: float = setting(0.3, "Dropout between layers.", low=0, below=1)
    dropout_output: float = setting(0.3, "Dropout on the last layer's states.", low=0, below=1)
    # The run
    log_every: int = setting(20, "Steps between records in metrics.jsonl.", low=1, may_change=True)
    seed: int = setting(
        1, "Seed of weights, masks and the order of examples.", low=0, high=2**31 - 1
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        self.architecture()  # refuses dilations that are none

    def architecture(self) -> SentenceArchitecture:
        """The network that these settings ask for."""
        return SentenceArchitecture(
            self.cell,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            parse_dilations(self.dilations),
            self.word_size,
            self.character_size,
            self.spelling_size,
        )

    def dropout(self) -> SentenceDropout:
        """The chances of dropping."""
        return SentenceDropout(
            self.dropout_word, self.dropout_input, self.dropout_hidden, self.dropout_output
        )


@dataclass(frozen=True)
class ClassifyConfig(TrainingConfig):
    """Of a classifier."""

    evidence: bool = setting(
        True, "Read with each word how often it and its pair went with each label (naive Bayes)."
    )


@dataclass(frozen=True)
class TagConfig(TrainingConfig):
    """Of a tagger."""

    output_layer: str = setting(
        "softmax", "softmax, or crf, which also learns what follows what.", choices=OUTPUTS
    )
    missed_entity_cost: float = setting(
        0.0,
        "How far an entity's tags must win over O while training; more finds more entities.",
        low=0,
    )

    def architecture(self) -> SentenceArchitecture:
        a = super().architecture()
        return SentenceArchitecture(**{**vars(a), "output": self.output_layer})


@dataclass(frozen=True)
class TranslateConfig(TrainingConfig):
    """Of a translator."""

    label_smoothing: float = setting(
        0.1, "Share of the target spread over all words.", low=0, below=1
    )
