# SPDX-License-Identifier: MIT
"""Elementwise kernels as one writes them in Triton. Each op takes what is held and returns a call (peers.py)."""
import triton
import triton.language as tl

version = triton.__version__


@triton.jit
def silu(x, y, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(x + i, mask=i < n).to(tl.float32)
    tl.store(y + i, v * tl.sigmoid(v), mask=i < n)


@triton.jit
def silu_backward(x, dy, dx, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(x + i, mask=i < n).to(tl.float32)
    g = tl.load(dy + i, mask=i < n).to(tl.float32)
    s = tl.sigmoid(v)
    tl.store(dx + i, g * s * (1 + v * (1 - s)), mask=i < n)


@triton.jit
def swiglu(gate, up, y, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(gate + i, mask=i < n).to(tl.float32)
    u = tl.load(up + i, mask=i < n).to(tl.float32)
    tl.store(y + i, v * tl.sigmoid(v) * u, mask=i < n)


@triton.jit
def swiglu_backward(gate, up, dy, dgate, dup, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(gate + i, mask=i < n).to(tl.float32)
    u = tl.load(up + i, mask=i < n).to(tl.float32)
    g = tl.load(dy + i, mask=i < n).to(tl.float32)
    s = tl.sigmoid(v)
    tl.store(dgate + i, g * u * s * (1 + v * (1 - s)), mask=i < n)
    tl.store(dup + i, g * v * s, mask=i < n)


def launch(kernel, block=1024):
    def take(work):
        operands = [*work.inputs, *work.outputs]
        n = operands[0].numel()
        return lambda: kernel[(triton.cdiv(n, block),)](*operands, n, block)

    return take


kernels = {"silu": silu, "silu_backward": silu_backward, "swiglu": swiglu, "swiglu_backward": swiglu_backward}
ops = {name: launch(kernel) for name, kernel in kernels.items()}
