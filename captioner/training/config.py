"""Every choice of a training run, in one dataclass that --config and the flags of `captioner train`
fill.
"""

from __future__ import annotations

from dataclasses import dataclass

from rnnkit.errors import UserError
from rnnkit.settings import check_ranges, setting

LARGEST = 1_000_000
BUNDLED = "bundled"  # a value of init
LENGTH_PENALTY, GENDER_CLARITY = 0.6, 0.95  # of runs that start from nothing


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; each field is also a flag of `captioner train`.

    Raises: UserError naming a value that makes no sense.
    """

    # The network
    encoder: str = setting(
        "efficientnet-lite2", "CNN: efficientnet-lite0|1|2, timm:NAME or torchvision:NAME."
    )
    encoder_weights: str = setting(
        "", "Safetensors file with the weights of a CNN of timm, in place of the published ones."
    )
    image_size: int = setting(
        0,
        "Pixels a side of what the CNN sees; 0 takes what its weights were trained with.",
        low=0,
        high=4096,
    )
    colours: bool = setting(
        False, "Tell the decoder the colours of each region, beside the CNN's channels."
    )
    embedding_size: int = setting(
        512, "Size of a word embedding.", low=1, high=LARGEST, from_init=True
    )
    hidden_size: int = setting(
        512, "Size of the LSTM's state.", low=1, high=LARGEST, from_init=True
    )
    attention_size: int = setting(
        256, "Size of the additive attention's inner layer.", low=1, high=LARGEST, from_init=True
    )
    attention: str = setting(
        "additive",
        "additive, or none for the plain Show-and-Tell decoder.",
        choices=("additive", "none"),
        from_init=True,
    )
    adaptive: bool = setting(
        False, "Add a sentinel to the attention, so that it can look at nothing.", from_init=True
    )
    tied: bool = setting(
        True, "Use one matrix for word embeddings and output layer.", from_init=True
    )
    min_count: int = setting(
        5,
        "Words seen less often in the training captions become <unk>.",
        low=1,
        high=LARGEST,
        from_init=True,
    )
    init: str = setting(
        "",
        "Start from this checkpoint's weights, CNN, sizes, vocabulary and preprocessing; bundled is"
        " the captioner that comes with the package.",
    )
    # Regularisation
    dropout: float = setting(
        0.5, "Dropout on embeddings, region values and the output layer.", low=0, below=1
    )
    label_smoothing: float = setting(
        0.1, "Share of the target that is spread over all words.", low=0, below=1
    )
    attention_penalty: float = setting(
        0.0, "Weight of the doubly stochastic penalty (Xu et al. 2015, eq. 14).", low=0
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay; biases and norms have none.", low=0)
    sampling_rate: float = setting(
        0.0,
        "Scheduled sampling: chance of feeding the model's own word, reached linearly by the last"
        " epoch.",
        low=0,
        below=1,
    )
    ema_decay: float = setting(
        0.998,
        "Decay of the moving average of the weights that is validated and kept; 0 switches it off.",
        low=0,
        below=1,
    )
    mirror: bool = setting(
        True, "Mirror photos at random, except where a caption says left or right."
    )
    crops: int = setting(
        0,
        "Random crops of each photo that are cached and learned from, beside the photo and its"
        " mirror image.",
        low=0,
    )
    crop_scale: float = setting(
        0.6, "Smallest share of a photo's area that a crop keeps.", above=0, high=1
    )
    # Cross-entropy phase
    epochs: int = setting(
        10,
        "Epochs of cross-entropy. --resume may raise it: the learning rate then follows the"
        " schedule of a run that was planned so long.",
        low=0,
        may_grow=True,
    )
    epoch_parts: int = setting(
        1,
        "Parts that the photos are dealt into; each epoch takes one of them, and then saves.",
        low=1,
        high=LARGEST,
    )
    batch_size: int = setting(
        32,
        "Photos per step, over all processes; more of those that have fewer captions.",
        low=1,
        high=LARGEST,
    )
    captions_per_photo: int = setting(
        5,
        "Captions drawn for each photo of a batch; all of them if it has fewer.",
        low=1,
        high=LARGEST,
    )
    cross_entropy_references: int = setting(
        1,
        "Captions that a photo must have to be learned from in the cross-entropy epochs.",
        low=1,
        high=LARGEST,
    )
    learning_rate: float = setting(1e-3, "Peak learning rate of AdamW for the decoder.", above=0)
    warmup_steps: int = setting(
        300, "Steps of linear warm-up before the cosine decay, at most half of all steps.", low=0
    )
    clip_norm: float = setting(
        1.0, "Gradients of a larger norm are scaled down to this norm.", above=0
    )
    # Fine-tuning the encoder
    fine_tune_stages: int = setting(
        0,
        "How many of the CNN's last stages are trained too; the output of those before is cached.",
        low=0,
    )
    fine_tune_from: int = setting(
        2, "Epoch at which the CNN starts to learn; those before are quicker."
    )
    encoder_learning_rate: float = setting(
        2e-4, "Peak learning rate of AdamW for the CNN.", above=0
    )
    stochastic_depth: float = setting(
        0.0, "Chance of skipping a residual block of the CNN in training.", low=0, below=1
    )
    # Self-critical phase (Rennie et al. 2017; baseline of Luo 2020)
    self_critical_epochs: int = setting(
        0, "Epochs of self-critical training, from the best cross-entropy checkpoint on.", low=0
    )
    self_critical_learning_rate: float = setting(
        2e-5, "Peak learning rate of this phase, for the decoder; the CNN is frozen.", above=0
    )
    self_critical_samples: int = setting(
        5, "Captions sampled for each photo; the others' mean reward is the baseline."
    )
    self_critical_references: int = setting(
        1, "Captions that a photo must have to be learned from in this phase.", low=1, high=LARGEST
    )
    support_reward: float = setting(
        0.0,
        "Weight, beside CIDEr-D, of the share of a sample's content words that people use too.",
        low=0,
    )
    gender_penalty: float = setting(
        0.0,
        "What a sample's reward loses for each word of a gender that no reference mentions.",
        low=0,
    )
    cross_entropy_share: float = setting(
        0.1, "Weight of the cross-entropy loss beside the self-critical one."
    )
    # Validation and running
    beam_size: int = setting(3, "Beam size of the validation captions.", low=1, high=LARGEST)
    max_length: int = setting(
        20, "Longest caption in words, in validation and sampling.", low=1, high=LARGEST
    )
    length_penalty: float | None = setting(
        None,
        "Exponent of the length by which beam scores are divided; that of --init if not given, else"
        f" {LENGTH_PENALTY}.",
    )
    gender_clarity: float | None = setting(
        None,
        "Captions state a person's gender only if it has more than this share of the probability of"
        " both genders together; 0 leaves the choice to the network. That of --init if not given,"
        f" else {GENDER_CLARITY}.",
        low=0,
        high=1,
    )
    validation_photos: int = setting(
        0, "How many photos of each data set to validate on; 0 takes them all.", low=0
    )
    mixed_precision: str = setting("bf16", "bf16 or no.", choices=("bf16", "no"))
    seed: int = setting(1, "Seed of all randomness.", low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.epochs + self.self_critical_epochs < 1:
            raise UserError("nothing to do: epochs and self-critical-epochs are both 0")
        if self.self_critical_epochs and self.self_critical_samples < 2:
            raise UserError(
                "self-critical-samples must be at least 2: the baseline is the mean of the others"
            )
        if self.validation_photos == 1:
            raise UserError(
                "validation-photos must be 0 (all) or at least 2: CIDEr-D compares photos"
            )
