"""The settings of a training run, which are also the flags of `charlm train`, and the learning rate
they give each step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charlm.network import Architecture, Dropout
from rnnkit.errors import UserError
from rnnkit.settings import setting


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that shapes a run. The defaults suit a megabyte of text."""

    cell: str = setting("lstm", "Recurrent cell: rnn, gru or lstm.")
    hidden_size: int = setting(512, "Units of each recurrent layer.")
    num_layers: int = setting(2, "Recurrent layers.")
    embedding_size: int = setting(128, "Size of a character's embedding.")
    init: str = setting(
        "",
        "Start from this checkpoint: its weights, sizes and characters; those that it lacks are"
        " added.",
    )
    tied: bool = setting(
        False, "The output layer uses the embedding's matrix (sizes must be equal)."
    )
    min_count: int = setting(1, "Characters seen less often become one unknown symbol.")
    max_vocabulary: int = setting(
        5000,
        "Size limit: the most frequent characters are kept, the rest become the unknown symbol.",
    )
    held_out: float = setting(
        0.1,
        "Fraction of the text, at its end, held out to choose the best weights; 0 trains on all of"
        " it and keeps the last weights.",
    )
    sequence_length: int = setting(128, "Characters in a chunk: how far back gradients flow.")
    batch_size: int = setting(64, "Parallel streams.")
    random_start: bool = setting(True, "Start the streams at another place in the text each epoch.")
    reset_chance: float = setting(
        0.0,
        "Chance, for each stream and chunk, that the state starts from zero instead of carrying"
        " over.",
    )
    epochs: int = setting(30, "Passes over the text.")
    max_minutes: float = setting(
        0.0, "Shorten the schedule so that it ends within this time; 0 sets no limit."
    )
    learning_rate: float = setting(0.002, "Peak learning rate of AdamW.")
    final_learning_rate: float = setting(0.00002, "Learning rate at the end of the cosine.")
    warmup_steps: int = setting(200, "Steps over which the learning rate rises to its peak.")
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases have none.")
    clip_norm: float = setting(1.0, "Gradients of a larger norm are scaled down to this norm.")
    label_smoothing: float = setting(0.0, "Share of the target spread over all characters.")
    average_decay: float = setting(
        0.0,
        "Decay of the moving average of the weights that is scored and kept; 0 keeps the weights"
        " themselves.",
    )
    dropout_token: float = setting(0.0, "Chance of blanking a whole input character.")
    dropout_input: float = setting(0.0, "Dropout on the embedding.")
    dropout_hidden: float = setting(0.0, "Dropout between layers.")
    dropout_output: float = setting(0.0, "Dropout on the last hidden state.")
    dropout_weight: float = setting(0.0, "Dropout of hidden-to-hidden weights.")
    teachers: str = setting(
        "",
        "Folders of models, separated by commas, whose mean prediction is learned beside the text.",
    )
    teacher_weight: float = setting(0.5, "Share of the teachers' prediction in the target.")
    precision: str = setting("float32", "float32 or bfloat16 (mixed precision).")
    evaluate_every: int = setting(1, "Epochs between scores on the held-out text.")
    save_minutes: float = setting(
        2.0, "Minutes between saves of the state that --resume continues from."
    )
    log_every: int = setting(20, "Steps between records in metrics.jsonl.")
    seed: int = setting(1, "Seed of weights, masks and starts.")

    def __post_init__(self) -> None:
        for name in (
            "min_count",
            "max_vocabulary",
            "sequence_length",
            "batch_size",
            "epochs",
            "evaluate_every",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in (
            "warmup_steps",
            "weight_decay",
            "final_learning_rate",
            "max_minutes",
            "save_minutes",
        ):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in (
            "held_out",
            "reset_chance",
            "label_smoothing",
            "average_decay",
            "teacher_weight",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"seed must be from 0 to 2147483647, not {self.seed}")
        if self.precision not in ("float32", "bfloat16"):
            raise UserError(f"precision must be float32 or bfloat16, not {self.precision!r}")
        self.architecture(1), self.dropout()

    def architecture(self, vocabulary_size: int) -> Architecture:
        """The network that these settings ask for. Raises: UserError for a size or cell that cannot
        be.
        """
        return Architecture(
            vocabulary_size,
            self.cell,
            self.hidden_size,
            self.num_layers,
            self.embedding_size,
            self.tied,
        )

    def dropout(self) -> Dropout:
        """The chances of dropping. Raises: UserError for one that is out of range."""
        return Dropout(
            self.dropout_token,
            self.dropout_input,
            self.dropout_hidden,
            self.dropout_output,
            self.dropout_weight,
        )


def learning_rate(settings: TrainingSettings, step: int, total_steps: int) -> float:
    """Linear warm-up, then a cosine from the peak to the final learning rate (Loshchilov and Hutter
    2017, equation 5, one period).
    """
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = min(1.0, (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps))
    low, high = settings.final_learning_rate, settings.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * done)) / 2
