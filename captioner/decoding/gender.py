"""Man, woman or person: a caption tells a gender only where the decoder is clear about it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captioner.metrics.truth import gender, singular
from captioner.network.vocabulary import Vocabulary

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
    neutral: Tensor
    moves: Tensor

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        index = {word: place for place, word in enumerate(vocabulary.words)}
        words = sorted(
            (word for word in index if _gender(word) and _neutral(word) in {"", *index}),
            key=_gender,
            reverse=True,
        )  # male ones first
        neutral = sorted({_neutral(word) for word in words} - {""})
        self.males = sum(_gender(word) == "male" for word in words)
        # (N, G): 0 where a word's probability goes to a neutral one
        moves = torch.full((len(neutral), len(words)), -torch.inf)
        for place, word in enumerate(words):
            if _neutral(word):
                moves[neutral.index(_neutral(word)), place] = 0
        self.register_buffer("ids", torch.tensor([index[word] for word in words]).long())  # (G,)
        self.register_buffer("neutral", torch.tensor([index[word] for word in neutral]).long())
        self.register_buffer("moves", moves)

    @property
    def applies(self) -> bool:
        """Whether the vocabulary has words of both genders."""
        return 0 < self.males < len(self.ids)

    def forward(self, logits: Tensor, clarity: float) -> Tensor:
        """The logits (B, K, V) of the next word, those of an unclear gender moved.

        Args:
            clarity: what share of both genders' probability a gender must exceed.
        """
        own = logits[..., self.ids]  # (B, K, G)
        male, female = own[..., : self.males], own[..., self.males :]
        odds = male.logsumexp(-1, keepdim=True) - female.logsumexp(-1, keepdim=True)  # (B, K, 1)
        unclear = torch.cat(
            [
                (odds.sigmoid() <= clarity).expand_as(male),
                ((-odds).sigmoid() <= clarity).expand_as(female),
            ],
            dim=-1,
        )  # (B, K, G)
        moved = own.masked_fill(~unclear, -torch.inf).unsqueeze(-2) + self.moves  # (B, K, N, G)
        neutral = torch.cat([logits[..., self.neutral].unsqueeze(-1), moved], dim=-1)
        return logits.index_copy(-1, self.ids, own.masked_fill(unclear, -torch.inf)).index_copy(
            -1, self.neutral, neutral.logsumexp(-1)
        )


def _gender(word: str) -> str:
    return PRONOUNS.get(word) or gender(singular(word))


def _neutral(word: str) -> str:
    """What stands for a gendered word; nothing for "male" and "female", which can be left out."""
    lemma = singular(word)
    if word in PRONOUNS or lemma in ("male", "female"):
        return _NEUTRAL_PRONOUNS.get(word, "")
    one, several = ("child", "children") if lemma in _YOUNG else ("person", "people")
    return one if lemma == word else several
