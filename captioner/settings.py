"""Every choice of a training run, with its reason; the file and the command line fill the same dataclass."""

from __future__ import annotations

from dataclasses import dataclass

from rnnkit.errors import UserError
from rnnkit.settings import setting


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; each field is also a flag of `captioner train`."""

    # The network
    encoder: str = setting("efficientnet-lite2", "CNN: efficientnet-lite0|1|2, timm:NAME or torchvision:NAME")
    embedding_size: int = setting(512, "size of a word embedding")
    hidden_size: int = setting(512, "size of the LSTM's state")
    attention_size: int = setting(256, "size of the additive attention's inner layer")
    attention: str = setting("additive", "additive, or none for the plain Show-and-Tell decoder")
    adaptive: bool = setting(False, "add a sentinel to the attention, so it can look at nothing")
    tied: bool = setting(True, "one matrix for word embeddings and output layer")
    min_count: int = setting(5, "words seen less often in the training captions become <unk>")
    init: str = setting("", "start from this checkpoint's weights and vocabulary")
    # Regularisation
    dropout: float = setting(0.5, "on embeddings, region values and the output layer")
    label_smoothing: float = setting(0.1, "share of the target spread over all words")
    attention_penalty: float = setting(0.0, "weight of the doubly stochastic penalty (Xu et al. 2015, eq. 14)")
    weight_decay: float = setting(0.01, "AdamW's decoupled weight decay")
    sampling_rate: float = setting(0.0, "scheduled sampling: chance of feeding the model's own word, reached linearly by the last epoch")
    ema_decay: float = setting(0.998, "moving average of the weights that is validated and kept; 0 switches it off")
    mirror: bool = setting(True, "mirror photos at random, except where a caption says left or right")
    crops: int = setting(0, "random crops of each photo that are cached and learnt from, beside the photo and its mirror image")
    crop_scale: float = setting(0.6, "smallest share of a photo's area that a crop keeps")
    # Cross-entropy phase
    epochs: int = setting(10, "epochs of cross-entropy")
    batch_size: int = setting(32, "photos a step, over all processes")
    captions_per_photo: int = setting(5, "captions drawn for each photo of a batch")
    learning_rate: float = setting(1e-3, "AdamW's peak for the decoder")
    warmup_steps: int = setting(300, "steps of linear warm-up before the cosine decay")
    clip_norm: float = setting(1.0, "the gradient's norm is clipped to this")
    # Fine-tuning the encoder
    fine_tune_stages: int = setting(0, "last stages of the CNN that are trained too; what the ones before give is cached")
    fine_tune_from: int = setting(2, "epoch at which the CNN begins to learn")
    encoder_learning_rate: float = setting(2e-4, "AdamW's peak for the CNN")
    stochastic_depth: float = setting(0.0, "chance of skipping a residual block of the CNN in training")
    # Self-critical phase (Rennie et al. 2017; baseline of Luo 2020)
    self_critical_epochs: int = setting(0, "epochs of self-critical training after the best cross-entropy checkpoint")
    self_critical_learning_rate: float = setting(2e-5, "AdamW's peak in this phase, for the decoder; the CNN is frozen")
    self_critical_samples: int = setting(5, "captions sampled for each photo; the others' mean reward is the baseline")
    cross_entropy_share: float = setting(0.1, "weight of the cross-entropy loss beside the self-critical one")
    # Validation and running
    beam_size: int = setting(3, "beam of the validation captions")
    max_length: int = setting(20, "longest caption in words, when validating and sampling")
    length_penalty: float = setting(0.6, "exponent of the length that beam scores are divided by")
    validation_photos: int = setting(0, "validate on so many photos of each data set; 0 takes all")
    mixed_precision: str = setting("bf16", "bf16 or no")
    seed: int = setting(1, "source of all randomness")

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
        for name in ("dropout", "label_smoothing", "sampling_rate", "stochastic_depth", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be in [0, 1), not {getattr(self, name)}")
        if self.epochs + self.self_critical_epochs < 1:
            raise UserError("nothing to do: epochs and self_critical_epochs are both 0")
        if self.self_critical_epochs and self.self_critical_samples < 2:
            raise UserError("self_critical_samples must be at least 2: the baseline is the mean of the others")
        for name in ("learning_rate", "encoder_learning_rate", "self_critical_learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.validation_photos == 1:
            raise UserError("validation_photos must be 0 (all) or at least 2: CIDEr-D compares photos")
        if self.attention not in ("additive", "none"):
            raise UserError(f"attention must be additive or none, not '{self.attention}'")
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed must be from 0 to {2**32 - 1}, not {self.seed}")
        if self.mixed_precision not in ("bf16", "no"):
            raise UserError(f"mixed_precision must be bf16 or no, not '{self.mixed_precision}'")
        if not 0 < self.crop_scale <= 1:
            raise UserError(f"crop_scale must be in (0, 1], not {self.crop_scale}")
