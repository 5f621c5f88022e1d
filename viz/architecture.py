"""Single-path pruning in words: what a budget leaves of the blocks."""

from collections.abc import Sequence

from core.results import Architecture, Mixer
from viz.theme import MIXER_WORDS, macs_text, percent


def architecture_sentence(architecture: Architecture) -> str:
    """In short: how many blocks kept their attention, and how much FFN is left."""
    depth, kept = len(architecture.mixers), architecture.mixers.count("msa")
    left = sum(architecture.ffn_hidden) / sum(architecture.ffn_full)
    return f"{kept} of {depth} blocks keep their attention; {percent(left)} of the FFN hidden units are left"


def mixers_sentence(architecture: Architecture) -> str:
    """Which blocks lost their attention, counted from 1, and what came in its place."""
    words: dict[Mixer, tuple[str, str]] = {
        "conv3x3": (f"became a {MIXER_WORDS['conv3x3']} convolution", f"became {MIXER_WORDS['conv3x3']} convolutions"),
        "conv1x1": (f"became a {MIXER_WORDS['conv1x1']} convolution", f"became {MIXER_WORDS['conv1x1']} convolutions"),
        "skip": ("no longer mixes tokens", "no longer mix tokens"),
    }
    said = []
    for mixer, (one, several) in words.items():
        blocks = [str(block + 1) for block, now in enumerate(architecture.mixers) if now == mixer]
        if blocks:
            named = " and ".join([", ".join(blocks[:-1]), blocks[-1]] if len(blocks) > 1 else blocks)
            said.append(f"{'blocks' if len(blocks) > 1 else 'block'} {named} {several if len(blocks) > 1 else one}")
    if not said:
        return "Every block still has its attention."
    text = f"{'; '.join(said)}."
    return text[0].upper() + text[1:]


def block_table(
    architecture: Architecture, block_macs: Sequence[int], selectors: Sequence[int] = ()
) -> dict[str, list[object]]:
    """A fixed network block by block, as columns: number (from 1), selector, mixer, FFN share (0 to 100), MACs.

    Args:
        architecture: Of the network.
        block_macs: Of each block with all tokens in it, L of them.
        selectors: One stands before each of these blocks, counted from 0.
    """
    widths = zip(architecture.ffn_hidden, architecture.ffn_full, strict=True)
    numbers = range(len(architecture.mixers))
    return {
        "Block": [block + 1 for block in numbers],
        "Selector before it": [f"selector {selectors.index(b) + 1}" if b in selectors else "" for b in numbers],
        "Mixer": [MIXER_WORDS[mixer] for mixer in architecture.mixers],
        "FFN left, %": [100 * left / full for left, full in widths],
        "MACs, all tokens": [macs_text(macs) for macs in block_macs],
    }
