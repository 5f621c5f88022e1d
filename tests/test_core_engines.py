"""Engines give the logits of eager torch, for every kind of model that they take, and say what they cannot take."""

import importlib.util
import json
import os
from dataclasses import replace

import pytest
import timm
import torch
from PIL import Image

from core.__main__ import main
from core.benchmarks import cases as benchmarks
from core.benchmarks import record as bench_record
from core.commands.bench import _measured_afresh
from core.costs.lvvit import LVVIT
from core.errors import InputError
from core.families import deit, lvvit
from core.latency.engines import check_engine, graph_of, prepare
from core.latency.random_models import compare_tokens
from core.models.cards import CompactCard, SelectorCard
from core.models.weights import save_checkpoint
from core.results.timings import SpeedRow
from core.single_path.compact import carve
from core.soft_tokens.decide import top_share
from core.soft_tokens.fixed import FixedKeepViT, SelectorsAlone, for_one_image
from core.soft_tokens.model import SoftTokenViT
from tests.joint import MIXED, joint_model
from tests.tiny import CARD, TINY, images, token_model

SMALL = replace(TINY, depth=2, stem=())
KEEP = (0.7, 0.5, 0.3)


def small(blocks: tuple[int, ...] = (), mixers: tuple[str, ...] = ()):
    """Two blocks: enough for an attention, a convolution, and a selector between them."""
    torch.manual_seed(0)
    backbone = deit.build(SMALL).eval()
    if mixers:
        carve(backbone, mixers, (24, 40))
    return backbone


def pruned():
    return SoftTokenViT(small(), (1,)).eval()


@pytest.mark.parametrize("packaging", ["weighted_mean", "weighted_sum"])
@pytest.mark.parametrize("keep", [KEEP, (1.0, 0.5, 0.5), (1.0, 1.0, 1.0)])
@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_the_fixed_graph_says_what_really_removing_tokens_says(batch, keep, packaging) -> None:
    model = token_model()
    model.packaging = packaging
    expected = model.run(images(batch), top_share(keep, TINY.patches))[0]
    fixed = FixedKeepViT(model, keep)
    torch.testing.assert_close(fixed(images(batch)), expected, atol=1e-5, rtol=0)
    if batch == 1:
        torch.testing.assert_close(for_one_image(fixed)(images(1)), expected, atol=1e-5, rtol=0)
        assert not fixed.alone


@torch.inference_mode()
@pytest.mark.parametrize("mixers", [(), ("conv3x3", "msa"), ("conv1x1", "skip"), ("msa", "skip")])
def test_a_vit_for_one_image_says_what_timm_says(mixers) -> None:
    model = small(mixers=mixers)
    alone = for_one_image(model)
    assert alone is not model
    torch.testing.assert_close(alone(images(1)), model(images(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("deit_tiny_distilled_patch16_224", {}),
        ("vit_tiny_patch16_224", {"init_values": 1.0, "qk_norm": True, "norm_layer": torch.nn.LayerNorm}),
    ],
)
@torch.inference_mode()
def test_one_of_timms_for_one_image_says_what_timm_says(name, more) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, **more).eval()
    for key, weight in model.named_parameters():
        if "ls" in key or "norm" in key:
            weight.uniform_(0.5, 1.5)
    photo = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(for_one_image(model)(photo), model(photo), atol=1e-5, rtol=0)


@pytest.mark.parametrize("passes", [False, True])
@torch.inference_mode()
def test_the_fixed_graph_of_a_joint_model_has_its_convolutions_over_the_patches_that_are_left(passes) -> None:
    model, _ = joint_model(*MIXED, passes=passes)
    keep = tuple(0.6**stage for stage in range(1, len(model.blocks) + 1))
    expected, fixed = model.run(images(3), top_share(keep, TINY.patches))[0], FixedKeepViT(model, keep)
    torch.testing.assert_close(fixed(images(3)), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(for_one_image(fixed)(images(3)[:1]), expected[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_the_fixed_graph_of_an_lvvit_looks_at_the_patches_that_are_left(batch) -> None:
    torch.manual_seed(0)
    geometry = replace(LVVIT["lvvit_s"], img_size=64, depth=3, width=32, heads=2, ffn_hidden=64, classes=5)
    model = SoftTokenViT(lvvit.build(geometry).eval(), (1, 2)).eval()
    photos, keep = torch.randn(batch, 3, 64, 64), (0.5, 0.25)
    expected, fixed = model.run(photos, top_share(keep, geometry.patches))[0], FixedKeepViT(model, keep)
    torch.testing.assert_close(fixed(photos), expected, atol=1e-5, rtol=0)
    if batch == 1:
        torch.testing.assert_close(for_one_image(fixed)(photos), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(for_one_image(model.backbone)(photos), model.backbone(photos), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_selectors_alone_leave_as_many_tokens_as_the_stages_do() -> None:
    alone = SelectorsAlone(FixedKeepViT(token_model(), KEEP))
    tokens = alone.inputs(2, TINY.width, torch.device("cpu"))
    # 16 patches; 12, 8 and 5 stay; a class token; behind stage s come s packages
    assert [x.shape[1] for x in tokens] == [17, 1 + 12 + 1, 1 + 8 + 2]
    assert alone(*tokens).shape[1] == (1 + 12 + 1) + (1 + 8 + 2) + (1 + 5 + 3)


def joint():
    """A convolution, an attention with a selector before it: all that compiling takes its time for, in one graph."""
    return SoftTokenViT(small(mixers=("conv3x3", "msa")), (1,)).eval()


@pytest.mark.parametrize(
    ("kind", "engine", "batch"),
    [("dense", "onnxruntime", 2), ("compact", "onnxruntime", 1), ("tokens", "onnxruntime", 2)]
    + [("dense", "openvino", 1), ("tokens", "openvino", 3)]
    + [
        pytest.param(*slow, marks=pytest.mark.slow)
        for slow in (
            ("dense", "onnxruntime", 1),
            ("compact", "onnxruntime", 2),
            ("tokens", "onnxruntime", 1),
            ("dense", "openvino", 2),
            ("compact", "openvino", 1),
            ("compact", "openvino", 2),
            ("tokens", "openvino", 1),
            ("joint", "openvino", 2),
            ("joint", "compile", 1),
        )
    ],
)
def test_an_engine_gives_the_logits_of_eager_torch(kind, engine, batch) -> None:
    made = {"dense": small, "compact": lambda: small(mixers=("conv3x3", "msa")), "tokens": pruned, "joint": joint}[
        kind
    ]()
    x, keep = images(batch), (0.5,) if kind in ("tokens", "joint") else None
    with torch.inference_mode():
        expected = made(x) if keep is None else made.run(x, top_share(keep, TINY.patches))[0]
    run = prepare(graph_of(made, keep, kind), engine, x)
    other = images(batch, seed=1)
    torch.testing.assert_close(run(x), expected, atol=1e-4, rtol=0)
    assert (run(other) - run(x)).abs().max() > 1e-3, "the photos are a constant of the graph"


def test_a_model_that_decides_photo_by_photo_is_refused() -> None:
    with pytest.raises(InputError, match=r"decides photo by photo .* give --keep with 3 shares"):
        graph_of(token_model(), None, "tokens")


def test_an_unknown_engine_and_one_on_another_device_are_refused() -> None:
    with pytest.raises(InputError, match="no engine tensorrt; choose eager, onnxruntime, openvino, compile"):
        check_engine("tensorrt", torch.device("cpu"))
    for engine in ("onnxruntime", "openvino"):
        with pytest.raises(InputError, match=f"engine {engine} runs on the CPU"):
            check_engine(engine, torch.device("cuda"))


def test_openvino_that_is_not_installed_has_a_sentence_of_its_own(monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    with pytest.raises(InputError, match=r"^OpenVINO is not here; `pip install openvino`, or choose eager\.$"):
        prepare(small(), "openvino", images(1))
    assert check_engine("onnxruntime", torch.device("cpu"))


def test_without_a_compiler_there_is_one_sentence(monkeypatch) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in g++.\nA long story follows.")

    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.raises(InputError, match=r"does not work here \(No working C\+\+ compiler found in g\+\+\)") as error:
        prepare(small(), "compile", images(1))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model with selectors, a compact one, a photo."""
    root = tmp_path_factory.mktemp("engines")
    card = replace(CARD, geometry=SMALL)
    save_checkpoint(root / "tokens.safetensors", pruned(), replace(card, selectors=SelectorCard((1,), (0.5,), True)))
    mixers, hidden = ("conv3x3", "msa"), (24, 40)
    made = CompactCard(mixers, hidden, None, None)
    save_checkpoint(root / "compact.safetensors", small(mixers=mixers), replace(card, compact=made))
    Image.new("RGB", (40, 30), "teal").save(root / "photo.png")
    return root


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_predict_says_the_same_in_onnxruntime_and_names_it(work, capsys) -> None:
    told = []
    for engine in ("eager", "onnxruntime"):
        flags = ["--model", work / "tokens.safetensors", "--keep", "0.5", "--engine", engine, "--json"]
        assert run("predict", work / "photo.png", *flags) == 0
        told.append(json.loads(capsys.readouterr().out)["images"][0])
    eager, other = told
    assert [guess["label"] for guess in other["top5"]] == [guess["label"] for guess in eager["top5"]]
    for ours, theirs in zip(other["top5"], eager["top5"], strict=True):
        assert ours["prob"] == pytest.approx(theirs["prob"], abs=1e-4)
    assert (other["macs"], other["kept"]) == (eager["macs"], [8])
    for key in ("latency_ms", "dense_latency_ms"):  # pruned and dense in the same engine
        assert (eager[key]["engine"], other[key]["engine"]) == ("torch eager", "onnxruntime")


@pytest.mark.slow
def test_a_folder_is_predicted_in_onnxruntime_as_in_torch_also_its_last_few_photos(work, tmp_path, capsys) -> None:
    """Seven photos in batches of three: a fixed graph has the last one filled up with nothing."""
    for index in range(7):
        Image.new("RGB", (40, 30), (30 * index, 200 - 20 * index, 90)).save(tmp_path / f"{index}.png")
    told = []
    for engine in ("eager", "onnxruntime"):
        flags = ["--model", work / "tokens.safetensors", "--keep", "0.5", "--engine", engine, "--batch", 3, "--json"]
        assert run("predict", tmp_path, "--workers", 0, *flags) == 0
        told.append(json.loads(capsys.readouterr().out)["images"])
    assert len(told[0]) == len(told[1]) == 7
    for eager, other in zip(*told, strict=True):
        assert (other["file"], other["macs"], other["kept"]) == (eager["file"], eager["macs"], [8])
        assert [g["prob"] for g in other["top5"]] == pytest.approx([g["prob"] for g in eager["top5"]], abs=1e-4)
    assert other["latency_ms"]["engine"] == "onnxruntime"


@pytest.mark.slow
def test_a_file_of_results_is_not_gone_on_with_in_another_engine(work, tmp_path, capsys) -> None:
    photo, out = work / "photo.png", tmp_path / "found.jsonl"
    flags = ["--model", work / "tokens.safetensors", "--keep", "0.5", "--out", out, "--batch", 1, "--workers", 0]
    assert run("predict", photo, *flags) == 0
    assert run("predict", photo, *flags, "--resume", "--engine", "onnxruntime") == 2
    assert "--engine onnxruntime" in capsys.readouterr().err


@pytest.mark.slow
def test_bench_measures_dense_and_pruned_in_the_engine_that_it_names(work, capsys) -> None:
    flags = ["--engine", "onnxruntime", "--batch", "2", "--repeats", "4", "--json"]
    assert run("bench", "--model", work / "tokens.safetensors", "--keep", "0.5", *flags) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["engine"] == "onnxruntime"
    assert row["kept"] == [[8, 8]]
    assert row["efficiency"] == pytest.approx(row["speedup"] / row["mac_ratio"])
    assert row["selector_share"] > 0


@pytest.mark.slow
def test_a_schedule_is_measured_with_class_attention_in_the_place_of_selectors() -> None:
    names = ("deit_tiny_0.9g_early", "deit_tiny_0.9g_early_ranked")
    rows = [benchmarks.measure(benchmarks.Case(name), 1, "eager", torch.device("cpu"), 4) for name in names]
    assert [row.model for row in rows] == list(names)
    assert rows[0].kept == rows[1].kept
    assert rows[0].mac_ratio == pytest.approx(rows[1].mac_ratio, rel=0.01)  # choosing costs little in both
    assert rows[0].mac_ratio != rows[1].mac_ratio
    assert rows[1].selector_share > 0


@pytest.mark.parametrize("batch", [1, 2])
def test_bench_measures_a_dense_model_whose_patches_rank_by_attention(batch) -> None:
    model = SoftTokenViT(deit.build(TINY), (1, 2), ranked=True).eval()
    row = compare_tokens(model, TINY, images(batch), top_share((0.5, 0.25), TINY.patches), "ranked", 4)
    assert row.kept == ((8, 8), (4, 4))
    assert row.selector_share is not None


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["bench", "--engine", "toaster"], "no engine toaster; choose eager, onnxruntime, openvino, compile"),
        (
            ["bench", "--model", "{work}/tokens.safetensors", "--engine", "onnxruntime", "--batch", "1"],
            "give --keep with 1 shares",
        ),
        (["bench", "--engine", "onnxruntime", "--batch", "0"], "--batch takes numbers of 1 or more"),
        (["bench", "--engine", "onnxruntime", "--training"], "omit --engine"),
        (["bench", "--model", "deit_bs_l006_t100", "--keep", "0.5"], "settings of its own"),
        (["bench", "--record", "{work}/table.csv"], "ends in .json"),
        (["bench", "--record", "{work}/r.json", "--model", "toaster"], "is not in the benchmark; it has deit_"),
        (["bench", "--record", "{work}/r.json", "--keep", "0.5"], "omit --keep"),
        (["bench", "--table", "{work}/t.csv", "--blocks", "1"], "--table measures whole blocks; omit --blocks"),
        (["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--engine", "x"], "no engine x"),
        (
            ["predict", "{work}/photo.png", "--model", "{work}/tokens.safetensors", "--engine", "compile"],
            "decides photo by photo",
        ),
    ],
)
def test_what_an_engine_or_a_record_cannot_take_gets_one_line(flags, sentence, work, capsys) -> None:
    assert run(*(str(flag).format(work=work) for flag in flags)) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert sentence in said[-1]


ROW = SpeedRow("a", "torch eager", 1, 10.0, 1.0, 5.0, 0.5, 2.0, 2.5, 0.8, 0.02, ((8, 8), (3, 5)))


def test_the_record_keeps_one_row_per_model_engine_and_batch_and_forgets_other_machines(tmp_path) -> None:
    path, here = tmp_path / "benchmarks.json", bench_record.conditions("cpu")
    bench_record.add_rows(path, here, [replace(ROW, model="b"), ROW], ["a", "b"])
    bench_record.add_rows(path, here, [replace(ROW, efficiency=0.9), replace(ROW, engine="onnxruntime")], ["a", "b"])
    rows = bench_record.read_record(path)["rows"]
    assert [(row["model"], row["engine"], row["efficiency"]) for row in rows] == [
        ("a", "torch eager", 0.9),
        ("a", "onnxruntime", 0.8),
        ("b", "torch eager", 0.8),
    ]
    table = (tmp_path / "benchmarks-table.md").read_text()
    assert "| `a` | onnxruntime | 1 | 10.0 ms (1.0) | 5.0 ms (0.5) | 2.00 | 2.50 | 0.80 | 2.0 % | 8, 3-5 |" in table
    bench_record.add_rows(path, {**here, "threads": here["threads"] + 1}, [ROW], ["a", "b"])
    assert len(bench_record.read_record(path)["rows"]) == 1


class Ends:
    """Work that ends the process which is handed it, as a machine does that is short of memory."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


@pytest.mark.slow
def test_a_measurement_whose_process_is_ended_gets_one_line() -> None:
    with pytest.raises(InputError, match="A measurement was ended; maybe memory ran out: try a smaller --batch"):
        _measured_afresh(Ends(), 1, "eager", torch.device("cpu"), 4)


@pytest.mark.slow
def test_the_record_is_written_by_one_command(work, monkeypatch, capsys) -> None:
    known = (benchmarks.Case(str(work / "compact.safetensors"), label="small"),)
    for module in ("core.benchmarks.cases", "core.commands.bench"):
        monkeypatch.setattr(f"{module}.cases", lambda: known)
    path = work / "record.json"
    assert run("bench", "--record", path, "--batch", "1", "--repeats", "4", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(path.read_text())
    assert {"device", "threads", "machine", "versions", "rows"} == set(told)
    (row,) = told["rows"]
    assert (row["model"], row["engine"]) == ("small", "torch eager")
    assert {"date", "load_average", "dense_ms", "pruned_ms", "speedup", "mac_ratio", "efficiency"} <= set(row)


def test_the_record_covers_schedules_a_large_architecture_and_every_pruned_bundled_model() -> None:
    names = {case.model for case in benchmarks.matching(None)}
    assert {"deit_small_2.6g", "deit_tiny_0.9g", "deit_bs_l008_t60", "bundled-tokens", "bundled-singlepath"} <= names


def test_any_schedule_or_published_architecture_can_be_recorded_by_name() -> None:
    names = ["lvvit_s_4.3g", "deit_small_2.6g_ranked", "swin_tn_l28_t32"]
    assert [case.model for case in benchmarks.matching(names)] == names
    with pytest.raises(InputError, match=r"deit_small_2\.7g is not in the benchmark"):
        benchmarks.matching(["deit_small_2.7g"])
