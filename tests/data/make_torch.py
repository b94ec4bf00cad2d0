"""Makes torch.pt and torch_legacy.pt, what torch.save writes today and wrote before 1.6: run with torch, in this folder."""

from collections import Counter, OrderedDict

import numpy as np
import torch

whole = torch.arange(12.0).reshape(3, 4)
attributed = torch.nn.Parameter(torch.arange(3.0))
attributed.note = "ours"
state = OrderedDict(
    {
        "whole": whole,
        "column": whole[:, 1],
        "turned": whole[1:, ::2].T,
        "spread": torch.tensor([7.0]).expand(2, 3),
        "parameter": torch.nn.Parameter(torch.arange(2.0)),
        "attributed": attributed,
        "buffer": torch.nn.Buffer(torch.arange(4)),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
        "imaginary": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    }
)
numbers = torch.tensor([0, 1, 2, 100])
names = "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128"
value = {
    "model": state,
    "dtypes": {name: numbers.to(getattr(torch, name)) for name in names.split()},
    "epoch": 3,
    "losses": [1.5, float("inf"), -(2**70)],
    "betas": (0.9, 0.999),
    "name": "naïve",
    "none": None,
    "yes": True,
    "raw": b"\x00\xff",
    "kinds": {1, 2},
    "count": Counter([30]),
    "z": 1 + 2j,
    "size": torch.Size([2, 3]),
    "device": torch.device("cuda:1"),
    "dtype": torch.bfloat16,
    "best": np.float64(0.25),
    "table": np.arange(6, dtype=">i2").reshape(2, 3),
}
torch.save(value, "torch.pt")
torch.save(value, "torch_legacy.pt", _use_new_zipfile_serialization=False)
