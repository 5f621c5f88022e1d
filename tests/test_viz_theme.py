"""What all figures share: the darker ink of a light page."""

import builtins

import plotly.io
import pytest
from plotly.tools import return_figure_from_figure_or_data

from viz.theme import LIGHT_INK, InLight, drawn, percent_more


def test_a_light_page_gets_the_same_figure_with_darker_labels_and_the_figure_stays_as_it_is() -> None:
    figure = drawn([{"type": "bar", "x": [1, 2], "y": [3, 4]}], 200, xaxis={"title": {"text": "Block"}})
    before = plotly.io.to_json(figure)
    light = return_figure_from_figure_or_data(InLight(figure), validate_figure=True)  # as Streamlit asks for it
    assert plotly.io.to_json(figure) == before
    assert (
        plotly.io.from_json(plotly.io.to_json(light, validate=False)).data
        == figure.update_traces(textfont_color=LIGHT_INK).data
    )
    assert light["layout"]["xaxis"]["title"] == {"text": "Block", "font": {"color": LIGHT_INK}}
    inks = [light["layout"]["font"], *(light["layout"][axis]["tickfont"] for axis in ("xaxis", "yaxis"))]
    assert [ink["color"] for ink in inks] == [LIGHT_INK] * 3


def test_a_figure_is_drawn_once_pandas_is_there_as_a_whole(monkeypatch) -> None:
    imported, inner = [], builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: imported.append(name) or inner(name, *rest))
    drawn([], 100)
    assert imported[0] == "pandas"


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.5, "+50 %"), (0.48, "\N{MINUS SIGN}52 %"), (1, "0 %"), (0.998, "0 %"), (1.004, "0 %")]
)
def test_a_ratio_is_said_as_what_it_is_above_or_below_the_same(ratio: float, text: str) -> None:
    assert percent_more(ratio) == text
