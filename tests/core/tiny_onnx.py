"""Small ONNX detectors, made here: each finds the red pixels of its picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 32
NAMES = ("circle", "square")


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    outputs: dict[str, list[int]],
    **weights: np.ndarray,
) -> Path:
    """A model of one picture (1, 3, SIDE, SIDE)."""
    graph = helper.make_graph(
        list(nodes),
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def save_constant(path: Path, names: Sequence[str] = NAMES, **outputs: np.ndarray) -> Path:
    """A detector that answers the same for every picture; names beside it."""
    nodes = [helper.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["brightest", "zero"], ["nothing"])]
    nodes += [helper.make_node("Add", [f"{name}_", "nothing"], [name]) for name in outputs]
    weights = {f"{name}_": value.astype(np.float32) for name, value in outputs.items()}
    shapes = {name: list(value.shape) for name, value in outputs.items()}
    save(path, nodes, shapes, zero=np.zeros((), np.float32), **weights)
    path.with_suffix(".names").write_text("\n".join(names) + "\n")
    return path


def save_red_finder(path: Path, channel: int = 0) -> Path:
    """A FastestDet with one cell for each quarter: "circle", as sure as its mean of a channel."""
    half = SIDE // 2
    pick = np.zeros((1, 3, 1, 1), np.float32)
    pick[0, channel] = 1.0
    others = np.zeros((1, 6, 2, 2), np.float32)  # offsets, sizes, two classes
    others[:, 4] = 1.0  # a circle
    nodes = [
        helper.make_node("Conv", ["images", "pick"], ["chosen"]),
        helper.make_node(
            "AveragePool", ["chosen"], ["sure"], kernel_shape=[half, half], strides=[half, half]
        ),
        helper.make_node("Concat", ["sure", "others"], ["cells"], axis=1),
    ]
    save(path, nodes, {"cells": [1, 7, 2, 2]}, pick=pick, others=others)
    path.with_suffix(".names").write_text("\n".join(NAMES) + "\n")
    return path
