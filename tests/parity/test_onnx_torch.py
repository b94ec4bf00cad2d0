"""torch to ONNX to here, and torch's weights from here to ONNX Runtime."""

import warnings

import numpy as np
import pytest

import tinygrad_lstm as tl

torch = pytest.importorskip("torch", reason="parity with torch; pip install torch")
pytest.importorskip("onnx", reason="ONNX files; pip install 'tinygrad_lstm[onnx]'")

KINDS = ["LSTM", "GRU", "RNN"]


class Tagger(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.embed = torch.nn.Embedding(20, 6)
        self.layer = layer
        self.norm = torch.nn.LayerNorm(16)
        self.out = torch.nn.Linear(16, 4)

    def forward(self, ids):
        h, _ = self.layer(self.embed(ids))
        return torch.log_softmax(self.out(torch.nn.functional.gelu(self.norm(h))), -1), h[:, -1]


@pytest.mark.parametrize("kind", KINDS)
def test_what_torch_exports_runs_here(kind, tmp_path):
    torch.manual_seed(0)
    net = Tagger(getattr(torch.nn, kind)(6, 8, 2, batch_first=True, bidirectional=True, dropout=0.2)).eval()
    path = str(tmp_path / "torch.onnx")
    axes = {"ids": {0: "batch", 1: "steps"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["ids"], "output_names": ["scores", "last"]}
        torch.onnx.export(net, (torch.randint(0, 20, (3, 9)),), path, dynamo=False, dynamic_axes=axes, **names)
    model = tl.onnx.load(path)
    assert model.inputs["ids"].shape == ("batch", "steps") and f"2 {kind}" in repr(model)
    for shape in ((3, 9), (5, 4), (1, 1)):
        ids = torch.randint(0, 20, shape)
        results = model.run({"ids": ids.numpy()})
        with torch.no_grad():
            for got, expected in zip(results, net(ids), strict=True):
                np.testing.assert_allclose(got, expected.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("projected", [0, 3])
def test_torchs_weights_in_onnx_runtime(kind, projected, rng, tmp_path):
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime judges exports; pip install onnxruntime")
    if projected and kind != "LSTM":
        projected, options = 0, {"bias": False}
    else:
        options = {"proj_size": projected} if projected else {}
    theirs = getattr(torch.nn, kind)(4, 5, 2, bidirectional=True, **options)
    ours = getattr(tl.nn, kind)(4, 5, 2, bidirectional=True, **options)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    shapes = [(4, 2, projected or 5), (4, 2, 5)] if kind == "LSTM" else [(4, 2, 5)]

    def example(batch):
        states = tuple(rng.standard_normal((n, batch, k)).astype(np.float32) for n, _, k in shapes)
        return rng.standard_normal((6, batch, 4)).astype(np.float32), states if kind == "LSTM" else states[0]

    path = tmp_path / "model.onnx"
    tl.onnx.export(ours, path, example(2))
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x, states = example(3)
    given = [x, *states] if kind == "LSTM" else [x, states]
    names = [i.name for i in session.get_inputs()]
    got = session.run(None, dict(zip(names, given, strict=True)))
    lifted = tuple(map(torch.tensor, states)) if kind == "LSTM" else torch.tensor(states)
    with torch.no_grad():
        out, last = theirs(torch.tensor(x), lifted)
    expected = [out, *(last if kind == "LSTM" else [last])]
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=2e-5, atol=2e-6)
