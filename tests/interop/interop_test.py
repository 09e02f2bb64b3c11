# SPDX-License-Identifier: MIT
"""interop_test.py <silica> <safetensors_interop>: files of silica and of the Python package `safetensors`, each read by
the other, bit for bit."""
import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

NAMES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "i32": "I32", "u32": "U32", "u8": "U8"}
NUMPY = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32, "u8": np.uint8}


def check(condition, *what):
    if not condition:
        sys.exit(f"interop_test: {' '.join(map(str, what))}")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    check(done.returncode == 0, *command, "failed:", done.stderr)
    return done.stdout


def raw(path):
    """name -> (dtype, shape, bytes), by the package's own parser, which knows every dtype."""
    entries = safetensors.deserialize(Path(path).read_bytes())
    return {name: (entry["dtype"], list(entry["shape"]), bytes(entry["data"])) for name, entry in entries}


def metadata(path):
    with safetensors.safe_open(path, framework="np") as file:
        return file.metadata()


def dumped(interop, path):
    content = json.loads(run(interop, "dump", path))
    tensors = {
        name: (NAMES[tensor["dtype"]], tensor["shape"], bytes.fromhex(tensor["hex"]))
        for name, tensor in content["tensors"].items()
    }
    return tensors, content["metadata"]


def silica_writes(interop, folder):
    path = str(folder / "silica.safetensors")
    run(interop, "write", path)
    want = {
        "f32": np.array([[0.1, -2.5, 1e-45], [-0.0, np.inf, 3e38]], np.float32),
        "f16": np.array([0.1, -6e-8, 65504], np.float16),
        "i32": np.array([-(2**31), -1, 7], np.int32),
        "u32": np.array([[2**32 - 1, 1]], np.uint32),
        "u8": np.array([0, 128, 255], np.uint8),
        "none": np.zeros((0, 3), np.float32),
        "scalar": np.array(42, np.float32),
        "a name, é": np.array([1], np.float32),
    }
    with safetensors.safe_open(path, framework="np") as file:
        check(set(file.keys()) == {*want, "bf16"}, "names:", list(file.keys()))
        for name, tensor in want.items():
            got = file.get_tensor(name)
            check(got.dtype == tensor.dtype and got.shape == tensor.shape, name, "is", got.dtype, got.shape)
            check(got.tobytes() == tensor.tobytes(), name, "is", got)
    # 0.1, -1 and 3e38 to the nearest bfloat16
    bf16 = ("BF16", [3, 1], struct.pack("<3H", 0x3DCD, 0xBF80, 0x7F62))
    check(raw(path)["bf16"] == bf16, "bf16 is", raw(path)["bf16"])
    check(metadata(path) == {"who": "silica", "text": 'a "quote", a \\ and\na line, €'}, "metadata:", metadata(path))


def python_writes(interop, folder):
    random = np.random.default_rng(1)
    path = str(folder / "python.safetensors")
    shapes = [(), (1,), (7,), (3, 5), (2, 0, 4), (0,), (1, 2, 3, 1, 2, 2), (129, 65)]
    tensors = {}
    for dtype, kind in NUMPY.items():
        for shape in shapes:
            bits = random.integers(0, 256, int(np.prod(shape)) * np.dtype(kind).itemsize, np.uint8)
            tensors[f"{dtype} {shape} ü"] = np.frombuffer(bits.tobytes(), kind).reshape(shape)
    for about in ({"k": "v", "ключ": 'a\t"b"\\'}, None):
        safetensors.numpy.save_file(tensors, path, metadata=about)
        got, got_about = dumped(interop, path)
        check(got == raw(path), "what silica reads of the package's file differs")
        check(got_about == (about or {}), "metadata:", got_about)
        check({name: data for name, (_, _, data) in got.items()} == {n: t.tobytes() for n, t in tensors.items()}, "bytes")
    safetensors.numpy.save_file({}, path)
    check(dumped(interop, path) == ({}, {}), "a file without tensors")

    # numpy has no bfloat16: a file by hand, which the package accepts.
    data = random.integers(0, 256, 24, np.uint8).tobytes()
    header = json.dumps({"w": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24]},
                         "e": {"dtype": "BF16", "shape": [0], "data_offsets": [24, 24]}}).encode()
    Path(path).write_bytes(struct.pack("<Q", len(header)) + header + data)
    check(dumped(interop, path)[0] == raw(path) == {"w": ("BF16", [3, 4], data), "e": ("BF16", [0], b"")}, "bf16")


def digest(tensors):
    """silica's digest of a checkpoint's tensors: apps/silica/safetensors.h."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors, key=str.encode):
        tensor, dtype = tensors[name], b"F32"
        sha256.update(struct.pack("<Q", len(name.encode())) + name.encode() + dtype)
        sha256.update(struct.pack(f"<{tensor.ndim + 1}Q", tensor.ndim, *tensor.shape) + tensor.tobytes())
    return sha256.hexdigest()


def checkpoint(silica, folder):
    words, ours, theirs = folder / "words", str(folder / "ours.safetensors"), str(folder / "theirs.safetensors")
    syllables = ["ba", "che", "di", "fo", "gu", "kra", "le", "mi", "no", "pu"]
    words.write_text("".join(f"{a}{b}{c}\n" for a in syllables for b in syllables for c in syllables))
    run(silica, "train", "--data", str(words), "--width", "4", "--hidden", "24", "--batch", "32", "--steps", "3",
        "--no-progress", "--out", ours)
    about = metadata(ours)
    tensors = safetensors.numpy.load_file(ours)
    check(about["format"] == "silica speller 1" and about["step"] == "3", "metadata:", about)
    check(tensors["history.loss"].shape == (3,) and np.isfinite(tensors["history.loss"]).all(), "the losses")
    check(all(tensor.dtype == np.float32 for tensor in tensors.values()), "dtypes")
    check(about["tensors_sha256"] == digest(tensors), "the digest")

    # The package orders header and data otherwise; silica takes its file for the same run.
    safetensors.numpy.save_file(tensors, theirs, metadata=about)
    check(Path(ours).read_bytes() != Path(theirs).read_bytes(), "the files are equal: this tests nothing")
    generate = [silica, "generate", "-n", "5", "--data", str(words), "--model"]
    check(run(*generate, ours) == run(*generate, theirs), "the words differ")


def main():
    silica, interop = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        silica_writes(interop, Path(folder))
        python_writes(interop, Path(folder))
        checkpoint(silica, Path(folder))
    print(f"interop_test: equal to the bit with safetensors {safetensors.__version__}, numpy {np.__version__}")


main()
