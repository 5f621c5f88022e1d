"""What a page shows, to take along: its link, and commands, Python and a notebook that give the same numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from core.config import ModelSpec
from core.errors import InputError
from core.inference.reproduce import command_line, hub_lines, python_lines, python_parts, quoted
from core.models.load import Loaded
from pages.parts.shared import frame, model_facts, notebook, pictures
from pages.server import images, models


@st.fragment
def take_along(specs: Mapping[str, ModelSpec], image_id: str, verbs: Sequence[str] = ("predict",)) -> None:
    """A panel at the end of a page.

    A fragment, filled when it is opened, so that the link knows what components have changed since, and no page waits
    for what nobody reads.

    Args:
        specs: The models that the page shows, by what it calls them.
        image_id: Of the picture that it shows.
        verbs: Commands that print the page's numbers.
    """
    panel = st.expander("Share this view", icon=":material/ios_share:", key="along", on_change="rerun")
    if not panel.open:
        return
    with panel:
        try:
            shown = {label: models.loaded(spec) for label, spec in specs.items()}
        except InputError as error:
            st.error(str(error), icon=":material/error:")
            return
        names = [(st.session_state.get("class_names", {}).get(spec.name) or (None,))[0] for spec in specs.values()]
        photo, crop = pictures.file_of(image_id), images.parts_of(image_id)[1]
        st.markdown("**Link**  \nOpens this page with the same settings.")
        st.code(_link(image_id), language=None, wrap_lines=True)
        if image_id.startswith("upload:"):
            st.markdown(
                f"Your picture is not part of it: whoever opens it sees the sample “{pictures.instead_of_upload()}” "
                f"with the same settings. In the lines below, `{photo}` is your picture's file: give its path."
            )
        if any(model_facts.source_of(spec.name) == "file" for spec in specs.values()):
            st.markdown("The weights file is named by its path, so this works where that file lies.")
        lines = []
        for (label, model), classes in zip(shown.items(), names, strict=True):
            lines += [f"# {label}"] if len(shown) > 1 else []
            lines += [command_line(verb, model, photo, classes, crop) for verb in verbs]
        st.markdown("**Command line**  \nIn the folder of Prunescope, with its `.venv` active; `--json` for machines.")
        st.code("\n".join(lines), language=None, wrap_lines=True)
        st.markdown(
            "**Python**  \nIn the same folder; prints multiply-adds, kept patches and top-5. `model.model` is the "
            "`nn.Module` that `load_model` gives."
        )
        st.code(python_lines(list(shown.values()), photo, names, crop), language=None, wrap_lines=True)
        st.markdown("**Notebook**  \nThe same for Jupyter, with what was kept of the photo, or of each block.")
        page = st.session_state["on_page"]
        st.download_button(
            "Download as a notebook",
            _notebook(Path(page).stem.capitalize(), shown, image_id, names),
            notebook.file_name(page),
            notebook.MIME,
            icon=":material/download:",
            on_click="ignore",
        )
        dense = next((model for model in shown.values() if not model.kind.pruned), None)
        if dense is not None:
            st.markdown(
                "**Hugging Face hub**  \nThe first line writes the dense model as timm reads it from there, where timm "
                "has such a model; the second, yours to run once you are logged in, puts it on the hub."
            )
            st.code(hub_lines(dense), language=None, wrap_lines=True)


def _notebook(title: str, shown: Mapping[str, Loaded], image_id: str, names: Sequence[str | None]) -> str:
    """The view as a notebook; a sample is found wherever Prunescope's own are."""
    sample, crop = images.sample_of(image_id), images.parts_of(image_id)[1]
    path = f'ASSETS / "samples" / {quoted(sample.file)}' if sample else f"Path({quoted(pictures.file_of(image_id))})"
    remark = "" if sample else "The photo is not part of it: give the path of its file below."
    lines = python_parts(list(shown.values()), f"({path})" if sample else path, names, crop)
    return notebook.notebook(title, _link(image_id), shown, lines, remark)


def _link(image_id: str) -> str:
    """This page's address with all its settings, also those that stand at their defaults; never of an own picture."""
    held = {key: st.session_state[key] for key in frame.settings_of_page() if key in st.session_state}
    query = {key: st.query_params.get_all(key) for key in st.query_params} | {key: str(v) for key, v in held.items()}
    if image_id.startswith("upload:"):
        query["pic"] = pictures.instead_of_upload()
        query.pop("crop", None)
    base = (st.context.url or "").partition("?")[0]
    return f"{base}?{urlencode(query, doseq=True)}" if query else base
