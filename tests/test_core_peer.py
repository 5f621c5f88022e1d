"""Code of others is timed beside ours at the MACs that it costs, and what it does wrong gets one sentence."""

import json

import pytest
import torch

from core.__main__ import main
from core.benchmarks.peer import compare_peer, read_peer
from core.costs.deit import DeitGeometry
from core.costs.macs import attention_macs, count_macs, ffn_macs
from core.errors import InputError
from core.soft_tokens.schedules import FITTED_BLOCKS, schedule_macs

GEOMETRY = DeitGeometry(64, 8, 32, 8, 2, 64, 5)
"""64 patches, 8 blocks: places for selectors before 3 and 6."""
PEER = """
from friend import STEP

def patch(model, drop):
    block = model.blocks[STEP]
    block.register_forward_pre_hook(lambda _, given: (given[0][:, :-drop],))

def other(model):
    return "no model"

def broken(model):
    raise RuntimeError("That model is too small.\\nAnd so on.")
"""


@pytest.fixture
def peer(tmp_path):
    """A file that drops the last tokens before a block, with what it imports beside it."""
    (tmp_path / "friend.py").write_text("STEP = 2")
    (tmp_path / "peer.py").write_text(PEER)
    return tmp_path / "peer.py"


@pytest.mark.parametrize("batch", [1, 3])
def test_a_peer_is_timed_beside_ours_at_its_own_macs(batch, peer) -> None:
    found = compare_peer(f"{peer}:patch", {"drop": 25}, GEOMETRY, batch=batch, repeats=4, device=torch.device("cpu"))
    saved = sum(
        attention_macs(65, 32) + ffn_macs(65, 32, 64) - attention_macs(40, 32) - ffn_macs(40, 32, 64)
        for _ in range(2, 8)
    )
    assert found.macs == count_macs(GEOMETRY).total - saved
    own = schedule_macs(GEOMETRY, FITTED_BLOCKS, found.keep).total
    assert own == pytest.approx(found.macs, rel=0.02), "patches come one by one"
    assert own <= found.macs
    assert list(found.ms) == list(found.speedup) == ["dense", "peer", "selectors", "ranked"]
    assert found.speedup["dense"] == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", "has no function nothing"),
        ("other", "The peer returns a str; it must return a model, or nothing"),
        ("broken", r"cannot patch this model \(That model is too small\)"),
        ("patch", "cannot patch this model .*missing"),
    ],
)
def test_what_a_peer_does_wrong_gets_one_sentence(name, sentence, peer) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        compare_peer(f"{peer}:{name}", {}, GEOMETRY, batch=1, repeats=4, device=torch.device("cpu"))
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_run_gets_one_sentence(tmp_path) -> None:
    (tmp_path / "peer.py").write_text("import no_such_package")
    with pytest.raises(InputError, match=r"peer.py cannot be run \(No module named 'no_such_package'\)"):
        read_peer(f"{tmp_path}/peer.py:patch")


@pytest.mark.slow
def test_bench_times_a_peer_on_a_deit(peer, capsys) -> None:
    flags = ["--model", "deit_tiny_patch16_224", "--batch", "1", "--repeats", "4", "--json"]
    assert main(["bench", "--peer", f"{peer}:patch", "--peer-settings", '{"drop": 90}', *flags]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["model"], row["settings"], row["batch"]) == ("deit_tiny_patch16_224", {"drop": 90}, 1)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--peer", "nowhere.py:patch"], "nowhere.py:patch names no file"),
        (["--peer", "{peer}:patch", "--model", "toaster"], "choose deit_tiny_patch16_224"),
        (["--peer", "{peer}:patch", "--peer-settings", "r=3"], "takes a JSON object"),
        (["--peer", "{peer}:patch", "--keep", "0.5"], "--peer says what ours cost; omit --keep"),
        (["--peer", "{peer}:patch", "--engine", "onnxruntime"], "omit --engine"),
        (["--peer-settings", "{{}}"], "are those of --peer"),
    ],
)
def test_wrong_flags_of_a_peer_get_one_line(flags, sentence, peer, capsys) -> None:
    assert main(["bench", *(flag.format(peer=peer) for flag in flags)]) == 2
    assert sentence in capsys.readouterr().err.strip().splitlines()[-1]
