"""Makes metrics_small.npz out of the workspace's metrics_public.npz.

    python tests/golden/make_metrics_small.py ../shared/golden/metrics_public.npz

Keeps the FID and KID answers of the published implementations (with the library, version and call
that gave each) and the SHA-256 of the inputs, which `metrics_recipe.py` regenerates.
"""

import hashlib
import json
import re
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import metrics_recipe

CASES = "AUIBC"
# ddof 0, block and square-root variants are other definitions than ours.
KEPT = re.compile(
    rf"val/[{CASES}]/(fid/(exact_f64|pytorch_fid_f64|torch_fidelity_f64)"
    r"|kid/(torch_fidelity_f64_.*|mmdgan_f64_.*|full_sample_unbiased_f64))$"
)


def main(path):
    """Writes metrics_small.npz beside this file."""
    z = np.load(path)
    meta = json.loads(str(z["meta_json"]))
    kept = {key: z[key] for key in z.files if KEPT.match(key)}
    sha256 = {}
    for name in "ABC":
        for side, x in zip(("fake", "real"), metrics_recipe.case(name, meta["cases"]), strict=True):
            sha256[f"{name}/{side}"] = hashlib.sha256(np.ascontiguousarray(x)).hexdigest()
            if f"in/{name}/{side}" in z.files:
                np.testing.assert_array_equal(x, z[f"in/{name}/{side}"])
            else:
                assert sha256[f"{name}/{side}"] == meta["cases"][name][f"sha_{side}"]
    meta = {
        "cases": {name: meta["cases"][name] for name in "ABC"},
        "labels": {key: meta["labels"][key] for key in kept},
        "versions": meta["versions"],
        "sha256": sha256,
    }
    out = Path(__file__).with_name("metrics_small.npz")
    np.savez_compressed(out, meta_json=np.array(json.dumps(meta)), **kept)
    print(f"{len(kept)} values: {out} ({out.stat().st_size} bytes)")


if __name__ == "__main__":
    main(sys.argv[1])
