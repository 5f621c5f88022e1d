"""Which method at which budget, on the Budget page; under AppTest."""

import dataclasses
import re

import pytest

from core.config import ModelSpec
from core.errors import InputError
from core.models import registry
from core.models.cards import SelectorCard
from core.models.load import load
from core.models.weights import save_checkpoint
from core.single_path.fit import fit_convolutions
from pages.parts.pickers import many_files
from pages.server import queues
from tests import tiny, tiny_pit, tiny_swin
from tests.test_pages import assets, photo_bytes, texts, visit  # noqa: F401


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and passes: what is measured does not matter here."""
    monkeypatch.setitem(fit_convolutions.__kwdefaults__, "steps", 1)
    monkeypatch.setattr("core.evaluation.which_method.REPEATS", 4)
    monkeypatch.setattr("core.latency.parts.REPEATS", (1, 1))
    monkeypatch.setattr("core.evaluation.method_setups.SHORT_REPEATS", 1)


def compared(at):
    """The page once its methods were compared."""
    at.button(key="which").click().run()
    queues.comparisons().wait()
    return at.run()


def rows(at) -> list[list[str]]:
    """The cells of the table, row by row, as text."""
    table = next(found.proto.body for found in at.get("html") if "which-method" in found.proto.body)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)]
    return [[re.sub(r"<[^>]+>", " ", cell) for cell in row] for row in cells]


def test_the_methods_are_compared_on_the_samples_behind_a_button(visit) -> None:  # noqa: F811
    at = visit("budget")
    assert "Which method at which budget?" in texts(at)
    assert at.button(key="which").label == "Compare the methods on 6 photos"
    compared(at)
    assert not at.exception
    assert not at.error
    shown = rows(at)
    assert shown[0] == ["Method", "Same answer", "MACs", "Predicted", "Measured"]
    assert [row[0] for row in shown if len(row) > 1][1:5] == ["Tokens", "Single path", "Joint", "ToMe"]
    assert len(shown) == 1 + 3 * 5
    said = texts(at)
    assert "Agrees most with dense: at 80 % " in said
    assert "scored, not trained" in said
    assert "ranked by attention, not trained" in said
    assert "which flatters single path" in said
    assert "cpu" in said[said.index("Measured: median") :]
    assert at.button(key="which").label == "Compare the methods on 6 photos again"


def test_a_score_that_is_there_is_not_made_again(visit, monkeypatch) -> None:  # noqa: F811
    at = visit("architecture", model="bundled-dense")
    at.button(key="score").click().run()
    queues.scorings().wait()

    def refuse(*arguments: object, **more: object) -> None:
        raise AssertionError("scored once more")

    monkeypatch.setattr("pages.parts.scoring.scoring_job.make_scored", refuse)
    at.switch_page("pages/budget.py").run()
    compared(at)
    assert not at.error
    assert all("scored once more" not in " ".join(row) for row in rows(at))
    monkeypatch.undo()
    at.switch_page("pages/architecture.py").run()
    assert not at.exception


def test_a_score_made_here_is_one_for_architecture(visit) -> None:  # noqa: F811
    compared(visit("budget"))
    at = visit("architecture", model="bundled-dense")
    assert "The gates are scored" in " ".join(said.value for said in at.success)


def test_what_scoring_refuses_is_said_in_its_rows_and_the_others_go_on(visit, monkeypatch) -> None:  # noqa: F811
    def refuse(*arguments: object, **more: object) -> None:
        raise InputError("All photos look alike to this model, so nothing can be scored; give different photos.")

    monkeypatch.setattr("pages.parts.scoring.scoring_job.make_scored", refuse)
    at = compared(visit("budget"))
    by_method = {row[0]: row for row in rows(at)[-4:]}
    assert "look alike" in by_method["Single path"][1]
    assert "look alike" in by_method["Joint"][1]
    assert len(rows(at)[2]) == 5


def test_a_comparison_that_fails_says_why_and_can_be_tried_again(visit, monkeypatch) -> None:  # noqa: F811
    def refuse(*arguments: object, **more: object) -> None:
        raise InputError("It gives answers that are no numbers; its weights are damaged.")

    monkeypatch.setattr("pages.parts.budget.comparing.compare_methods", refuse)
    at = compared(visit("budget"))
    assert [error.value for error in at.error] == ["It gives answers that are no numbers; its weights are damaged."]
    assert at.button(key="which").label == "Compare the methods on 6 photos"
    monkeypatch.undo()
    assert not compared(at).error


def test_it_can_be_cancelled(visit, monkeypatch) -> None:  # noqa: F811
    at = visit("budget")
    jobs = queues.comparisons()

    def wait_for_it(*arguments: object, on_share, **more: object) -> None:
        jobs.cancel(("bundled-dense", ""))
        on_share(0.5, "running")

    monkeypatch.setattr("pages.parts.budget.comparing.compare_methods", wait_for_it)
    compared(at)
    assert "The comparison was cancelled." in [info.value for info in at.info]


def test_own_photos_are_compared_on_and_what_cannot_be_read_is_counted(visit) -> None:  # noqa: F811
    at = visit("budget")
    at.session_state["batch"] = many_files.Batch([("a.jpg", photo_bytes()), ("b.jpg", b"no photo")])
    at.run()
    assert at.button(key="which").label == "Compare the methods on 2 photos"
    compared(at)
    assert not at.exception
    assert "of 1" in rows(at)[2][1]
    assert "Skipped 1 of the 2 files" in " ".join(said.value for said in at.warning)
    assert "none of these photos" in texts(at)


def test_photos_that_are_forgotten_leave_no_comparison_behind(visit, monkeypatch) -> None:  # noqa: F811
    at = visit("budget")
    at.session_state["batch"] = many_files.Batch([("a.jpg", photo_bytes())])
    at.run()
    compared(at)
    key = ("bundled-dense", at.session_state["batch"].fingerprint)
    assert queues.comparisons().result(key) is not None
    next(button for button in at.button if button.label == "Remove photos").click().run()
    assert not at.exception
    assert key not in queues.comparisons().asked_by(at.session_state["visitor"])
    assert at.button(key="which").label == "Compare the methods on 6 photos"


@pytest.mark.parametrize(
    ("module", "card", "refused"),
    [
        (tiny.backbone, dataclasses.replace(tiny.CARD, classes=tiny.CLASSES[::-1]), set()),
        pytest.param(
            tiny_pit.pit_backbone, tiny_pit.PIT_CARD, {"Single path", "Joint", "ToMe"}, marks=pytest.mark.slow
        ),
        (lambda: tiny_swin.swin_path_model().backbone, tiny_swin.SWIN_CARD, {"Tokens", "Joint", "ToMe"}),
    ],
    ids=["deit", "pit", "swin"],
)
def test_every_dense_model_that_is_opened_can_be_compared(visit, tmp_path, module, card, refused) -> None:  # noqa: F811
    path = str(tmp_path / "own.safetensors")
    save_checkpoint(tmp_path / "own.safetensors", module(), dataclasses.replace(card, training={"a": 1}))
    at = visit("tokens" if "Tokens" not in refused else "architecture", model=path)
    at.switch_page("pages/budget.py")
    at.query_params["model"] = path
    at.run()
    assert not at.exception
    assert at.selectbox(key="model").value == path
    compared(at)
    assert not at.exception
    assert not at.error
    at_80 = rows(at)[2:6]
    assert {row[0] for row in at_80 if len(row) == 2} == refused
    assert all(row[1].count(".") <= 2 for row in at_80 if len(row) == 2)


def test_a_pruned_model_without_its_dense_one_says_what_to_open(visit, tmp_path) -> None:  # noqa: F811
    card = dataclasses.replace(tiny.CARD, classes=tiny.CLASSES[::-1], training={"a": 1})
    card = dataclasses.replace(card, selectors=SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True))
    save_checkpoint(tmp_path / "t.safetensors", tiny.token_model(), card)
    at = visit("tokens", model=str(tmp_path / "t.safetensors"))
    at.switch_page("pages/budget.py")
    at.query_params["model"] = str(tmp_path / "t.safetensors")
    at.run()
    assert not at.exception
    assert "open that one under **Other models**" in " ".join(info.value for info in at.info)


def test_a_pruned_file_is_held_against_the_dense_one_that_it_says_it_came_from(visit, tmp_path) -> None:  # noqa: F811
    other, own, pruned = (str(tmp_path / f"{name}.safetensors") for name in ("other", "own", "pruned"))
    for seed, name in enumerate(("other", "own")):
        dense = dataclasses.replace(tiny.CARD, training={"a": 1})
        save_checkpoint(tmp_path / f"{name}.safetensors", tiny.backbone(seed), dense)
    selectors = SelectorCard((1, 2, 3), (0.7, 0.5, 0.3), True)
    card = dataclasses.replace(tiny.CARD, training={"dense": own}, selectors=selectors)
    save_checkpoint(tmp_path / "pruned.safetensors", tiny.token_model(), card)
    at = visit("budget")
    entries = [registry.entry_of_file(path, load(ModelSpec(path)).card) for path in (other, own, pruned)]
    at.session_state["files"] = {entry.name: entry for entry in entries}
    at.run()
    at.selectbox(key="model").set_value(pruned).run()
    assert not at.exception
    assert "cut **own.safetensors** to" in texts(at)
