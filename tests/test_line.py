"""Whoever waits for a turn: in what order, told what, and what becomes of one who goes away. No test waits for time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from pages.server.line import Line


class Told:
    """What those who wait were told, one after the other."""

    def __init__(self) -> None:
        self.said: SimpleQueue[tuple[str, int]] = SimpleQueue()

    @contextmanager
    def __call__(self, before: int) -> Iterator[None]:
        self.said.put((threading.current_thread().name, before))
        yield


def person(name: str, work: Callable[[], object]) -> threading.Thread:
    """A thread of this name that has begun to work."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


def test_turns_go_in_the_order_of_coming_and_each_is_told_how_many_are_before() -> None:
    told, order = Told(), []
    line = Line(told)

    def wait(name: str) -> None:
        with line:
            order.append(name)

    with line:
        people = []
        for place, name in enumerate(("ann", "bob", "cy"), 1):
            people.append(person(name, lambda name=name: wait(name)))
            assert told.said.get() == (name, place), "it stands in line before the next one comes"
        assert len(line) == 4
    for one in people:
        one.join()
    assert order == ["ann", "bob", "cy"]
    assert len(line) == 0
    heard = [told.said.get() for _ in range(told.said.qsize())]
    assert all(before in (1, 2) for _, before in heard), "fewer and fewer"


def test_whoever_has_the_turn_may_ask_for_it_again() -> None:
    line = Line()
    with line:
        with line:
            assert len(line) == 1
        assert len(line) == 1, "it is still taken"
    assert len(line) == 0


def test_nobody_who_gets_a_turn_at_once_is_told_anything() -> None:
    told = Told()
    with Line(told):
        pass
    assert told.said.empty()


def test_one_who_goes_away_while_waiting_holds_nobody_up() -> None:
    told, passed = Told(), []

    @contextmanager
    def tell(before: int) -> Iterator[None]:
        with told(before):
            yield
        if threading.current_thread().name == "ann":
            raise KeyboardInterrupt  # as Streamlit's, which is no Exception either

    line = Line(tell)

    def ann() -> None:
        with pytest.raises(KeyboardInterrupt), line:
            passed.append("ann")

    def bob() -> None:
        with line:
            passed.append("bob")

    with line:
        first = person("ann", ann)
        told.said.get()
        second = person("bob", bob)
        told.said.get()
    first.join()
    second.join()
    assert passed == ["bob"]
    assert len(line) == 0


def test_an_error_inside_gives_the_turn_back() -> None:
    line = Line()
    with pytest.raises(ValueError, match="inside"), line:
        raise ValueError("inside")
    assert len(line) == 0
