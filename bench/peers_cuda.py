# SPDX-License-Identifier: MIT
"""The rows of bench/cuda.cpp for PyTorch and Triton, in the same form: `name.peer microseconds rate unit`. A CUDA graph
of many calls is replayed, as there."""
import torch
import triton
import triton.language as tl

torch.backends.cuda.matmul.allow_tf32 = False
F = torch.nn.functional


@triton.jit
def silu_kernel(x, y, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(x + i, mask=i < n).to(tl.float32)
    tl.store(y + i, v * tl.sigmoid(v), mask=i < n)


@triton.jit
def silu_backward_kernel(x, dy, dx, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(x + i, mask=i < n).to(tl.float32)
    g = tl.load(dy + i, mask=i < n).to(tl.float32)
    s = tl.sigmoid(v)
    tl.store(dx + i, g * s * (1 + v * (1 - s)), mask=i < n)


@triton.jit
def swiglu_kernel(a, b, y, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(a + i, mask=i < n).to(tl.float32)
    u = tl.load(b + i, mask=i < n).to(tl.float32)
    tl.store(y + i, v * tl.sigmoid(v) * u, mask=i < n)


@triton.jit
def swiglu_backward_kernel(a, b, dy, da, db, n, block: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    v = tl.load(a + i, mask=i < n).to(tl.float32)
    u = tl.load(b + i, mask=i < n).to(tl.float32)
    g = tl.load(dy + i, mask=i < n).to(tl.float32)
    s = tl.sigmoid(v)
    tl.store(da + i, g * u * s * (1 + v * (1 - s)), mask=i < n)
    tl.store(db + i, g * v * s, mask=i < n)


def measure(call, calls):
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    best = 1e9
    for i in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        if i >= 3:
            best = min(best, start.elapsed_time(end) * 1e-3)
    return best / calls


def row(name, peer, amount, unit, calls, call):
    seconds = measure(call, calls)
    print(f"{name + '.' + peer:<36} {seconds * 1e6:11.2f} us {amount / seconds / 1e12:9.3f} {unit}", flush=True)


def elementwise(dtype, label, power, calls):
    n = 1 << power
    t = [torch.full((n,), 0.25 * i - 0.6, dtype=dtype, device="cuda") for i in range(5)]
    bytes_ = n * t[0].element_size()
    suffix = f".{label}.2^{power}"
    grid = lambda block: (triton.cdiv(n, block),)
    block = 1024
    add = lambda op, peer, operands, call: row(op + suffix, peer, operands * bytes_, "TB/s", calls, call)
    add("copy", "torch", 2, lambda: t[1].copy_(t[0]))
    add("silu", "torch", 2, lambda: torch.ops.aten.silu.out(t[0], out=t[1]))
    add("silu", "triton", 2, lambda: silu_kernel[grid(block)](t[0], t[1], n, block))
    add("silu_backward", "torch", 3, lambda: torch.ops.aten.silu_backward.grad_input(t[1], t[0], grad_input=t[2]))
    add("silu_backward", "triton", 3, lambda: silu_backward_kernel[grid(block)](t[0], t[1], t[2], n, block))
    add("swiglu", "triton", 3, lambda: swiglu_kernel[grid(block)](t[0], t[1], t[2], n, block))
    add("swiglu_backward", "triton", 5, lambda: swiglu_backward_kernel[grid(block)](*t, n, block))


def multiply(m, n, k, ta, tb, calls):
    a = torch.full((k, m) if ta else (m, k), 0.5, device="cuda")
    b = torch.full((n, k) if tb else (k, n), 0.25, device="cuda")
    c = torch.empty((m, n), device="cuda")
    name = f"matmul.{m}x{n}x{k}" + (".ta" if ta else "") + (".tb" if tb else "")
    row(name, "cublas", 2 * m * n * k, "TFLOP/s", calls,
        lambda: torch.matmul(a.T if ta else a, b.T if tb else b, out=c))


def multiply_fast(dtype, label, m, n, k, calls):
    torch.backends.cuda.matmul.allow_tf32 = True
    a = (torch.rand((m, k), device="cuda") * 2 - 1).to(dtype)
    b = (torch.rand((n, k), device="cuda") * 2 - 1).to(dtype)
    c = torch.empty((m, n), device="cuda", dtype=dtype)
    row(f"matmul.fast.{label}.{m}x{n}x{k}.tb", "torch", 2 * m * n * k, "TFLOP/s", calls, lambda: torch.matmul(a, b.T, out=c))
    torch.backends.cuda.matmul.allow_tf32 = False


print(f"# {torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Triton {triton.__version__}")
for dtype, label in ((torch.float32, "f32"), (torch.bfloat16, "bf16")):
    elementwise(dtype, label, 28, 10)
for power in (12, 16, 20):
    elementwise(torch.float32, "f32", power, 500)
for ta in (False, True):
    for tb in (False, True):
        multiply(4096, 4096, 4096, ta, tb, 3)
multiply(1024, 1024, 1024, False, True, 50)
multiply(512, 1536, 576, False, True, 100)
multiply(512, 576, 1536, False, True, 100)
multiply(1, 14336, 4096, False, True, 50)
multiply(1, 14336, 4096, False, False, 50)
for dtype, label in ((torch.float32, "f32"), (torch.float16, "f16"), (torch.bfloat16, "bf16")):
    multiply_fast(dtype, label, 8192, 8192, 8192, 2)
    multiply_fast(dtype, label, 4096, 4096, 4096, 5)
    multiply_fast(dtype, label, 512, 1536, 576, 100)
