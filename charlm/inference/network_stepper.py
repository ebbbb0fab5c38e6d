"""The one-character step by the network itself: slower, and for any network, dilated ones too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.network import Network


class NetworkStepper:
    """See `charlm.inference.base.Stepper`."""

    def __init__(self, network: Network, batch_size: int) -> None:
        self.network, self.batch_size = network, batch_size
        self.state = network.zero_state(batch_size)

    @torch.inference_mode()
    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        batch = torch.from_numpy(ids)[None].to(self.state.device)  # (1, B)
        logits, self.state = self.network(batch, self.state)
        found: NDArray[np.float32] = logits[0].float().cpu().numpy()
        return found

    def reset(self) -> None:
        self.state = self.network.zero_state(self.batch_size)
