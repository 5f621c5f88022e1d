"""The hosted mode: each thing that strangers must not have is off, and says why; all else is as it was."""

import pytest

from pages.parts.shared import fetching
from pages.server import hosted, queues
from tests.test_pages import assets, photo_bytes, save, texts, visit  # noqa: F401
from tests.test_pickers import TOKENS, button, source


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNESCOPE_HOSTED", "1")


def notes(at) -> list[str]:
    """What is said to be switched off on a page."""
    return [info.value for info in at.info if info.value.startswith("This server is shared")]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_a_server_at_home_switches_nothing_off(value, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRUNESCOPE_HOSTED", raising=False)
    if value is not None:
        monkeypatch.setenv("PRUNESCOPE_HOSTED", value)
    assert not hosted.is_hosted()
    assert hosted.photo_limits() == (200, 100)


def test_no_weights_file_is_read_by_its_path_or_from_an_upload(visit, shared) -> None:  # noqa: F811
    at = source(visit("compare"), "Local file")
    assert hosted.WEIGHTS in notes(at)
    assert not [field for field in at.text_input if field.key == "weights path"]
    assert not [sent for sent in at.file_uploader if (sent.key or "").startswith("weights file")]


@pytest.mark.parametrize(("page", "key"), [("tokens", "model"), ("compare", "a")])
def test_no_weights_file_is_read_from_a_link(visit, shared, tmp_path, page, key) -> None:  # noqa: F811
    save(tmp_path, "mine", TOKENS)
    at = visit(page, **{key: str(tmp_path / "mine.safetensors")})
    assert not at.exception
    assert any(hosted.WEIGHTS in warning.value for warning in at.warning)
    assert "files" not in at.session_state


def test_nothing_is_downloaded(visit, shared, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(fetching, "Download", None)
    at = source(visit("compare"), "timm")
    assert hosted.DOWNLOADS in notes(at)
    assert not [one for one in at.button if "Download" in one.label]
    assert not queues.downloads().under_way


@pytest.mark.parametrize(
    ("page", "tab"),
    [
        ("budget", None),
        ("compare", None),
        ("tokens", "Masked or removed?"),
        ("tokens", "Other methods at the same MACs"),
    ],
)
def test_nothing_is_measured_on_request_and_the_load_is_said(visit, shared, page, tab) -> None:  # noqa: F811
    at = visit(page)
    if tab is not None:
        at.session_state["details"] = tab
        at.run()
    assert hosted.MEASURING in notes(at)
    assert not [one for one in at.button if one.label.startswith(("Measure", "Check"))]
    assert any("Computing or waiting for a turn: 0" in caption.value for caption in at.caption)
    assert not at.exception


def test_a_session_holds_few_photos_and_no_second_copy_of_them(visit, shared, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(hosted, "HOSTED_PHOTOS", 2)
    at = visit("compare", view="Many photos")
    at.file_uploader(key="many0").upload("p.jpg", photo_bytes()).run()
    assert len(at.session_state["batch"].photos) == 1
    assert [sent.key for sent in at.file_uploader if sent.key.startswith("many")] == ["many1"]
    at = button(at, "Remove photos").click().run()
    at = button(at, "Take the sample pictures").click().run()
    assert not at.exception
