"""What the Tokens page tells to those who want to know more; only the open tab is computed."""

from collections.abc import Callable

import streamlit as st

from core.config import ModelSpec
from core.results import TokenTrace
from pages.parts.shared import frame, links
from pages.parts.tokens import failing, files, proof, rivals
from pages.server import images
from viz.scores import head_maps, keep_maps
from viz.theme import TIMES
from viz.token_tables import package_table, patch_table
from viz.tokens import package_photo, package_sentence

THOUSANDTHS = st.column_config.NumberColumn(format="%.3f")
WEIGHT = "Weight in it, %"


@st.fragment
def show(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    """The tabs; choosing one runs only this part of the page again."""
    views: dict[str, Callable[[ModelSpec, str, TokenTrace], None]] = {
        "Scores": _scores,
        "Make it fail": failing.show,
        "Other methods at the same MACs": rivals.show,
        "Packages": _packages,
        "All patches": _patches,
        "Masked or removed?": proof.masked_or_removed,
        "Downloads": files.show,
    }
    first = links.bring("details", next(iter(views)), links.one_of(list(views)))
    tabs = st.tabs(list(views), key="details", default=first, bind="query-params", on_change="rerun")
    for tab, view in zip(tabs, views.values(), strict=True):
        if tab.open:
            with tab:
                view(spec, image_id, trace)


def _scores(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    stages = list(range(1, len(trace.blocks) + 1))
    st.markdown("**Keep probability of each patch.** A patch that had left before is empty.")
    frame.chart(keep_maps(trace), "keep_maps", "Keep probability of each patch at each selector, on the patch grid")
    st.markdown("**What the heads think.** Each head scores every patch; the keep probability is their weighted mean.")
    stage = st.segmented_control(
        "Selector", stages, default=1, format_func=lambda s: f"Selector {s}", key="heads_of", required=True
    )
    frame.chart(head_maps(trace, stage), "head_maps", f"Keep probability by each head of selector {stage}")


def _packages(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    st.markdown(
        "Patches that leave at one selector become one package token: the mean of what they are at that moment, "
        "weighted by their keep probabilities. Here members are as bright as they weigh."
    )
    view = images.view(ModelSpec(spec.name), image_id)
    with st.grid(3, min_column_width=220):
        for package in range(1, len(trace.blocks) + 1):
            with st.container():
                said = package_sentence(trace, package)
                if trace.package_weight[package - 1].any():
                    st.image(package_photo(view, trace, package), width="stretch", output_format="JPEG", alt=said)
                st.markdown(said)
    table = package_table(trace)
    if table["Package"]:
        st.dataframe(table, hide_index=True, column_config={WEIGHT: _weight(trace)})


def _patches(spec: ModelSpec, image_id: str, trace: TokenTrace) -> None:
    scores = {f"Score at selector {s + 1}": THOUSANDTHS for s in range(len(trace.blocks))}
    st.markdown("Rows and columns count from 1 at the top left; an empty score means that the patch had left before.")
    if trace.grids:
        at = {_grid_name(trace.grid_at(s)): s for s in range(1, len(trace.blocks) + 1)}  # its last selector
        grid = st.segmented_control("Grid", list(at), default=list(at)[-1], key="patches_of", required=True)
        st.dataframe(
            patch_table(trace, at[grid]),
            hide_index=True,
            column_config={**scores, WEIGHT: _weight(trace)},
            placeholder="",
            height=440,
        )
        return
    columns = {**scores, WEIGHT: _weight(trace)}
    st.dataframe(patch_table(trace), hide_index=True, column_config=columns, placeholder="", height=440)


def _grid_name(grid: tuple[int, int]) -> str:
    return f"{grid[0]} {TIMES} {grid[1]}"


def _weight(trace: TokenTrace) -> object:
    """A column of weights in percent, as bars up to the heaviest."""
    most = max(1.0, 100 * float(trace.package_weight.max()))
    return st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=most)
