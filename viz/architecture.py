"""Single-path pruning in words: what a budget leaves of the blocks."""

from core.results import Architecture, Mixer
from viz.theme import MIXER_WORDS, percent


def architecture_sentence(architecture: Architecture) -> str:
    """In short: how many blocks kept their attention, and how much FFN is left."""
    depth, kept = len(architecture.mixers), architecture.mixers.count("msa")
    left = sum(architecture.ffn_hidden) / sum(architecture.ffn_full)
    return f"{kept} of {depth} blocks keep their attention; {percent(left)} of the FFN hidden units are left"


def mixers_sentence(architecture: Architecture) -> str:
    """What became of the attention that is gone."""
    words: dict[Mixer, str] = {
        "conv3x3": f"became a {MIXER_WORDS['conv3x3']} convolution",
        "conv1x1": f"became a {MIXER_WORDS['conv1x1']} convolution",
        "skip": "mix nothing any more",
    }
    counts = [(architecture.mixers.count(mixer), said) for mixer, said in words.items()]
    said = [f"{count} {text}" for count, text in counts if count]
    return f"Of the attention layers, {', '.join(said)}." if said else "Every block still has its attention."
