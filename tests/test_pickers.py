"""Models from all sources, and what is said where a model knows none of what it sees; under AppTest."""

import dataclasses
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block

from core.costs.macs import count_macs
from core.models import downloads, registry
from core.models import load as checkpoints
from core.models.cards import SelectorCard, SinglePathCard
from core.models.weights import save_checkpoint
from pages.parts.shared import fetching
from pages.server import budgets, images, queues
from tests.test_pages import CARD, ROOT, RUN_S, assets, opened, save, texts, visit  # noqa: F401

TOKENS = dataclasses.replace(CARD, selectors=SelectorCard((1, 2), (0.7, 0.5), True))
NAME = "deit_tiny_patch16_224.fb_in1k"


def button(at, label: str):
    """The button whose label holds this text."""
    return next(b for b in at.button if label in b.label)


def source(at, name: str):
    """The page with this source of models chosen."""
    return at.button_group(key="source").set_value(name).run()


def open_file(at, path: Path, names: bytes | None = None):
    """The page after a weights file was asked for."""
    at = source(at, "Local file")
    at.text_input(key="weights path").set_value(str(path))
    if names is not None:
        at.file_uploader(key="class names file").upload("names.txt", names)
    return button(at, "Open this file").click().run()


@pytest.fixture
def weights(tmp_path) -> Path:
    """A model with selectors, not bundled."""
    save(tmp_path, "mine", TOKENS)
    return tmp_path / "mine.safetensors"


def test_a_weights_file_is_uploaded_kept_once_and_used(visit, weights) -> None:  # noqa: F811
    names = set()
    for _ in range(2):
        at = source(visit("tokens"), "Local file")
        at.file_uploader(key="weights file 0").upload("../my model.safetensors", weights.read_bytes())
        button(at, "Open this file").click().run()
        assert not at.error
        assert "Carries soft token pruning" in texts(at)
        button(at, "Use it here").click().run()
        assert not at.exception
        names.add(at.selectbox(key="model").value)
        assert "weights file 0" not in at.session_state, "it would hold the whole file in memory"
    (name,) = names
    assert Path(name).name == "my-model.safetensors"
    assert Path(name).is_relative_to(queues.own_folder())
    assert Path(name).read_bytes() == weights.read_bytes()


def test_an_upload_that_holds_no_weights_gets_its_sentence(visit) -> None:  # noqa: F811
    at = source(visit("tokens"), "Local file")
    at.file_uploader(key="weights file 0").upload("notes.pth", b"Some text")
    button(at, "Open this file").click().run()
    assert "notes.pth" in at.error[0].value
    assert not at.exception


def test_a_weights_file_is_opened_by_its_path_and_used(visit, weights) -> None:  # noqa: F811
    at = open_file(visit("tokens"), weights)
    assert not at.error
    assert "Carries soft token pruning" in texts(at)
    button(at, "Use it here").click().run()
    assert not at.exception
    assert not at.warning or "Different" in at.warning[0].value
    assert at.selectbox(key="model").value == str(weights)
    assert "Real trained weights: mine.safetensors" in texts(at)
    at.switch_page("pages/compare.py").run()
    assert str(weights) in at.selectbox(key="a_model").options


def test_class_names_of_ones_own_are_counted_and_used(visit, weights) -> None:  # noqa: F811
    at = open_file(visit("tokens"), weights, b"one\ntwo\n")
    assert at.error[0].value.startswith("There are 2 class names, but the model knows 6 classes")
    assert at.metric  # the page goes on working
    at = open_file(visit("tokens"), weights, b"u\nv\nw\nx\ny\nz")
    button(at, "Use it here").click().run()
    assert "u, v, w, x, y, z." in texts(at)
    assert "--classes names.txt" in opened(at).code[1].value


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "No file was given"),
        ("/etc/passwd", "is text and no checkpoint"),
        ("/nowhere/m.pth", "There is no file /nowhere/m.pth"),
        ("{tmp}/broken.safetensors", "is text and no checkpoint"),
        ("{tmp}/evil.pth", "could run code, so it was not opened"),
    ],
)
def test_what_is_no_weights_file_gets_one_sentence(visit, tmp_path, path, sentence) -> None:  # noqa: F811
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "evil.pth")
    at = open_file(visit("tokens"), Path(path.format(tmp=tmp_path)) if path else "")
    assert not at.exception
    assert len(at.error) == 1
    assert sentence in at.error[0].value
    assert at.metric


def test_a_link_to_a_weights_file_opens_it_where_it_lies(visit, weights) -> None:  # noqa: F811
    at = visit("tokens", model=str(weights))
    assert at.selectbox(key="model").value == str(weights)
    gone = visit("tokens", model="/nowhere/m.safetensors")
    assert not gone.exception
    assert "There is no file /nowhere/m.safetensors" in gone.warning[0].value
    assert gone.selectbox(key="model").value == "bundled-tokens"


@pytest.mark.parametrize(("page", "key"), [("tokens", "model"), ("compare", "b")])
def test_a_link_with_a_nul_in_it_gets_one_sentence_and_the_page(visit, page, key) -> None:  # noqa: F811
    at = visit(page, **{key: "m\0.safetensors"})
    assert not at.exception
    assert [w.value.startswith("That is no path: there is a NUL in it") for w in at.warning] == [True]


def test_ones_own_model_is_still_there_after_another_page(visit, weights) -> None:  # noqa: F811
    at = visit("tokens", model=str(weights))
    at.switch_page("pages/architecture.py").run()
    assert at.selectbox(key="model").value == "bundled-singlepath"
    at.switch_page("pages/tokens.py").run()
    assert at.selectbox(key="model").value == str(weights)


def test_a_file_that_was_trained_on_is_read_anew(visit, tmp_path) -> None:  # noqa: F811
    path = tmp_path / "path.safetensors"
    save(tmp_path, "path", dataclasses.replace(CARD, single_path=SinglePathCard(0.01, True)))
    at = open_file(visit("tokens"), path)
    half = count_macs(CARD.geometry).total / 2
    before = budgets.architecture(str(path), half)
    module, card = checkpoints.read_model(str(path))
    with torch.no_grad():
        for key, values in module.named_parameters():
            if "logits" in key:
                values.neg_()
    save_checkpoint(path, module, card)
    open_file(at, path)
    assert budgets.architecture(str(path), half) != before


def test_a_link_to_weights_that_are_not_here_says_so(visit, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(registry, "cached_weights", lambda name: False)
    at = visit("tokens", model=NAME)
    assert f"The weights of {NAME} are not on this machine" in at.warning[0].value
    assert at.selectbox(key="model").value == "bundled-tokens"


def test_a_model_of_another_method_leads_to_the_page_that_shows_it(visit, assets) -> None:  # noqa: F811
    at = visit("tokens")
    at.selectbox(key="of bundled").set_value("bundled-singlepath").run()
    assert "Carries single-path pruning" in texts(at)
    assert [link.label for link in at.page_link] == ["**Open it on Architecture**"]
    at.selectbox(key="of bundled").set_value("bundled-dense").run()
    assert not at.page_link, "its patches can be ranked here"
    assert button(at, "Use it here")


def test_a_model_is_chosen_as_a_or_b(visit) -> None:  # noqa: F811
    at = visit("compare")
    at.selectbox(key="of bundled").set_value("bundled-singlepath").run()
    button(at, "Use it as B").click().run()
    assert not at.exception
    assert at.selectbox(key="b_model").value == "bundled-singlepath"
    assert at.selectbox(key="a_model").value == "bundled-dense"


@pytest.fixture
def network(monkeypatch):
    """Nothing is cached, and a download runs the code that this is given."""
    monkeypatch.setattr(registry, "cached_weights", lambda name: False)

    def behave(code: str) -> None:
        started = lambda name: downloads.Download(name, [sys.executable, "-c", code])  # noqa: E731
        monkeypatch.setattr(fetching, "Download", started)

    return behave


def test_a_download_says_how_much_before_and_what_to_do_if_it_fails(visit, network) -> None:  # noqa: F811
    network("import sys; sys.exit('error: The hub cannot be reached; connect this machine and try again.')")
    at = source(visit("compare"), "timm")
    assert "**Not on this machine**: a download of about 23 MB, once; needs a network." in texts(at)
    button(at, "Download, about 23 MB").click().run()
    queues.downloads().wait()
    at.run()
    assert at.error[0].value == "The hub cannot be reached; connect this machine and try again."
    assert button(at, "Try again, about 23 MB")
    assert not at.exception


def test_a_download_that_arrived_can_be_used(visit, network, monkeypatch, tmp_path) -> None:  # noqa: F811
    arrives = tmp_path / "arrives"
    network(f"import os, time\nwhile not os.path.exists({str(arrives)!r}): time.sleep(0.02)")
    at = source(visit("architecture"), "timm")
    button(at, "Download, about 23 MB").click().run()
    assert button(at, "Cancel")
    monkeypatch.setattr(registry, "cached_weights", lambda name: name == NAME)
    arrives.touch()
    queues.downloads().wait()
    at.run()
    assert "**On this machine.**" in texts(at)
    assert not at.exception
    assert button(at, "Use it here")


def test_a_failure_of_another_visitor_is_not_shown(visit, network) -> None:  # noqa: F811
    network("import sys; sys.exit('error: The hub cannot be reached.')")
    at = source(visit("compare"), "timm")
    button(at, "Download, about 23 MB").click().run()
    queues.downloads().wait()
    other = AppTest.from_file(str(ROOT / "app.py"), default_timeout=RUN_S).run()
    other.switch_page("pages/compare.py").run()
    other = source(other, "timm")
    assert not other.error
    assert button(other, "Download, about 23 MB")
    assert at.run().error[0].value == "The hub cannot be reached."


def test_a_download_can_be_cancelled(visit, network) -> None:  # noqa: F811
    network("import time; time.sleep(600)")
    at = source(visit("compare"), "timm")
    button(at, "Download, about 23 MB").click().run()
    button(at, "Cancel").click().run()
    queues.downloads().wait()
    at.run()
    assert [info.value for info in at.info if "cancelled" in info.value] == (
        ["The download was cancelled; nothing was kept."]
    )
    assert not at.error


def test_a_download_is_cancelled_from_another_page(visit, network) -> None:  # noqa: F811
    network("import time; time.sleep(600)")
    at = source(visit("compare"), "timm")
    button(at, "Download, about 23 MB").click().run()
    at.switch_page("pages/architecture.py").run()
    assert f"**{NAME}**" in texts(at)
    at.button(key=f"cancel {NAME}").click().run()
    queues.downloads().wait()
    at.run()
    assert not at.exception
    assert f"**{NAME}**" not in texts(at)


def test_a_download_of_a_session_that_has_ended_ends_unless_somebody_else_watches_it(visit, network) -> None:  # noqa: F811
    network("import time; time.sleep(600)")
    at = source(visit("compare"), "timm")
    button(at, "Download, about 23 MB").click().run()
    queues.downloads().ask(NAME, "bob", lambda: None)
    queues.downloads().leave(at.session_state["visitor"])
    assert queues.downloads().standing(NAME).state == "running"
    queues.downloads().leave("bob")
    queues.downloads().wait()
    assert queues.downloads().standing(NAME) is None


@pytest.mark.parametrize(
    ("shows", "said"), [("cat", "The answer is next to a guess"), ("zebra", "shows nothing that (this|these)")]
)
def test_what_the_model_does_not_know_is_said_before_its_answer(visit, monkeypatch, shows, said) -> None:  # noqa: F811
    found = tuple(dataclasses.replace(sample, shows=(shows,)) for sample in images.samples())
    monkeypatch.setattr(images, "samples", lambda: found)
    for page in ("tokens", "architecture", "compare"):
        at = visit(page)  # random weights: every class about the same
        texts = [str(element.value) for element in at.main if element.type in ("header", "markdown", "info", "warning")]
        note, classes, answer = (
            next((place for place, text in enumerate(texts) if re.search(words, text)), None)
            for words in (said, "ant, bee, cat, dog, elk, fox.", "^(Both say|Dense says)")
        )
        assert max(note, classes) < answer, page


def test_samples_that_show_nothing_that_the_model_knows_are_marked(visit, monkeypatch) -> None:  # noqa: F811
    found = tuple(dataclasses.replace(s, shows=("cat", "zebra")[i % 2 :]) for i, s in enumerate(images.samples()))
    monkeypatch.setattr(images, "samples", lambda: found)
    (style,) = [each.proto.body for each in visit("tokens").get("html") if "unknown" in each.proto.body]
    marked = [int(number) for number in re.findall(r"nth-of-type\((\d+)\)::after", style)]
    assert marked == [i + 1 for i in range(len(found)) if i % 2]


def test_a_clear_answer_is_not_doubted(visit, assets, tmp_path, monkeypatch) -> None:  # noqa: F811
    shutil.copytree(assets, tmp_path, dirs_exist_ok=True)
    for name, card in (("bundled-tokens", TOKENS), ("bundled-dense", CARD)):
        module = checkpoints.read_model(str(assets / f"{name}.safetensors"))[0]
        with torch.no_grad():
            getattr(module, "backbone", module).head.bias[2] += 10
        save_checkpoint(tmp_path / f"{name}.safetensors", module, card)
    monkeypatch.setattr(checkpoints, "ASSETS", tmp_path)
    monkeypatch.setattr(registry, "ASSETS", tmp_path)
    st.cache_resource.clear()
    assert "next to a guess" not in texts(visit("tokens"))


def test_the_answers_of_a_model_that_was_never_trained_are_greyed(visit, tmp_path) -> None:  # noqa: F811
    save(tmp_path, "raw", dataclasses.replace(TOKENS, training={}))
    at = visit("tokens", model=str(tmp_path / "raw.safetensors"))
    assert "Never trained, its answers mean nothing: raw.safetensors" in texts(at)
    assert any(".st-key-answers { filter: grayscale" in html.proto.body for html in at.get("html"))
    assert not any("grayscale" in html.proto.body for html in visit("tokens").get("html"))
    for page, key in (("tokens", "model"), ("compare", "b")):
        at = visit(page, **{key: str(tmp_path / "raw.safetensors")})
        assert [block for block in blocks(at.main) if getattr(block.proto, "id", "").endswith("-answers")]


def blocks(block: Block) -> Iterator[Block]:
    """All blocks in this one."""
    for child in block.children.values():
        if isinstance(child, Block):
            yield child
            yield from blocks(child)


def test_the_camera_is_asked_only_behind_its_choice(visit) -> None:  # noqa: F811
    at = visit("tokens", pic="Your own")
    assert not at.get("camera_input")
    at.button_group(key="picture from").set_value("The camera").run()
    assert not at.exception
    assert at.get("camera_input")
    assert at.info[0].value.startswith("Take a picture. It stays in this session")
