"""The token selector, against a literal evaluation with loops over images, patches and heads."""

import torch
from torch.nn import functional

from core.soft_tokens.selector import Selector, shift_margin


def literal(selector: Selector, x: torch.Tensor, alive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Keep probability (B, N) and margin (B, N), patch by patch and head by head."""
    batch, tokens, dim = x.shape
    heads = selector.heads
    d = dim // heads
    prob, margin = torch.zeros(batch, tokens), torch.zeros(batch, tokens)
    for b in range(batch):
        w = torch.stack([selector.importance(x[b, n].reshape(heads, d).mean(1)) for n in range(tokens)])  # (N, H)
        for h in range(heads):
            hidden = []
            for n in range(tokens):
                part = functional.layer_norm(x[b, n, h * d : (h + 1) * d], (d,), eps=1e-5)
                part = part * selector.norm.weight[h] + selector.norm.bias[h]
                hidden.append(functional.gelu(selector.embed.weight[h] @ part + selector.embed.bias[h]))
            shared = torch.stack([hidden[n][d // 2 :] for n in range(tokens) if alive[b, n]]).mean(0)
            for n in range(tokens):
                y = torch.cat((hidden[n][: d // 2], shared))
                y = functional.gelu(selector.reduce.weight[h] @ y + selector.reduce.bias[h])
                y = functional.gelu(selector.mix.weight[h] @ y + selector.mix.bias[h])
                log_t = (selector.score.weight[h] @ y + selector.score.bias[h]).log_softmax(0)
                share = w[n, h] / w[n].sum()
                prob[b, n] += share * log_t[0].exp()
                margin[b, n] += share * (log_t[0] - log_t[1])
    return prob, margin


def made() -> tuple[Selector, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    selector = Selector(32, 2)
    with torch.no_grad():
        for parameter in selector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    alive = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    return selector, torch.randn(2, 5, 32), alive


def test_scores_equal_the_formula_evaluated_head_by_head() -> None:
    selector, x, alive = made()
    with torch.no_grad():
        scores = selector.masked(x, alive)
        prob, margin = literal(selector, x, alive)
    torch.testing.assert_close(scores.keep_prob, prob, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.margin, margin, atol=1e-5, rtol=1e-5)


def test_dead_tokens_do_not_move_the_scores_of_others() -> None:
    selector, x, alive = made()
    changed = x.clone()
    changed[0, 2] = 100.0
    before, after = selector.masked(x, alive), selector.masked(changed, alive)
    torch.testing.assert_close(before.keep_prob[0, [0, 1, 3, 4]], after.keep_prob[0, [0, 1, 3, 4]])


def test_shifting_the_margin_moves_every_token_by_the_same_amount() -> None:
    selector, x, alive = made()
    before = selector.masked(x, alive).margin
    shift_margin(selector, 0.7)
    torch.testing.assert_close(selector.masked(x, alive).margin, before + 0.7, atol=1e-5, rtol=1e-5)


def test_a_selector_has_weights_for_every_head_of_its_own() -> None:
    selector, x, alive = made()
    before = selector.masked(x, alive).per_head
    with torch.no_grad():
        selector.score.bias[1] += torch.tensor([3.0, 0.0])
    after = selector.masked(x, alive).per_head
    torch.testing.assert_close(after[..., 0], before[..., 0])
    assert (after[..., 1] > before[..., 1]).all()
