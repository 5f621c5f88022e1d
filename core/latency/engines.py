"""Engines that run a model: torch eager, onnxruntime, OpenVINO, torch.compile; each made ready for one shape of input.

An engine other than eager runs a fixed graph, so a model with token selectors needs keep ratios. onnxruntime also runs
it with its matrices in int8, and OpenVINO in bf16: faster where the processor has instructions for that, with answers
that move a little.
"""

import copy
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import InputError
from core.latency.huge_pages import collapse, mapped
from core.latency.measure import QUIET
from core.models.export import ONNX_PACKAGES, draw_onnx
from core.models.load import Loaded
from core.results.timings import BF16, COMPILE, EAGER, ENGINES, INT8, ONNXRUNTIME, OPENVINO
from core.soft_tokens.fixed import for_one_image, graph_of

SPIN_US = 20
"""How long a waiting thread of onnxruntime spins: a moment, as torch's do here (see the Makefile). Its own default is
many times that, and beside any other work on the machine makes a model two to three times slower."""

PACKAGES = {
    ONNXRUNTIME: ONNX_PACKAGES,
    INT8: ONNX_PACKAGES,
    OPENVINO: ("openvino", *ONNX_PACKAGES),
    BF16: ("openvino", *ONNX_PACKAGES),
}
"""What engines need beside torch; the onnx packages draw the graph."""
Runner = Callable[..., Tensor]
"""Tensors of the shapes that it was made for, to the first output."""
Answer = Callable[[dict[str, np.ndarray]], np.ndarray]
"""Inputs by their names, to "logits" (B, C)."""
Opener = Callable[[Path, int], Answer]
"""An ONNX file, and how many threads are to run it."""


def check_engine(engine: str, device: torch.device) -> str:
    """The engine, if there is such a one and it runs on this device.

    Raises:
        InputError: If not, or its package is missing.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine}; choose {', '.join(ENGINES)}.")
    if engine in PACKAGES:
        if device.type != "cpu":
            raise InputError(f"The engine {engine} runs on the CPU here; give --device cpu, or choose another.")
        missing = [name for name in PACKAGES[engine] if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(f"{ENGINES[engine]} is not here; `pip install {' '.join(missing)}`, or choose eager.")
    return engine


def ready(loaded: Loaded, engine: str, batch: int = 1) -> Runner:
    """A loaded model in an engine: normalised (`batch`, 3, H, W) to logits (B, C).

    The model may be in use meanwhile: a graph is drawn of a copy, since that changes a module for a moment.

    Raises:
        InputError: See `graph_of` and `prepare`.
    """
    if engine == EAGER:
        return loaded.model
    graph = copy.deepcopy(graph_of(loaded.model, loaded.spec.keep, loaded.spec.name))
    size, device = loaded.card.geometry.img_size, next(loaded.model.parameters()).device
    return prepare(graph, engine, torch.zeros(batch, 3, size, size, device=device))


def prepare(model: nn.Module, engine: str, *inputs: Tensor) -> Runner:
    """Make a model ready in an engine; a minute or more for torch.compile, seconds for others.

    Args:
        model: In evaluation mode, on the inputs' device, doing the same for every input of their shapes.
        engine: One of `ENGINES`.
        inputs: Such as it will be given; the runner takes no other shapes.

    Raises:
        InputError: If the engine is none, or cannot be had or made ready here.
    """
    check_engine(engine, inputs[0].device)
    if engine == EAGER:
        return model
    if inputs[0].ndim == 4 and len(inputs[0]) == 1:
        model = for_one_image(model)
    with QUIET:  # nobody is timed beside a compiler, which takes every core
        return _compiled(model, inputs) if engine == COMPILE else _drawn(model, inputs, OPENERS[engine])


@torch.no_grad()
def _drawn(model: nn.Module, inputs: tuple[Tensor, ...], opened: Opener) -> Runner:
    """The model's graph as ONNX, opened by an engine on the CPU with as many threads as torch has now."""
    names = [f"input{index}" for index in range(len(inputs))]
    with TemporaryDirectory(prefix="prunescope-") as folder:
        path = Path(folder) / "model.onnx"
        draw_onnx(model, inputs, names).save(path)
        answer = opened(path, torch.get_num_threads())
    return lambda *given: torch.from_numpy(
        answer({name: tensor.numpy() for name, tensor in zip(names, given, strict=True)})
    )


def in_onnxruntime(path: Path, threads: int) -> Answer:
    """An ONNX file in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.force_spinning_stop", "1")  # two sessions that take turns
    before = mapped()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    collapse(mapped() - before)  # what is new is mostly its weights
    return lambda arrays: np.asarray(session.run(["logits"], arrays)[0])


def in_int8(path: Path, threads: int) -> Answer:
    """An ONNX file in onnxruntime on the CPU, all products with weights in int8.

    Weights are rounded per output channel, once; what they are multiplied with for each input anew, by its own range,
    so no photos are needed beforehand. Attention itself, norms, activations and what selectors compute per head stay in
    float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(path))
    del model.graph.value_info[:]  # torch's exporter leaves shapes there that onnx, inferring its own, contradicts
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # its shapes are known already
    stacks = {one.name for one in model.graph.initializer if len(one.dims) > 2}  # a matrix per head, in selectors
    left = [node.name for node in model.graph.node if len(node.input) > 1 and node.input[1] in stacks]
    rounded = path.with_name("rounded.onnx")
    kinds = ["MatMul", "Gemm"]
    quantize_dynamic(model, rounded, kinds, per_channel=True, weight_type=QuantType.QInt8, nodes_to_exclude=left)
    return in_onnxruntime(rounded, threads)


def in_bf16(path: Path, threads: int) -> Answer:
    """An ONNX file in OpenVINO on the CPU, computed in bf16.

    Raises:
        InputError: If the processor cannot.
    """
    import openvino

    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise InputError(f"This machine's processor does not compute in bf16; choose {OPENVINO} or {INT8}.")
    return in_openvino(path, threads, "bf16")


def in_openvino(path: Path, threads: int, precision: str = "f32") -> Answer:
    """An ONNX file in OpenVINO on the CPU, computed in the file's own precision, or in bf16."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,  # left to choose, it computes in bf16 where the processor has that
        "ENABLE_CPU_PINNING": False,  # a thread that is tied to a core waits for whatever else runs there
        "CACHE_DIR": "",
    }
    core, before = openvino.Core(), mapped()
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    collapse(mapped() - before)
    return lambda arrays: compiled(arrays, share_inputs=True)[0]


OPENERS: dict[str, Opener] = {ONNXRUNTIME: in_onnxruntime, INT8: in_int8, OPENVINO: in_openvino, BF16: in_bf16}


@torch.no_grad()
def _compiled(model: nn.Module, inputs: tuple[Tensor, ...]) -> Runner:
    """By torch's inductor, weights frozen into the graph.

    Raises:
        InputError: If its compiler is missing or fails.
    """
    # What first compiles looks for a CUDA compiler, and complains where there is one but no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        # Drawn first: torch keeps few graphs per class of module, and each drawn graph is a class of its own.
        graph = torch.export.export(model, inputs).module()
        run = torch.compile(graph, fullgraph=True, dynamic=False, options={"freezing": True})
        with torch.inference_mode():
            run(*inputs)
    except Exception as error:  # whatever the compilers raise
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InputError(
            f"torch.compile does not work here ({reason[:120].rstrip('.')}); install a C++ compiler (g++), or choose "
            f"another engine."
        ) from error

    def call(*given: Tensor) -> Tensor:
        with torch.inference_mode():  # as it was made: in another mode it would be compiled again
            return run(*given)

    return call
