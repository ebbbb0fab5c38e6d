"""Teachers: trained models whose mean prediction a new model learns beside the text.

Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from charlm.model import CharLM
from charlm.vocabulary import CharacterVocabulary
from rnnkit.errors import UserError


class Teachers:
    """Models that read the same streams as the one in training, each with its own state.

    Raises: UserError for a folder that is not a checkpoint or has another vocabulary.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        vocabulary: CharacterVocabulary,
        batch_size: int,
        device: torch.device,
    ) -> None:
        models = [CharLM.load(folder, device=str(device)) for folder in folders]
        for folder, model in zip(folders, models, strict=True):
            if model.vocabulary != vocabulary:
                raise UserError(
                    f"the teacher '{folder}' has another vocabulary than this text",
                    hint="train it on the same text",
                )
        self.networks = [model.network for model in models]
        self.states = [network.zero_state(batch_size) for network in self.networks]

    @torch.no_grad()
    def probabilities(self, ids: torch.Tensor, kept: torch.Tensor | float) -> torch.Tensor:
        """Mean probability of each next character.

        Args:
            ids: (time, batch).
            kept: multiplies the states before reading; 0 where a stream starts from zero.

        Returns: (time, batch, vocabulary).
        """
        total: torch.Tensor | float = 0.0
        for index, network in enumerate(self.networks):
            logits, self.states[index] = network(ids, self.states[index] * kept)
            total = total + logits.float().softmax(-1)
        assert isinstance(total, torch.Tensor)
        return total / len(self.networks)
