"""Makes tests/golden/ada.npz from the official AugmentPipe, which the user brings.

    python tests/golden/ada_recipe.py CHECKOUT tests/golden/ada.npz

CHECKOUT is a clone of NVlabs/stylegan2-ada-pytorch (made with d72cc7d, torch 2.13 on a CPU); it
needs torch and scipy. Images are NHWC. Nothing of the checkout enters the file but its answers:

* `{group}@{q}`: `x24` (or its mean over channels, for `grey@q`) through a group's operations at
  debug_percentile q, without noise;
* `warp{i}_*`: images, inverse matrices, and the images moved by them (the matrices handed in
  instead of those of the x-flip); ordinary ones, and some that need more than can be padded;
* `colour_*`: images, 4x4 colour matrices, recoloured images (handed in as the brightness);
* `bank`: the filter bank.
"""

import sys
import types

import numpy as np

GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "cutout": ("cutout",),
}
GROUPS["bgc"] = GROUPS["blit"] + GROUPS["geom"] + GROUPS["color"]
GROUPS["grey"] = GROUPS["bgc"]
PERCENTILES = (0.03, 0.3, 0.8, 0.97)


def inverses(rng, count, height, width, strength):
    """(count, 3, 3) rotate, stretch, rotate, shift."""
    out = []
    for _ in range(count):
        turns = []
        for angle in rng.uniform(-np.pi, np.pi, 2):
            c, s = np.cos(angle), np.sin(angle)
            turns.append(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
        scale, stretch = 2 ** (0.2 * strength * rng.standard_normal(2))
        shift = np.eye(3)
        shift[:2, 2] = 0.125 * strength * rng.standard_normal(2) * [width, height]
        zoom = np.diag([scale * stretch, scale / stretch, 1])
        out.append(turns[0] @ zoom @ turns[1] @ shift)
    return np.array(out, np.float32)


def main(checkout, path):
    """Writes the file."""
    sys.path.insert(0, checkout)
    sys.modules.setdefault("requests", types.ModuleType("requests"))  # imported, not used
    import torch
    from training import augment

    rng = np.random.default_rng(0)

    def images(*shape):
        return rng.uniform(-1, 1, shape).astype(np.float32)

    def run(names, x, percentile=None):
        pipe = augment.AugmentPipe(**dict.fromkeys(names, 1))
        y = pipe(torch.from_numpy(x).permute(0, 3, 1, 2), debug_percentile=percentile)
        return y.permute(0, 2, 3, 1).numpy()

    def run_given(names, builder, matrix, x):
        """Hands `matrix` in as the first answer of one of the module's matrix builders."""
        official, answers = getattr(augment, builder), [torch.from_numpy(matrix)]
        setattr(augment, builder, lambda *a, **k: answers.pop() if answers else official(*a, **k))
        try:
            return run(names, x)
        finally:
            setattr(augment, builder, official)

    out = {"x24": images(1, 24, 24, 3)}
    for group, names in GROUPS.items():
        for q in PERCENTILES:
            x = out["x24"].mean(axis=-1, keepdims=True) if group == "grey" else out["x24"]
            out[f"{group}@{q}"] = run(names, x, q)
    for i, (height, width, channels, strength) in enumerate(
        [(16, 16, 3, 1.0), (12, 20, 1, 1.0), (12, 12, 3, 4.0)]
    ):
        x = images(6, height, width, channels)
        g = inverses(rng, len(x), height, width, strength)
        y = run_given(["xflip"], "scale2d_inv", g, x)
        out |= {f"warp{i}_x": x, f"warp{i}_inverse": g, f"warp{i}_y": y}
    x, matrix = images(4, 4, 4, 3), rng.standard_normal([4, 4, 4]).astype(np.float32)
    matrix[:, 3] = [0, 0, 0, 1]
    y = run_given(["brightness"], "translate3d", matrix, x)
    grey = run_given(["brightness"], "translate3d", matrix, x[..., :1].copy())
    out |= {"colour_x": x, "colour_matrix": matrix, "colour_y": y, "colour_grey": grey}
    out["bank"] = augment.AugmentPipe().Hz_fbank.numpy()
    np.savez_compressed(path, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
