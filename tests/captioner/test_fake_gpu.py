"""What runs on a GPU, without one: nothing is left on the CPU, and no operation mixes devices."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from captioner import Captioner, Decoding
from captioner.decoding.generate import log_prob_step
from captioner.decoding.sampling import sample
from captioner.network.backbones import create_encoder
from captioner.network.decoder import Decoder, DecoderConfig
from captioner.network.encoder import Encoder
from captioner.network.vocabulary import END, SPECIAL, START, Vocabulary
from captioner.training import trainer
from captioner.training.config import TrainingConfig
from captioner.training.loss import CaptionModel
from rnnkit import beam_search
from rnnkit.training import moving_average, weight_decay_groups
from tests.fake_gpu import CUDA, devices, fake_gpu, without_gradients

WORDS = (*SPECIAL, *(f"word{number}" for number in range(20)))


@pytest.fixture(scope="module")
def original() -> Encoder:
    return create_encoder("efficientnet-lite0")


@pytest.fixture
def encoder(original: Encoder) -> Encoder:
    """One that can be moved."""
    return copy.deepcopy(original)


def make_decoder(encoder: Encoder, **choices: Any) -> Decoder:
    return Decoder(DecoderConfig(len(WORDS), encoder.channels, 8, 12, 6, **choices))


@pytest.mark.parametrize("choices", [{}, {"adaptive": True, "tied": False}, {"attention": "none"}])
def test_photos_are_captioned_where_the_network_is(
    choices: dict[str, Any], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[torch.device] = []
    hypotheses = beam_search._Best.hypotheses

    def noting(self: beam_search._Best) -> Any:
        searched.extend(t.device for t in (self.scores, self.totals, self.tokens, self.finished))
        return hypotheses(self)

    monkeypatch.setattr(beam_search._Best, "hypotheses", noting)
    decoder, info = make_decoder(encoder, **choices), {"decoding": {"repeatable": ["word1"]}}
    with fake_gpu():
        captioner = Captioner(
            encoder,
            decoder,
            Vocabulary(WORDS),
            info=info,
            device=CUDA,
            backend="torch",
            weights="w",
        )
        assert devices(encoder) == devices(decoder) == {CUDA}
        size = captioner.preprocessing.size
        features = captioner.encode(np.zeros((2, size, size, 3), np.uint8))
        assert (features.device, features.dtype) == (CUDA, torch.float32)
        assert len(captioner.caption_features(features, Decoding(max_length=4))) == 2
        assert searched == [CUDA] * 4
        state, memory = decoder.start(features)
        ids, totals = sample(
            log_prob_step(decoder), state, memory, start=START, end=END, num_samples=3,
            max_length=4, top_p=0.9,
        )  # fmt: skip
        assert ids.device == totals.device == CUDA and totals.shape[:2] == (2, 3)


@pytest.mark.parametrize("settings", [{}, {"attention_penalty": 1.0, "sampling_rate": 0.5}])
def test_a_step_of_training_in_bf16_stays_on_the_gpu(
    settings: dict[str, Any], encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(encoder="efficientnet-lite0", fine_tune_stages=1, **settings)
    encoder.unfreeze(1)
    model = CaptionModel(encoder, make_decoder(encoder), 1)
    grid = encoder.stages[:-1](torch.zeros(1, 3, 224, 224)).permute(0, 2, 3, 1)
    words = torch.tensor([[[START, 5, 6, END], [START, 5, END, 0]]] * 2)
    batch = (np.arange(2), torch.zeros(2, *grid.shape[1:]).half(), words, 5)
    monkeypatch.setattr(trainer, "epoch_batches", lambda *_: iter([batch]))
    monkeypatch.setattr(trainer, "epoch_steps", lambda *_: 1)
    logits: list[torch.dtype] = []
    project = model.decoder.project

    def noting(outputs: torch.Tensor) -> torch.Tensor:
        logits.append(project(outputs).dtype)
        return project(outputs)

    monkeypatch.setattr(model.decoder, "project", noting)
    with fake_gpu():
        model.to(CUDA)
        average = moving_average(model, 0.9)
        parts = [(model.decoder, "decoder"), (model.encoder, "encoder")]
        optimizer = torch.optim.AdamW(
            [group for part, name in parts for group in weight_decay_groups(part, 0.1, part=name)],
            fused=True,
        )
        run: Any = SimpleNamespace(
            config=config, model=model, average=average, optimizer=optimizer, training=[0, 0],
            progress=SimpleNamespace(step=0),
            wrapped=torch.autocast("cuda", torch.bfloat16)(model.forward),
            accelerator=SimpleNamespace(
                device=CUDA, process_index=0, num_processes=1, is_main_process=True,
                backward=without_gradients(model),
                clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
                reduce=lambda value, reduction: value,
            ),
        )  # fmt: skip
        means = trainer.train_one_epoch(run, 2, trainer._cross_entropy)
        assert (
            set(means) == {"loss", "gradient_norm"} and logits and set(logits) == {torch.bfloat16}
        )
        assert devices(model, optimizer) == {CUDA}
        assert {parameter.device for parameter in average.module.parameters()} == {CUDA}
        assert all(isinstance(parameter, FakeTensor) for parameter in average.module.parameters())


def test_the_fake_gpu_notices_a_tensor_that_was_left_on_the_cpu(encoder: Encoder) -> None:
    decoder = make_decoder(encoder)
    with fake_gpu():
        decoder.to(CUDA)
        with pytest.raises(RuntimeError, match="device"):
            decoder.start(torch.zeros(1, 49, encoder.channels, device="cpu"))
