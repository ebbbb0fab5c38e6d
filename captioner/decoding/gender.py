"""Man, woman or person: a caption tells a gender only where the decoder is clear about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from captioner.metrics.truth import gender, singular
from captioner.network.vocabulary import Vocabulary

GENDERS = ("male", "female")
PRONOUNS = {
    "he": "male", "him": "male", "his": "male", "himself": "male",
    "she": "female", "her": "female", "hers": "female", "herself": "female",
}  # fmt: skip
_YOUNG = frozenset(("boy", "son", "brother", "girl", "daughter", "sister"))
_NEUTRAL_PRONOUNS = {
    "he": "they", "him": "them", "his": "their", "himself": "themselves",
    "she": "they", "her": "their", "hers": "theirs", "herself": "themselves",
}  # fmt: skip


class ClearGender(nn.Module):
    """Leaves a word of one gender out where the other gender is likely too.

    A decoder that has to choose between "man" and "woman" chooses the likelier, however little it
    sees of the person. Here, where the words of one gender have no more than a given share of the
    probability of those of both, none of them is used, and each one's probability goes to the
    neutral word: whoever is a man or a woman is a person, a boy or a girl is a child.

    Args:
        vocabulary: words whose neutral word is not in it are left alone.
    """

    ids: Tensor
    genders: Tensor
    neutral: Tensor
    moves: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        index = {word: place for place, word in enumerate(vocabulary.words)}
        words = [word for word in index if _gender(word) and _neutral(word) in {"", *index}]
        neutral = sorted({_neutral(word) for word in words} - {""})
        genders = torch.tensor([[_gender(word) == each for each in GENDERS] for word in words])
        moves = torch.tensor([[_neutral(word) == other for other in neutral] for word in words])
        self.register_buffer("ids", torch.tensor([index[word] for word in words]).long())  # (G,)
        self.register_buffer("neutral", torch.tensor([index[word] for word in neutral]).long())
        # 1 for a word's gender, (G, 2), and for what its probability goes to, (G, N)
        self.register_buffer("genders", genders.float().view(len(words), len(GENDERS)))
        self.register_buffer("moves", moves.float().view(len(words), len(neutral)))

    @property
    def applies(self) -> bool:
        """Whether the vocabulary has words of both genders."""
        return bool((self.genders.sum(dim=0) > 0).all())

    def at(self, clarity: float) -> Callable[[Tensor], Tensor] | None:
        """The rule with a clarity, for logits alone; None where it changes nothing."""
        return partial(self, clarity=clarity) if clarity and self.applies else None

    def forward(self, logits: Tensor, clarity: float) -> Tensor:
        """The logits (B, K, V) of the next word, those of an unclear gender moved.

        Args:
            clarity: what share of both genders' probability a gender must exceed.
        """
        own, neutral = logits[..., self.ids], logits[..., self.neutral]  # (B, K, G), (B, K, N)
        highest = logits.amax(dim=-1, keepdim=True)  # (B, K, 1)
        weights = (own - highest).exp()  # (B, K, G)
        sums = weights @ self.genders  # (B, K, 2)
        unclear = (sums <= clarity * sums.sum(dim=-1, keepdim=True)).to(sums.dtype)
        left_out = unclear @ self.genders.T  # (B, K, G) 1 for the words that are not used
        moved = (weights * left_out) @ self.moves  # (B, K, N)
        neutral = ((neutral - highest).exp() + moved).log() + highest
        own = own.masked_fill(left_out > 0, -torch.inf)
        return logits.index_copy(-1, self.ids, own).index_copy(-1, self.neutral, neutral)


def _gender(word: str) -> str:
    return PRONOUNS.get(word) or gender(singular(word))


def _neutral(word: str) -> str:
    """What stands for a gendered word; nothing for "male" and "female", which can be left out."""
    lemma = singular(word)
    if word in PRONOUNS or lemma in ("male", "female"):
        return _NEUTRAL_PRONOUNS.get(word, "")
    one, several = ("child", "children") if lemma in _YOUNG else ("person", "people")
    return one if lemma == word else several
