"""A TensorRT engine: compiled for this machine's GPU and this TensorRT, in f16, int8 or f32."""

from pathlib import Path
from typing import Any

from lakesight.errors import UserError
from lakesight.exporting import onnx
from lakesight.exporting.base import Source, Written
from lakesight.runtimes.engines import num_nvidia_gpus
from lakesight.runtimes.onnxruntime import GPU_BATCH

MAIN = "model.engine"
WORKSPACE_BYTES = 4 << 30


def convert(source: Source, folder: Path) -> Written:
    """Write an engine for batches of `GPU_BATCH` pictures; takes minutes.

    Raises UserError where the machine has no NVIDIA GPU.
    """
    if not num_nvidia_gpus():
        raise UserError(
            "a TensorRT engine is compiled on the GPU that it runs on, and this machine shows "
            "none: export to onnx here, which TensorRT compiles where it is run"
        )
    path = source.scratch / f"batch-{GPU_BATCH}.onnx"
    onnx.write(source, path, batch=GPU_BATCH)
    if source.precision == "int8":
        quantised = path.with_suffix(".int8.onnx")
        onnx.quantise(source, path, quantised, batch=GPU_BATCH, symmetric=True)
        path = quantised
    (folder / MAIN).write_bytes(_compiled(path, source.precision))
    return Written(MAIN)


def _compiled(path: Path, precision: str) -> bytes:
    """Return the engine of an ONNX file."""
    import tensorrt

    logger: Any = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        raise UserError(f"TensorRT cannot read the network: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # 10 bits of each number: f32 was asked for
    if precision in ("f16", "int8"):
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(tensorrt.BuilderFlag.INT8)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise UserError("TensorRT could not compile the network for this GPU: see its log above")
    return bytes(built)
