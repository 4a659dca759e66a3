"""The reference packages' side of `metrics.py`; obeys it through stdin and stdout.

    python worker_metrics_peer.py TASK:PACKAGE SIZES_JSON

Each peer is timed from features to score with its own functions. pytorch-fid and torch-fidelity
import torchvision at their top for image files and networks, which none of the timed functions
uses; where it is not installed an empty stand-in takes its place.
"""

import contextlib
import importlib.util
import io
import json
import os
import sys

import metrics_tasks
import numpy as np
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


class _Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _StandIn(metaclass=_Anything):
    pass


if importlib.util.find_spec("torchvision") is None:
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        sys.modules[f"torchvision{name}"] = _StandIn


def frechet_pytorch_fid(fake, real, sizes):
    from pytorch_fid.fid_score import calculate_frechet_distance

    # It keeps activations in float64, so its means are of float64.
    sets = [x.astype(np.float64) for x in (fake, real)]
    moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in sets]
    return [float(calculate_frechet_distance(*moments[0], *moments[1]))]


def frechet_torch_fidelity(fake, real, sizes):
    from torch_fidelity import metric_fid

    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(x)) for x in (fake, real)]
    return list(metric_fid.fid_statistics_to_metric(*statistics, verbose=False).values())


def kernel_torch_fidelity(fake, real, sizes):
    from torch_fidelity import metric_kid

    found = metric_kid.kid_features_to_metric(
        torch.from_numpy(fake),
        torch.from_numpy(real),
        kid_subsets=sizes["subsets"],
        kid_subset_size=sizes["subset_size"],
        rng_seed=metrics_tasks.SUBSET_SEED,
        verbose=False,
    )
    return [found[metric_kid.KEY_METRIC_KID_MEAN], found[metric_kid.KEY_METRIC_KID_STD]]


def prdc_prdc(fake, real, sizes):
    from prdc import compute_prdc

    with contextlib.redirect_stdout(io.StringIO()):  # it prints the counts
        found = compute_prdc(real, fake, sizes["k"])
    return [float(found[name]) for name in ("precision", "recall", "density", "coverage")]


if __name__ == "__main__":
    functions = {
        "frechet:pytorch-fid": frechet_pytorch_fid,
        "frechet:torch-fidelity": frechet_torch_fidelity,
        "frechet-ill:pytorch-fid": frechet_pytorch_fid,
        "frechet-ill:torch-fidelity": frechet_torch_fidelity,
        "kernel:torch-fidelity": kernel_torch_fidelity,
        "prdc:prdc": prdc_prdc,
    }
    task = sys.argv[1]
    metrics_tasks.serve(functions[task], task.partition(":")[0], json.loads(sys.argv[2]))
