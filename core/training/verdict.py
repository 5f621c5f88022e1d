"""What a run's selectors are worth: do they keep what was asked for, and does their choice beat chance?"""

from collections.abc import Mapping, Sequence

from core.results.text import points

WITHIN = 0.02
"""A selector meets its target when its kept share on the validation photos, unseen in training, is this close."""


def is_met(asked: Sequence[float], kept: Sequence[float]) -> bool:
    """Whether each selector keeps the share of the patches that was asked for, within `WITHIN`."""
    return all(abs(share - target) <= WITHIN + 1e-9 for share, target in zip(kept, asked, strict=True))


def is_trained(asked: Sequence[float], kept: Sequence[float], gain: float, margin: float | None) -> bool:
    """Whether selectors count as trained: targets met, and random dropping of as many patches beaten beyond chance.

    Args:
        asked: Share of the patches alive after each selector.
        kept: The same of the deterministic decision on validation photos, on average.
        gain: Top-1 above random dropping on the same weights and photos.
        margin: Half of that difference's 95 % interval; None of a single photo, which proves nothing.
    """
    return is_met(asked, kept) and margin is not None and gain > margin


def verdict_sentences(record: Mapping) -> str:
    """The end of a run in words.

    Args:
        record: The last epoch's metrics: `asked_keep`, `val_kept`, `asked_macs`, `val_macs` (shares of dense), for a
            latency limit `asked_ms` and `achieved_ms` (predicted), `val_top1`, `random_top1`, `attention_top1`,
            `gain_over_random`, `gain_interval`, `trained`.
    """
    asked, kept = (", ".join(f"{100 * share:.1f}" for share in record[key]) for key in ("asked_keep", "val_kept"))
    said = (
        f"Asked: {asked} % of the patches after the selectors, {100 * record['asked_macs']:.1f} % of the MACs; kept on "
        f"validation photos: {kept} %, {100 * record['val_macs']:.1f} %."
    )
    if "asked_ms" in record:
        said += f" Limit {record['asked_ms']:g} ms; what is kept is predicted to take {record['achieved_ms']:.3g} ms."
    top1, random, attention = (100 * record[key] for key in ("val_top1", "random_top1", "attention_top1"))
    gain = points(record["gain_over_random"], record["gain_interval"])
    said += (
        f" Top-1 {top1:.2f} %; as many patches at random {random:.2f} %, by attention {attention:.2f} %, on the "
        f"same weights: {gain} over random."
    )
    if record["trained"]:
        return f"{said} The selectors count as trained."
    met = is_met(record["asked_keep"], record["val_kept"])
    why = "they do not beat random dropping" if met else "they miss their targets"
    return f"{said} The selectors count as not trained: {why}."
