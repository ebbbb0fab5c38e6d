"""Every choice of a training run, in one dataclass that --config and the flags of `captioner train`
fill.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnnkit.errors import UserError
from rnnkit.settings import setting


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; each field is also a flag of `captioner train`."""

    # The network
    encoder: str = setting(
        "efficientnet-lite2", "CNN: efficientnet-lite0|1|2, timm:NAME or torchvision:NAME."
    )
    embedding_size: int = setting(512, "Size of a word embedding.")
    hidden_size: int = setting(512, "Size of the LSTM's state.")
    attention_size: int = setting(256, "Size of the additive attention's inner layer.")
    attention: str = setting("additive", "additive, or none for the plain Show-and-Tell decoder.")
    adaptive: bool = setting(
        False, "Add a sentinel to the attention, so that it can look at nothing."
    )
    tied: bool = setting(True, "Use one matrix for word embeddings and output layer.")
    min_count: int = setting(5, "Words seen less often in the training captions become <unk>.")
    init: str = setting("", "Start from this checkpoint's weights and vocabulary.")
    # Regularisation
    dropout: float = setting(0.5, "Dropout on embeddings, region values and the output layer.")
    label_smoothing: float = setting(0.1, "Share of the target spread over all words.")
    attention_penalty: float = setting(
        0.0, "Weight of the doubly stochastic penalty (Xu et al. 2015, eq. 14)."
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases and norms have none.")
    sampling_rate: float = setting(
        0.0,
        "Scheduled sampling: chance of feeding the model's own word, reached linearly by the last"
        " epoch.",
    )
    ema_decay: float = setting(
        0.998,
        "Decay of the moving average of the weights that is validated and kept; 0 switches it off.",
    )
    mirror: bool = setting(
        True, "Mirror photos at random, except where a caption says left or right."
    )
    crops: int = setting(
        0,
        "Random crops of each photo that are cached and learnt from, beside the photo and its"
        " mirror image.",
    )
    crop_scale: float = setting(0.6, "Smallest share of a photo's area that a crop keeps.")
    # Cross-entropy phase
    epochs: int = setting(10, "Epochs of cross-entropy.")
    batch_size: int = setting(32, "Photos per step, over all processes.")
    captions_per_photo: int = setting(5, "Captions drawn for each photo of a batch.")
    learning_rate: float = setting(1e-3, "Peak learning rate of AdamW for the decoder.")
    warmup_steps: int = setting(300, "Steps of linear warm-up before the cosine decay.")
    clip_norm: float = setting(1.0, "Gradients of a larger norm are scaled down to this norm.")
    # Fine-tuning the encoder
    fine_tune_stages: int = setting(
        0,
        "How many of the CNN's last stages are trained too; the output of those before is cached.",
    )
    fine_tune_from: int = setting(2, "Epoch at which the CNN begins to learn.")
    encoder_learning_rate: float = setting(2e-4, "Peak learning rate of AdamW for the CNN.")
    stochastic_depth: float = setting(
        0.0, "Chance of skipping a residual block of the CNN in training."
    )
    # Self-critical phase (Rennie et al. 2017; baseline of Luo 2020)
    self_critical_epochs: int = setting(
        0, "Epochs of self-critical training, from the best cross-entropy checkpoint on."
    )
    self_critical_learning_rate: float = setting(
        2e-5, "Peak learning rate of this phase, for the decoder; the CNN is frozen."
    )
    self_critical_samples: int = setting(
        5, "Captions sampled for each photo; the others' mean reward is the baseline."
    )
    cross_entropy_share: float = setting(
        0.1, "Weight of the cross-entropy loss beside the self-critical one."
    )
    # Validation and running
    beam_size: int = setting(3, "Beam size of the validation captions.")
    max_length: int = setting(20, "Longest caption in words, in validation and sampling.")
    length_penalty: float = setting(0.6, "Exponent of the length by which beam scores are divided.")
    validation_photos: int = setting(0, "Photos of each data set to validate on; 0 takes all.")
    mixed_precision: str = setting("bf16", "bf16 or no.")
    seed: int = setting(1, "Seed of all randomness.")

    def check(self) -> None:
        """Raises: UserError naming a value that makes no sense."""
        for name in (
            "batch_size",
            "captions_per_photo",
            "beam_size",
            "max_length",
            "min_count",
            "hidden_size",
            "embedding_size",
            "attention_size",
        ):
            if not 1 <= getattr(self, name) <= 1_000_000:
                raise UserError(f"{name} must be from 1 to 1000000, not {getattr(self, name)}")
        for name in (
            "crops",
            "epochs",
            "self_critical_epochs",
            "fine_tune_stages",
            "warmup_steps",
            "validation_photos",
            "weight_decay",
            "attention_penalty",
        ):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in (
            "dropout",
            "label_smoothing",
            "sampling_rate",
            "stochastic_depth",
            "ema_decay",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if self.epochs + self.self_critical_epochs < 1:
            raise UserError("nothing to do: epochs and self_critical_epochs are both 0")
        if self.self_critical_epochs and self.self_critical_samples < 2:
            raise UserError(
                "self_critical_samples must be at least 2: the baseline is the mean of the others"
            )
        for name in (
            "learning_rate",
            "encoder_learning_rate",
            "self_critical_learning_rate",
            "clip_norm",
        ):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.validation_photos == 1:
            raise UserError(
                "validation_photos must be 0 (all) or at least 2: CIDEr-D compares photos"
            )
        if self.attention not in ("additive", "none"):
            raise UserError(f"attention must be additive or none, not '{self.attention}'")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if self.mixed_precision not in ("bf16", "no"):
            raise UserError(f"mixed_precision must be bf16 or no, not '{self.mixed_precision}'")
        if not 0 < self.crop_scale <= 1:
            raise UserError(f"crop_scale must be in (0, 1], not {self.crop_scale}")
