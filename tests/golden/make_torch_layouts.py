"""Writes torch_layouts*.pth: tensors that are not plain float32 blocks, in the zip form, in the legacy form
and in a zip that something else than PyTorch has compressed.

Run in this folder with PyTorch 2: python make_torch_layouts.py
"""

import argparse
import zipfile
from collections import OrderedDict

import torch

base = torch.arange(24, dtype=torch.float32)
parameter = torch.nn.Parameter(base[:3].clone())
parameter._no_weight_decay = True  # what Mamba marks some of its parameters with

weights = OrderedDict(
    {
        "module.transposed": base.view(4, 6).t(),
        "module.offset": base[5:11].view(2, 3),
        "module.strided": base.view(4, 6)[:, 1::2],
        "module.permuted": base.view(2, 3, 4).permute(1, 2, 0),
        "module.scalar": base[7],
        "module.empty": torch.empty(0, 4),
        "module.bf16": base[:6].bfloat16().view(2, 3),
        "module.f64": base[:3].double() / 3,
        "module.i64": torch.tensor([1, 2]),
        "module.bool": torch.tensor([True]),
        "module.parameter": parameter,
        "module.plain_parameter": torch.nn.Parameter(base[3:5].clone()),
    }
)
# A name, not a dict, under the first key that is looked at.
checkpoint = {"model": "vim_tiny", "state_dict": weights, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}

torch.save(checkpoint, "torch_layouts.pth")
torch.save(checkpoint, "torch_layouts_legacy.pth", _use_new_zipfile_serialization=False, pickle_protocol=4)

with zipfile.ZipFile("torch_layouts.pth") as plain:
    with zipfile.ZipFile("torch_layouts_deflated.pth", "w", zipfile.ZIP_DEFLATED) as deflated:
        for member in plain.namelist():
            deflated.writestr(zipfile.ZipInfo(member), plain.read(member), zipfile.ZIP_DEFLATED)
