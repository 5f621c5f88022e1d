"""Prunescope: see what a Vision Transformer can do without. Start it with `make app`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve each other
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # a moment of it is harmless, and a small model gains a quarter

import streamlit as st

ICON = (  # drawn here: a material icon would be fetched from the network
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8">'
    '<path fill="#0072B2" d="M0 0h3v3H0zM0 4h3v3H0zM4 4h3v3H4z"/>'
    '<path fill="#56B4E9" opacity=".5" d="M4 0h3v3H4z"/></svg>'
)
st.set_page_config(page_icon=ICON, layout="wide")

page = st.navigation(
    [
        st.Page("pages/home.py", title="Prunescope", icon=":material/home:", default=True),
        st.Page("pages/tokens.py", title="Tokens", icon=":material/grid_view:", url_path="tokens"),
        st.Page("pages/architecture.py", title="Architecture", icon=":material/account_tree:", url_path="architecture"),
        st.Page("pages/budget.py", title="Budget", icon=":material/speed:", url_path="budget"),
        st.Page("pages/compare.py", title="Compare", icon=":material/compare:", url_path="compare"),
    ],
    position="top",
)

# On a fresh server Streamlit runs pages/*.py without this file; their `frame.guard` sends them here.
st.session_state["routed"] = True
if came_for := st.session_state.pop("came_for", None):
    path, query = came_for
    st.switch_page(path, query_params=query)

page.run()
