"""The browser's history of a page: one entry for each thing that a person does, whatever changes the address."""

from pathlib import Path

BODY = f"<script>\n{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>"
"""For every page. Without it Streamlit replaces the entry for its own widgets, and adds one for each setting that a
page writes: for several of one move, and for those that another page hands on."""
