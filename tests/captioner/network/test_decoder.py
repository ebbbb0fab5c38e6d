"""The attention LSTM against torch's LSTM cell and against its equations written out one number at
a time.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from captioner.network.decoder import Decoder, DecoderConfig, FastDropout, State

WORDS, CHANNELS, REGIONS = 13, 6, 5
KINDS: list[dict[str, Any]] = [
    {"attention": attention, "adaptive": adaptive, "tied": tied}
    for attention, adaptive, tied in itertools.product(
        ("additive", "none"), (False, True), (False, True)
    )
    if not (attention == "none" and adaptive)
]


def make(seed: int = 0, *, dropout: float = 0.0, **choices: Any) -> Decoder:
    """A small decoder whose sizes all differ, with weights so large that nothing is near zero."""
    torch.manual_seed(seed)
    config = DecoderConfig(
        WORDS,
        CHANNELS,
        embedding_size=7,
        hidden_size=8,
        attention_size=9,
        dropout=dropout,
        **choices,
    )
    decoder = Decoder(config).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return decoder


def draw_features(images: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(images, REGIONS, CHANNELS, generator=torch.Generator().manual_seed(seed))


def draw_words(images: int = 2, sentences: int = 3, length: int = 6, seed: int = 2) -> Tensor:
    """Ids (B, K, T) without padding."""
    return torch.randint(
        1, WORDS, (images, sentences, length), generator=torch.Generator().manual_seed(seed)
    )


# --- shapes and agreement of the two ways to run it -----------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_word_by_word_gives_what_the_whole_sentence_gives(kind: dict[str, Any]) -> None:
    decoder, features, words = make(**kind), draw_features(), draw_words()
    with torch.no_grad():
        logits, attention = decoder(words, features)
        state, memory = decoder.start(features)
        state = State(*(part.expand(-1, 3, -1) for part in state))
        for position in range(words.shape[-1]):
            step_logits, state, step_attention = decoder.step(words[..., position], state, memory)
            torch.testing.assert_close(step_logits, logits[:, :, position], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                step_attention, attention[:, :, position], atol=1e-5, rtol=1e-5
            )
    assert logits.shape == (2, 3, 6, WORDS)
    assert attention.shape == (2, 3, 6, REGIONS if kind["attention"] == "additive" else 0)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_images_and_sentences_do_not_see_each_other(kind: dict[str, Any]) -> None:
    decoder, features, words = make(**kind), draw_features(), draw_words()
    with torch.no_grad():
        together, _ = decoder(words, features)
        for image in range(2):
            for sentence in range(3):
                alone, _ = decoder(
                    words[image : image + 1, sentence : sentence + 1], features[image : image + 1]
                )
                torch.testing.assert_close(
                    alone[0, 0], together[image, sentence], atol=1e-5, rtol=1e-5
                )


def test_a_word_changes_only_what_comes_after_it() -> None:
    decoder, features, words = make(), draw_features(), draw_words()
    other = words.clone()
    other[:, :, 3] = other[:, :, 3] % (WORDS - 1) + 1
    with torch.no_grad():
        before, after = decoder(words, features)[0], decoder(other, features)[0]
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3:] - after[:, :, 3:]).abs().amin(dim=(0, 1, 3)).max() > 0


# --- padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("lengths", [(6, 4, 1), (6, 6, 2), (3, 3, 3), (2, 6, 4), (6, 1, 1)])
def test_padding_changes_nothing_where_there_are_words(
    lengths: tuple[int, ...], kind: dict[str, Any]
) -> None:
    decoder, features, words = make(**kind), draw_features(), draw_words()
    with torch.no_grad():
        whole, looked = decoder(words, features)
        for column, length in enumerate(lengths):
            words[:, column, length:] = 0
        padded, attention = decoder(words, features)
    for column, length in enumerate(lengths):
        torch.testing.assert_close(
            padded[:, column, :length], whole[:, column, :length], atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            attention[:, column, :length], looked[:, column, :length], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("lengths", [(4, 4, 2), (4, 3, 2), (4, 4, 4), (4, 1, 1)])
def test_positions_at_which_no_sentence_has_a_word_change_nothing(lengths: tuple[int, ...]) -> None:
    """One process's share of a batch may hold none of the longest sentences."""
    decoder, features, words = make(), draw_features(), draw_words(length=4)
    for column, length in enumerate(lengths):
        words[:, column, length:] = 0
    with torch.no_grad():
        short, _ = decoder(words, features)
        long, _ = decoder(torch.nn.functional.pad(words, (0, 3)), features)
    assert long.shape[2] == 7
    for column, length in enumerate(lengths):
        torch.testing.assert_close(
            long[:, column, :length], short[:, column, :length], atol=1e-5, rtol=1e-5
        )


def test_gradients_of_padded_sentences_are_those_of_each_alone() -> None:
    decoder, features, words = make(), draw_features(1), draw_words(1)
    words[:, 1, 4:] = words[:, 2, 2:] = 0

    def gradient(sentences: list[Tensor]) -> Tensor:
        decoder.zero_grad()
        for sentence in sentences:
            logits, _ = decoder(sentence, features)
            logits[sentence != 0].square().sum().backward()
        return torch.cat(
            [
                parameter.grad.flatten()
                for parameter in decoder.parameters()
                if parameter.grad is not None
            ]
        )

    alone = gradient([words[:, :1], words[:, 1:2, :4], words[:, 2:, :2]])
    torch.testing.assert_close(gradient([words]), alone, atol=1e-3, rtol=1e-4)


# --- against torch and the equations --------------------------------------------------------------


def test_without_attention_the_recurrence_is_torchs_lstm_cell() -> None:
    decoder, features, words = make(attention="none"), draw_features(), draw_words(sentences=1)
    cell = torch.nn.LSTMCell(7, 8)
    cell.load_state_dict(
        {
            "weight_ih": decoder.word_gates.weight,
            "bias_ih": decoder.word_gates.bias,
            "weight_hh": decoder.from_hidden.weight,
            "bias_hh": decoder.from_hidden.bias,
        }
    )
    with torch.no_grad():
        state, memory = decoder.start(features)
        hidden, memory_cell = state.hidden[:, 0], state.cell[:, 0]
        for position in range(words.shape[-1]):
            hidden, memory_cell = cell(
                decoder.embedding(words[:, 0, position]), (hidden, memory_cell)
            )
            _, state, _ = decoder.step(words[..., position], state, memory)
            torch.testing.assert_close(state.hidden[:, 0], hidden, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(state.cell[:, 0], memory_cell, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_with_attention_the_recurrence_is_torchs_lstm_cell_fed_word_and_gated_context(
    adaptive: bool,
) -> None:
    decoder, features, words = make(adaptive=adaptive), draw_features(1), draw_words(1, 1)
    cell = torch.nn.LSTMCell(7 + 8, 8)
    gates, query_rows, gate_rows = 4 * 8, 9, 8
    weight, bias = decoder.from_hidden.weight, decoder.from_hidden.bias
    cell.load_state_dict(
        {
            "weight_ih": torch.cat(
                [decoder.word_gates.weight, decoder.context_gates.weight], dim=1
            ),
            "bias_ih": decoder.word_gates.bias,
            "weight_hh": weight[:gates],
            "bias_hh": bias[:gates],
        }
    )

    def share(hidden: Tensor, first: int, count: int) -> Tensor:
        return weight[first : first + count] @ hidden + bias[first : first + count]

    with torch.no_grad():
        values = torch.relu(decoder.value(features[0]))  # (R, H)
        hidden, memory_cell = torch.tanh(decoder.initial(values.mean(dim=0))).chunk(2)
        state, memory = decoder.start(features)
        for position in range(words.shape[-1]):
            query = share(hidden, gates, query_rows)
            seen = [*values]
            if adaptive:
                seen.append(
                    torch.sigmoid(share(hidden, gates + query_rows + gate_rows, 8))
                    * torch.tanh(memory_cell)
                )
            energies = [
                float(decoder.energy.weight[0] @ torch.tanh(decoder.key.weight @ value + query))
                for value in seen
            ]
            attention = torch.tensor(energies).softmax(dim=0)
            context = torch.zeros(8)
            for looked, value in zip(attention, seen, strict=True):
                context += looked * value
            context = torch.sigmoid(share(hidden, gates + query_rows, gate_rows)) * context
            word = decoder.embedding(words[0, 0, position])
            hidden, memory_cell = (
                part[0]
                for part in cell(
                    torch.cat([word, context])[None], (hidden[None], memory_cell[None])
                )
            )
            output = torch.tanh(
                decoder.output_hidden(hidden)
                + decoder.output_context.weight @ context
                + decoder.output_word.weight @ word
            )
            logits, state, found = decoder.step(words[..., position], state, memory)
            torch.testing.assert_close(found[0, 0], attention[:REGIONS], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(state.hidden[0, 0], hidden, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(state.cell[0, 0], memory_cell, atol=1e-5, rtol=1e-4)
            wanted = decoder.embedding.weight @ output + decoder.output_bias
            torch.testing.assert_close(logits[0, 0], wanted, atol=1e-4, rtol=1e-4)


# --- attention ------------------------------------------------------------------------------------


def test_attention_sums_to_one() -> None:
    _, attention = make()(draw_words(), draw_features())
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 3, 6))


def test_adaptive_attention_may_look_at_nothing() -> None:
    _, attention = make(adaptive=True)(draw_words(), draw_features())
    total = attention.sum(dim=-1)
    assert (total < 1).all() and (total > 0).all() and (attention >= 0).all()


def test_attention_finds_the_region_that_its_key_stands_out_in() -> None:
    decoder = make()
    with torch.no_grad():
        decoder.value.weight.zero_()
        decoder.value.weight[0, 0] = 1.0  # the first channel is all that is seen
        decoder.value.bias.zero_()
        decoder.key.weight.zero_()
        decoder.key.weight[:, 0] = 3.0
        decoder.energy.weight.fill_(1.0)
        features = torch.zeros(1, REGIONS, CHANNELS)
        features[0, 3, 0] = 5.0
        _, attention = decoder(draw_words(1, 1, 1), features)
    assert int(attention[0, 0, 0].argmax()) == 3 and float(attention[0, 0, 0, 3]) > 0.5


def test_the_order_of_regions_moves_attention_with_it_and_changes_no_word() -> None:
    decoder, features, words = make(), draw_features(), draw_words()
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.no_grad():
        logits, attention = decoder(words, features)
        moved_logits, moved = decoder(words, features[:, order])
    torch.testing.assert_close(moved_logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved, attention[..., order], atol=1e-5, rtol=1e-4)


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_parameter_gets_a_gradient(kind: dict[str, Any]) -> None:
    decoder, words = make(**kind), draw_words()
    logits, _ = decoder(words[..., :-1], draw_features())
    torch.nn.functional.cross_entropy(logits.flatten(0, 2), words[..., 1:].flatten()).backward()
    for name, parameter in decoder.named_parameters():
        assert (
            parameter.grad is not None
            and parameter.grad.isfinite().all()
            and parameter.grad.abs().max() > 0
        ), name


@pytest.mark.parametrize(("tied", "matrices"), [(True, 1), (False, 2)])
def test_tied_word_embeddings_are_the_output_layer(tied: bool, matrices: int) -> None:
    shapes = [tuple(parameter.shape) for parameter in make(tied=tied).parameters()]
    assert shapes.count((WORDS, 7)) == matrices


def test_dropout_acts_in_training_only() -> None:
    decoder, features, words = make(dropout=0.5), draw_features(), draw_words()
    with torch.no_grad():
        assert torch.equal(decoder(words, features)[0], decoder(words, features)[0])
        decoder.train()
        assert not torch.equal(decoder(words, features)[0], decoder(words, features)[0])


@pytest.mark.parametrize("rate", [0.3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_leaves_out_its_share_and_keeps_the_mean_as_torchs_does(
    rate: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    inputs = torch.full((400, 500), 2.0, dtype=dtype, requires_grad=True)
    outputs = FastDropout(rate)(inputs)
    outputs.sum().backward()
    assert outputs.dtype == dtype
    assert (outputs == 0).float().mean().item() == pytest.approx(
        rate, abs=0.005
    )  # more than four standard deviations of 200,000 draws
    assert torch.equal(outputs.unique(), torch.nn.Dropout(rate)(inputs).unique())
    assert inputs.grad is not None and torch.equal(inputs.grad.ne(0), outputs.ne(0))


def test_scheduled_sampling_feeds_the_models_own_words_and_never_replaces_the_first() -> None:
    decoder, features = make(), draw_features()
    one, two = draw_words(seed=3), draw_words(seed=4)
    two[..., 0] = one[..., 0]

    def outputs(words: Tensor, rate: float) -> Tensor:
        torch.manual_seed(5)
        with torch.no_grad():
            found, _ = decoder.read(words, features, sampling_rate=rate)
        return found.view(*words.shape, -1)  # no <pad> among them

    torch.testing.assert_close(outputs(one, 1.0), outputs(two, 1.0))
    assert not torch.allclose(outputs(one, 0.0), outputs(two, 0.0))
    torch.testing.assert_close(outputs(one, 0.5)[:, :, 0], outputs(one, 0.0)[:, :, 0])
    assert not torch.allclose(outputs(one, 0.5), outputs(one, 0.0))
    with torch.no_grad():
        torch.testing.assert_close(decoder.project(outputs(one, 0.0)), decoder(one, features)[0])


def test_the_forget_gate_starts_open() -> None:
    decoder = Decoder(
        DecoderConfig(WORDS, CHANNELS, embedding_size=7, hidden_size=8, attention_size=9)
    )
    assert (
        decoder.word_gates.bias[8:16].tolist() == [1.0] * 8
        and not decoder.word_gates.bias[16:].any()
    )


def test_an_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="attention must be one of"):
        make(attention="multi-head")
