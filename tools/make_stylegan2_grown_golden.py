"""Makes tests/golden/stylegan2_grown.npz with the official TF1 code of StyleGAN2's configs B to D.

    .venv/bin/python tools/make_stylegan2_grown_golden.py PATH/stylegan2

Runs `G_synthesis_stylegan_revised` and `D_stylegan` of training/networks_stylegan2.py under
TensorFlow 2's compat.v1, narrow, with random weights, from a checkout outside this repository (its
licence is non-commercial). Entries: ws, x, c (inputs), G/LOD and D/LOD (outputs, NCHW), g:NAME and
d:NAME (weights by official name).
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import make_import_golden_tf as shared

LODS = (0.0, 0.25, 1.0, 1.4)
NARROW = {"resolution": 16, "num_channels": 3, "fmap_base": 32, "fmap_max": 8}


def main(checkout: str) -> None:
    """Writes the file."""
    tf = shared.tf
    shared.pretend_tf1()
    sys.path.insert(0, checkout)
    from dnnlib import tflib

    shared.reference_ops()
    module = "training.networks_stylegan2."
    g = tflib.Network(
        "G", func_name=module + "G_synthesis_stylegan_revised", dlatent_size=6, **NARROW
    )
    d = tflib.Network(
        "D", func_name=module + "D_stylegan", label_size=3, mbstd_group_size=2, **NARROW
    )
    shared.randomise(g, 0)
    shared.randomise(d, 1)
    rng = np.random.default_rng(3)
    made = {
        "ws": rng.standard_normal((4, 6, 6)).astype(np.float32),
        "x": rng.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32),
        "c": np.eye(3, dtype=np.float32)[[0, 2, 1, 1]],
    }
    images = g.get_output_for(tf.constant(made["ws"]), structure="recursive", randomize_noise=False)
    scores = d.get_output_for(tf.constant(made["x"]), tf.constant(made["c"]), structure="recursive")
    for lod in LODS:
        g.set_var("lod", np.float32(lod))
        d.set_var("lod", np.float32(lod))
        made[f"G/{lod}"], made[f"D/{lod}"] = images.eval(), scores.eval()
    for letter, network in (("g", g), ("d", d)):
        made |= {f"{letter}:{name}": network.get_var(name) for name in network.vars}
    np.savez_compressed(shared.GOLDEN / "stylegan2_grown.npz", **made)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(sys.argv[1])
