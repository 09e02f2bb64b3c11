# SPDX-License-Identifier: MIT
"""PyTorch and Triton for `silica bench --peers`: answers lines of JSON. On CUDA a measurement is a graph of many calls,
replayed, as silica's command lists are; on the CPU it is a loop of calls."""
import ctypes
import gc
import json
import os
import sys
import time
import warnings

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer
warnings.filterwarnings("ignore")

present, missing = [], []
try:
    import torch
except Exception as error:
    torch = None
    missing.append(f"PyTorch: {error} ({sys.executable})")




# ---- PyTorch. Each function takes what is held and returns a call, which writes the outputs.


def feedforward(x, gate, up, down):
    linear = torch.nn.functional.linear
    return linear(torch.nn.functional.silu(linear(x, gate)) * linear(x, up), down)


def feedforward_in_out(x, gate, up, down):
    return (torch.nn.functional.silu(x @ gate) * (x @ up)) @ down


def network(w):
    return feedforward_in_out if w.in_out else feedforward


def train(w, function):
    leaves, dy = [t.detach().requires_grad_() for t in w.inputs[:4]], w.inputs[4]

    def call():
        with torch.enable_grad():
            y = function(*leaves)
            w.outputs = [y.detach(), *torch.autograd.grad(y, leaves, dy)]

    return call


def infer(w, function):
    def call():
        w.outputs = [function(*w.inputs)]

    return call


def multiply(w):
    a, b = (t.T if transposed else t for t, transposed in zip(w.inputs, w.transpose))
    return lambda: torch.matmul(a, b, out=w.outputs[0])


def swiglu(w):
    (gate, up), (y,) = w.inputs, w.outputs
    return lambda: torch.mul(torch.nn.functional.silu(gate), up, out=y)


def swiglu_backward(w):
    """What autograd runs, with silu(gate) kept from the forward pass."""
    (gate, up, dy), (dgate, dup) = w.inputs, w.outputs
    activated = torch.nn.functional.silu(gate)

    def call():
        torch.ops.aten.silu_backward.grad_input(dy * up, gate, grad_input=dgate)
        torch.mul(dy, activated, out=dup)

    return call


def simple(function):
    return lambda w: lambda: function(w.inputs, w.outputs)


pytorch = {
    "copy": simple(lambda i, o: o[0].copy_(i[0])),
    "silu": simple(lambda i, o: torch.ops.aten.silu.out(i[0], out=o[0])),
    "silu_backward": simple(lambda i, o: torch.ops.aten.silu_backward.grad_input(i[1], i[0], grad_input=o[0])),
    "sigmoid": simple(lambda i, o: torch.sigmoid(i[0], out=o[0])),
    "add": simple(lambda i, o: torch.add(i[0], i[1], out=o[0])),
    "sub": simple(lambda i, o: torch.sub(i[0], i[1], out=o[0])),
    "mul": simple(lambda i, o: torch.mul(i[0], i[1], out=o[0])),
    "swiglu": swiglu,
    "swiglu_backward": swiglu_backward,
    "matmul": multiply,
    "ffn": lambda w: infer(w, network(w)),
    "ffn_train": lambda w: train(w, network(w)),
}


def compiled(make):
    return lambda w: make(w, torch.compile(network(w), dynamic=False))


pytorch_compiled = {"ffn": compiled(infer), "ffn_train": compiled(train)}


# ---- the data and the time


class Work:
    """What is held, with outputs of its own for each peer."""

    def __init__(self, question, inputs):
        self.op, self.inputs = question["op"], inputs
        self.transpose, self.in_out = question["transpose"], question["in_out"]
        self.outputs = [torch.zeros(s, dtype=dtypes[question["dtype"]], device=device) for s in question["outputs"]]
        self.call, self.graph, self.calls, self.replays = None, None, 1, 1

    def prepare(self, calls):
        if device.type == "cpu":
            self.calls, self.replays = calls, 1
            return calls
        self.calls = min(calls, 512)
        self.replays = -(-calls // self.calls)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            for _ in range(self.calls):
                self.call()
        return self.calls * self.replays

    def measure(self):
        synchronize()
        start = time.perf_counter()
        for _ in range(self.replays):
            if self.graph is None:
                for _ in range(self.calls):
                    self.call()
            else:
                self.graph.replay()
        synchronize()
        return time.perf_counter() - start


def synchronize():
    if device.type == "cuda":
        torch.cuda.synchronize()


def load(description):
    with open(description["file"], "rb") as file:
        block = torch.frombuffer(bytearray(file.read()), dtype=dtypes[description["dtype"]]).to(device)
    count = 1
    for extent in description["shape"]:
        count *= extent
    return block.repeat(-(-count // block.numel()))[:count].reshape(description["shape"])


def save(tensor, ranges, path):
    flat = tensor.reshape(-1)
    part = torch.cat([flat[first : first + count] for first, count in ranges]).cpu().contiguous()
    with open(path, "wb") as file:
        file.write(ctypes.string_at(part.data_ptr(), part.numel() * part.element_size()))


def open_device(question):
    global device, dtypes
    if torch is None:
        return
    torch.set_grad_enabled(False)
    torch.set_num_threads(question["threads"])
    torch.backends.cuda.matmul.allow_tf32 = False
    dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "u32": torch.int32}
    device = torch.device(question["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        missing.append(f"PyTorch: {torch.__version__} sees no CUDA device")
        return
    ops["PyTorch"] = pytorch
    present.append({"name": "PyTorch", "version": torch.__version__, "ops": list(pytorch)})
    if device.type == "cuda":
        torch.cuda.set_device(device)
        ops["PyTorch compiled"] = pytorch_compiled
        present.append({"name": "PyTorch compiled", "version": torch.__version__, "ops": list(pytorch_compiled)})
        try:
            import peers_triton

            ops["Triton"] = peers_triton.ops
            present.append({"name": "Triton", "version": peers_triton.version, "ops": list(peers_triton.ops)})
        except Exception as error:
            missing.append(f"Triton: {error} ({sys.executable})")


def warm_up(work):
    """Outside of a graph, on a stream of its own, as capturing asks for."""
    if device.type == "cpu":
        return work.call()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            work.call()
    torch.cuda.current_stream().wait_stream(stream)


def answer(question):
    global held, inputs
    do, peer = question["do"], question.get("peer")
    if do == "open":
        open_device(question)
        return {"present": present, "missing": missing}
    if do == "hold":
        works.clear()
        torch.backends.cuda.matmul.allow_tf32 = question["fast"]
        inputs = None
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        held, inputs = question, [load(i) for i in question["inputs"]]
    elif do == "take":
        works[peer] = Work(held, inputs)
        works[peer].call = ops[peer][held["op"]](works[peer])
    elif do == "run":
        warm_up(works[peer])
    elif do == "fetch":
        save(works[peer].outputs[question["output"]], question["ranges"], question["file"])
    elif do == "prepare":
        return {"calls": works[peer].prepare(question["calls"])}
    elif do == "measure":
        return {"seconds": works[peer].measure()}
    return {}


ops, works, held, inputs, device, dtypes = {}, {}, None, None, None, None
gc.disable()
for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print(json.dumps(reply), file=answers, flush=True)
