"""Every choice of a training run, in one dataclass that --config and the flags of `charlm train`
fill.
"""

from __future__ import annotations

from dataclasses import dataclass

from charlm.network import MAX_LAYERS, MAX_SIZE, Architecture, DropoutRates
from rnnkit.errors import UserError
from rnnkit.layers import LAYERS
from rnnkit.settings import check_ranges, setting

BUNDLED = "bundled"  # a value of init


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; each field is also a flag. The defaults suit 1 MB of text.

    Raises: UserError for a value out of its range.
    """

    # The network
    cell: str = setting(
        "lstm", "Recurrent cell: rnn, gru or lstm.", choices=tuple(LAYERS), from_init=True
    )
    hidden_size: int = setting(
        512, "Units of each recurrent layer.", low=1, high=MAX_SIZE, from_init=True
    )
    num_layers: int = setting(2, "Recurrent layers.", low=1, high=MAX_LAYERS, from_init=True)
    dilations: str = setting(
        "1",
        "Steps that each layer reaches back, from the bottom, for example 1,2,4.",
        from_init=True,
    )
    bidirectional: bool = setting(False, "Not for a language model, which cannot look ahead.")
    embedding_size: int = setting(
        128, "Size of a character's embedding.", low=1, high=MAX_SIZE, from_init=True
    )
    init: str = setting(
        "",
        "Start from this checkpoint's weights, sizes and characters; new characters are added."
        " bundled is the model that comes with the package.",
    )
    tied: bool = setting(
        False,
        "Use the embedding's matrix for the output layer (sizes must be equal).",
        from_init=True,
    )
    # The text
    min_count: int = setting(1, "Characters seen less often become one unknown symbol.", low=1)
    max_vocabulary: int = setting(
        5000, "Keep this many of the most frequent characters; the others become unknown.", low=1
    )
    held_out: float = setting(
        0.1,
        "Fraction of the text, at its end, held out to choose the best weights; 0 trains on all of"
        " it and keeps the last weights.",
        low=0,
        below=1,
    )
    sequence_length: int = setting(
        128, "Characters in a chunk: how far back gradients flow.", low=1
    )
    batch_size: int = setting(64, "Parallel streams.", low=1)
    random_start: bool = setting(True, "Start the streams elsewhere in the text in each epoch.")
    reset_chance: float = setting(
        0.0,
        "Chance, for each stream and chunk, that the state starts from zero instead of carrying"
        " over.",
        low=0,
        below=1,
    )
    # The optimiser
    epochs: int = setting(
        30,
        "Passes over the text. --resume may raise it: the learning rate then follows the schedule"
        " of a run that was planned so long.",
        low=1,
        may_grow=True,
    )
    max_minutes: float = setting(
        0.0, "Shorten the schedule so that it ends within this time; 0 sets no limit.", low=0
    )
    learning_rate: float = setting(0.002, "Peak learning rate of AdamW.", above=0)
    final_learning_rate: float = setting(0.00002, "Learning rate at the end of the cosine.", low=0)
    warmup_steps: int = setting(
        200, "Steps of linear warm-up before the cosine decay, at most half of all steps.", low=0
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases have none.", low=0)
    clip_norm: float = setting(
        1.0, "Gradients of a larger norm are scaled down to this norm.", above=0
    )
    label_smoothing: float = setting(
        0.0, "Share of the target spread over all characters.", low=0, below=1
    )
    ema_decay: float = setting(
        0.0,
        "Decay of the moving average of the weights that is scored and kept; 0 keeps the weights"
        " themselves.",
        low=0,
        below=1,
        formerly="average_decay",
    )
    # Dropout
    dropout_token: float = setting(
        0.0, "Chance of blanking a whole input character.", low=0, below=1
    )
    dropout_input: float = setting(0.0, "Dropout on the embedding.", low=0, below=1)
    dropout_hidden: float = setting(0.0, "Dropout between layers.", low=0, below=1)
    dropout_output: float = setting(0.0, "Dropout on the last hidden state.", low=0, below=1)
    dropout_weight: float = setting(0.0, "Dropout of hidden-to-hidden weights.", low=0, below=1)
    # Distillation
    teachers: str = setting(
        "",
        "Model folders, separated by commas, whose mean prediction is learned beside the text.",
    )
    teacher_weight: float = setting(
        0.5, "Share of the teachers' prediction in the target.", low=0, below=1
    )
    # The run
    mixed_precision: str = setting(
        "no",
        "bf16 or no.",
        choices=("bf16", "no"),
        formerly="precision",
        former_values={"float32": "no", "bfloat16": "bf16"},
    )
    evaluate_every: int = setting(1, "Epochs between scores on the held-out text.", low=1)
    save_minutes: float = setting(
        2.0,
        "Minutes between saves of the state that --resume continues from.",
        low=0,
        may_change=True,
    )
    log_every: int = setting(20, "Steps between records in metrics.jsonl.", low=1, may_change=True)
    seed: int = setting(1, "Seed of weights, masks and starts.", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.bidirectional:
            raise UserError(
                "a language model cannot be bidirectional: it writes one character after another,"
                " and reading backwards it would see the one that it is to predict"
            )
        self.architecture(1)  # refuses tied weights of different sizes, and what are no dilations

    def architecture(self, vocabulary_size: int) -> Architecture:
        """The network that these settings ask for."""
        return Architecture(
            vocabulary_size,
            self.cell,
            self.hidden_size,
            self.num_layers,
            self.embedding_size,
            self.tied,
            self.dilations,
        )

    def dropout(self) -> DropoutRates:
        """The chances of dropping."""
        return DropoutRates(
            self.dropout_token,
            self.dropout_input,
            self.dropout_hidden,
            self.dropout_output,
            self.dropout_weight,
        )
