"""The budget page measures in another engine: made ready beside the page, named beside the milliseconds."""

import threading

from streamlit.runtime.caching import clear_session_resource_cache

from core.errors import InputError
from pages.parts.timing import engines
from pages.server import queues
from tests import test_pages
from tests.test_pages import texts

assets, visit = test_pages.assets, test_pages.visit


def measure(at):
    """The button that measures in the chosen engine."""
    return next(button for button in at.button if button.label.startswith("Measure in"))


def measure_in(at, engine: str):
    """Choose the engine, press the button, and wait for what is made ready."""
    at.button_group(key="engine").set_value(engine).run()
    measure(at).click().run()
    queues.engines().wait()
    return at.run()


def test_the_engine_stands_beside_the_milliseconds_and_beside_eager_torch(visit, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(engines, "ready", lambda loaded, engine: asked.append((loaded.spec, engine)) or loaded.model)
    at = measure_in(visit("budget"), "onnxruntime")
    assert not at.exception
    assert len(asked) == 3
    assert {engine for _, engine in asked} == {"onnxruntime"}
    for said in ("**Dense:**", "ms median", "onnxruntime", " thread", "batch 1", "in torch eager"):
        assert said in texts(at)
    measure(at).click().run()
    assert len(asked) == 3, "what is ready was made anew"


def test_an_engine_that_cannot_be_had_gets_its_one_sentence(visit, monkeypatch) -> None:
    def refuse(loaded, engine):
        raise InputError("torch.compile does not work here (no compiler); install a C++ compiler (g++).")

    monkeypatch.setattr(engines, "ready", refuse)
    at = measure_in(visit("budget"), "compile")
    assert not at.exception
    assert [error.value for error in at.error] == [
        "torch.compile does not work here (no compiler); install a C++ compiler (g++)."
    ]


def test_what_an_engine_cannot_take_is_named_the_others_are_measured_and_the_page_goes_on(visit, monkeypatch) -> None:
    tries = []

    def refuse_tokens(loaded, engine):
        tries.append(loaded.method)
        if loaded.method == "tokens":
            raise InputError("That cannot be.")
        return loaded.model

    monkeypatch.setattr(engines, "ready", refuse_tokens)
    at = measure_in(visit("budget"), "onnxruntime")
    assert [error.value for error in at.error] == ["Tokens, keep 70 %: That cannot be."]
    assert "**Dense:**" in texts(at)
    assert any(expander.label == "Share this view" for expander in at.expander)
    measure(at).click().run()
    at.run()
    assert tries.count("tokens") == 2, "whoever asks again is not tried again"
    assert tries.count("dense") == 1


def test_a_thread_that_dies_leaves_a_sentence_and_no_wait(visit, monkeypatch) -> None:
    def fail(loaded, engine):
        raise RuntimeError("boom")

    monkeypatch.setattr(engines, "ready", fail)
    at = measure_in(visit("budget"), "onnxruntime")
    assert "cannot be made ready in onnxruntime (boom)" in at.error[0].value


def test_what_is_made_ready_is_cancelled_on_the_page_and_begun_again_with_the_button(visit, monkeypatch) -> None:
    go, begun, made = threading.Event(), threading.Event(), []

    def slow(loaded, engine):
        begun.set()
        go.wait()
        made.append(loaded.method)
        return loaded.model

    monkeypatch.setattr(engines, "ready", slow)
    at = visit("budget")
    at.button_group(key="engine").set_value("onnxruntime").run()
    measure(at).click().run()
    begun.wait()
    assert "0 of 3 done, now Dense" in at.get("progress")[0].proto.text
    at.button(key="cancel engines").click().run()
    go.set()
    queues.engines().wait()
    at.run()
    assert made == ["dense"], "those that had not begun are not made"
    assert "Cancelled" in at.info[-1].value
    assert "**Dense:**" not in texts(at)
    measure(at).click().run()
    queues.engines().wait()
    assert "**Dense:**" in texts(at.run())
    assert made == ["dense", "tokens", "singlepath"], "what came all the same is kept"


def test_cancel_is_on_every_page_while_something_is_made_ready(visit, monkeypatch) -> None:
    go = threading.Event()
    monkeypatch.setattr(engines, "ready", lambda loaded, engine: go.wait() and loaded.model)
    at = visit("budget")
    at.button_group(key="engine").set_value("onnxruntime").run()
    measure(at).click().run()
    at.switch_page("pages/compare.py").run()
    assert not at.exception
    assert "Making ready in onnxruntime, for the Budget page" in texts(at)
    at.button(key="cancel beside").click().run()
    go.set()
    queues.engines().wait()
    at.run()
    assert not at.exception
    assert "Making ready" not in texts(at)


def test_a_session_that_ends_frees_what_it_alone_had_asked_for(visit, monkeypatch) -> None:
    go, made = threading.Event(), []
    monkeypatch.setattr(engines, "ready", lambda loaded, engine: (go.wait() and made.append(loaded)) or loaded.model)
    at = visit("budget")
    at.button_group(key="engine").set_value("onnxruntime").run()
    measure(at).click().run()
    clear_session_resource_cache("test session id")  # what Streamlit does when a session ends; AppTest's is called so
    go.set()
    queues.engines().wait()
    assert len(made) <= 1, "at most the one that was being made"
