"""Cases and weights of progan_networks.npz, shared by its maker and the test."""

import zlib

import numpy as np

BATCH, LATENT = 8, 6
NARROW = {"fmap_base": 128, "fmap_max": 16}
# name: resolution, classes, arguments of the official networks, lods
CASES = {
    "plain": (32, 0, {}, (0.0, 0.25, 0.5, 1.0, 1.75, 2.375, 3.0)),
    "labels": (16, 3, {}, (0.0, 0.625, 1.5)),
    "grey": (8, 0, {"num_channels": 1, "mbstd_group_size": 2}, (0.0, 0.75)),
}


def value(case, name, shape):
    """Any weight by its official name, away from its initial value; float32."""
    random = np.random.RandomState(zlib.crc32(f"{case}/{name}".encode()))
    scale = 0.2 if name.endswith("bias") else 1.0
    return (scale * random.standard_normal(shape)).astype(np.float32)


def inputs(case, lod):
    """z (B, LATENT), labels (B,), images (B, r, r, C) at the working resolution of a lod."""
    resolution, classes, arguments, _ = CASES[case]
    random = np.random.RandomState(zlib.crc32(f"{case}/{lod}".encode()))
    side = resolution >> int(lod)
    z = random.standard_normal((BATCH, LATENT)).astype(np.float32)
    images = random.uniform(-1, 1, (BATCH, side, side, arguments.get("num_channels", 3)))
    return z, np.arange(BATCH) % max(classes, 1), images.astype(np.float32)


def upscaled(images, resolution):
    """Nearest neighbour to (B, R, R, C)."""
    factor = resolution // images.shape[1]
    return images.repeat(factor, 1).repeat(factor, 2)


def official_name(layer, network, depth):
    """Scope of a layer of ours: ("8_up", "G", number of doublings) -> "G/8x8/Conv0_up"."""
    if layer == "dense":
        return f"{network}/4x4/{'Dense' if network == 'G' else 'Dense0'}"
    if layer == "score":
        return "D/4x4/Dense1"
    height, kind = layer.split("_")
    if kind == "pixels":
        lod = depth + 2 - int(np.log2(int(height)))
        return f"{network}/{'ToRGB' if network == 'G' else 'FromRGB'}_lod{lod}"
    first, second = ("Conv0_up", "Conv1") if network == "G" else ("Conv1_down", "Conv0")
    kind = first if kind in ("up", "down") else "Conv" if height == "4" else second
    return f"{network}/{height}x{height}/{kind}"


def official_shape(layer, network, shape):
    """Shape of the official kernel of a layer of ours."""
    return (*shape[:2], shape[3], shape[2]) if layer.endswith("_up") else tuple(shape)


def our_kernel(layer, network, kernel):
    """The official kernel in our layout; see bodies_progan and progan.md, section 1."""
    if layer.endswith("_up"):
        return kernel.transpose(0, 1, 3, 2)[::-1, ::-1]
    if layer == "dense" and network == "G":
        inputs, columns = kernel.shape
        return kernel.reshape(inputs, columns // 16, 4, 4).transpose(0, 2, 3, 1).reshape(inputs, -1)
    if layer == "dense":
        rows, columns = kernel.shape
        split = kernel.reshape(rows // 16, 4, 4, columns)
        return split.transpose(1, 2, 0, 3).reshape(rows, columns)
    return kernel


def fill(case, network, net):
    """Gives every layer of `net` (network "G" or "D") the weights of a case."""
    for layer in net._flatten_layers(include_self=False):
        if not hasattr(layer, "kernel"):
            continue
        scope = official_name(layer.name, network, net.depth)
        shape = official_shape(layer.name, network, layer.kernel.shape)
        kernel = value(case, f"{scope}/weight", shape)
        layer.kernel.assign(our_kernel(layer.name, network, kernel))
        layer.bias.assign(value(case, f"{scope}/bias", layer.bias.shape))
