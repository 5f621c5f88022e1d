"""Models that are not offered at once: bundled ones of the other method, timm's, released ones, a file."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from core.families.families import FAMILIES
from core.methods import KINDS, TOKENS, Kind, methods_of
from core.models import taken
from core.models.registry import ModelEntry
from pages.parts.pickers.files import choose_file
from pages.parts.shared import links
from pages.parts.shared.fetching import show_download
from pages.server import models

SOURCES = {"Bundled": "bundled", "timm": "timm", "Released": "released", "Local file": "file"}
ABOUT = {
    "bundled": "Trained by our own commands and always here.",
    "timm": "Pretrained on ImageNet-1k, through timm from the Hugging Face hub.",
    "released": "Pruned and fine-tuned by [He et al.](https://arxiv.org/abs/2111.11802), from their release on GitHub; "
    "and LV-ViT by [Jiang et al.](https://arxiv.org/abs/2104.10858), whose weights you open as a local file.",
}
TOKENS_PAGE = ("pages/tokens.py", "Tokens")
ARCHITECTURE = ("pages/architecture.py", "Architecture")
COMPARE = ("pages/compare.py", "Compare")
ANY = tuple(KINDS.values())


def more_models(
    kinds: Sequence[Kind] = ANY,
    uses: Mapping[str, str] | None = None,
    use: Callable[[str, str], None] = links.put,
) -> None:
    """A button that opens all sources of models.

    Args:
        kinds: Those that this page can show; others are listed too, with the page that can.
        uses: Keys of this page's model pickers and what their buttons say; None: one picker, `model`.
        use: Called with such a key and the model's name when one is chosen.
    """
    with st.popover("Other models", icon=":material/inventory_2:", key="sources"):
        _sources(tuple(kinds), dict(uses or {"model": "Use it here"}), use)


@st.fragment
def _sources(kinds: tuple[Kind, ...], uses: dict[str, str], use: Callable[[str, str], None]) -> None:
    """One source at a time, in a part of the page that is drawn by itself."""
    chosen = st.segmented_control("Source", list(SOURCES), default="Bundled", key="source", required=True)
    source = SOURCES.get(chosen, "bundled")
    if source == "file":
        entry = choose_file()
    else:
        st.markdown(ABOUT[source])
        entries = {entry.name: entry for entry in models.offered() if entry.source == source}
        if not entries:
            st.info("There is none on this machine.", icon=":material/info:")
            return
        name = st.selectbox("Model of this source", list(entries), key=f"of {source}")
        entry = entries.get(name, next(iter(entries.values())))
    if entry is not None:
        st.markdown(f"{_note(entry)}  \n{entry.kind.takes} {_command(entry)}")
        if entry.available:
            _offer(entry, kinds, uses, use)
        elif entry.download_mb is not None:
            show_download(entry)
    with st.expander("Which backbones are taken"):
        st.markdown(taken.markdown())


def _note(entry: ModelEntry) -> str:
    """What is known of it, and whether it is here."""
    note = entry.note.partition("; downloads once")[0]
    if entry.download_mb is None:
        return f"{note}. **On this machine.**" if entry.available else f"{note}."
    return f"{note}. **Not on this machine**: a download of about {entry.download_mb:.0f} MB, once; needs a network."


def _command(entry: ModelEntry) -> str:
    """How a dense model comes to be pruned, by each method that can; what its note says of them stands before it."""
    if entry.kind.pruned or entry.family not in FAMILIES:
        return ""
    ways = [method.COMMAND for method in methods_of(entry.family)]
    return f"To prune it: `python -m core {'` or `python -m core '.join(ways)}`."


def takes(entry: ModelEntry, kinds: Sequence[Kind]) -> bool:
    """Whether a dense model is of a family that can be made one of these kinds; of no matter for other models.

    Nor where dense models themselves are what a page shows first.
    """
    if entry.kind.pruned or kinds[0].made_by is None:
        return True
    return entry.family in FAMILIES and can_be(entry.family, kinds)


def can_be(family: str, kinds: Sequence[Kind]) -> bool:
    """Whether a method makes one of these kinds of the family's dense models."""
    return any(kind.made_by in methods_of(family) for kind in kinds)


def _offer(entry: ModelEntry, kinds: tuple[Kind, ...], uses: dict[str, str], use: Callable[[str, str], None]) -> None:
    """Buttons that choose a model on this page, or the way to a page that can show it."""
    if entry.kind in kinds and takes(entry, kinds):
        with st.container(horizontal=True):
            for key, label in uses.items():
                if st.button(label, key=f"use {key}", icon=":material/check:", on_click=use, args=(key, entry.name)):
                    st.rerun()
        return
    ranked = not entry.kind.pruned and takes(entry, [TOKENS])
    path, title = TOKENS_PAGE if ranked or entry.kind.selects else ARCHITECTURE if entry.kind.gated else COMPARE
    key = "a" if path == COMPARE[0] else "model"
    st.page_link(path, label=f"**Open it on {title}**", icon=":material/arrow_forward:", query_params={key: entry.name})
