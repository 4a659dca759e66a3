"""Cases and weights of stylegan_networks.npz, shared by its maker and the test."""

import zlib

import numpy as np

BATCH, LATENT = 4, 8
NARROW = {"fmap_base": 64, "fmap_max": 8}
B = {
    "use_styles": False,
    "use_pixel_norm": True,
    "use_instance_norm": False,
    "mapping_layers": 0,
    "const_input_layer": False,
    "use_noise": False,
}
# name: resolution, classes, the official networks' arguments, [(lod, psi)]
CASES = {
    "f": (32, 0, {}, [(0.0, 1.0), (0.0, 0.7), (0.3, 1.0), (1.0, 0.7), (1.5, 1.0), (3.0, 1.0)]),
    "fused": (16, 0, {"fused_scale": True}, [(0.0, 1.0), (0.6, 1.0)]),
    "labels": (16, 3, {"truncation_cutoff": 3}, [(0.0, 0.7), (1.25, 1.0)]),
    "b": (16, 0, B, [(0.0, 1.0)]),
    "c": (16, 0, {"const_input_layer": False, "use_noise": False}, [(0.0, 1.0), (0.5, 0.7)]),
    "d": (16, 0, {"use_noise": False}, [(0.0, 1.0)]),
    "auto": (128, 0, {"fmap_base": 128, "fmap_max": 4}, [(0.0, 1.0)]),
}


def value(case, name, shape):
    """Any weight by its official name, away from its initial value; float32."""
    random = np.random.RandomState(zlib.crc32(f"{case}/{name}".encode()))
    x = random.standard_normal(shape)
    scale = 100.0 if "G_mapping/Dense" in name and name.endswith("weight") else 1.0
    if name.endswith(("bias", "Noise/weight", "dlatent_avg")):
        scale = 0.2 if "G_mapping" not in name else 20.0
    return (scale * x).astype(np.float32)


def inputs(case):
    """z (B, LATENT), one-hot labels (B, classes), images (B, R, R, 3)."""
    resolution, classes = CASES[case][:2]
    random = np.random.RandomState(zlib.crc32(case.encode()))
    z = random.standard_normal((BATCH, LATENT)).astype(np.float32)
    labels = np.eye(max(classes, 1), dtype=np.float32)[np.arange(BATCH) % max(classes, 1)]
    images = random.uniform(-1, 1, (BATCH, resolution, resolution, 3)).astype(np.float32)
    return z, labels[:, :classes], images


def kept(images, resolution):
    """What the file keeps of (B, R, R, 3): the first image only, and of large ones some pixels."""
    return images[:1, 5::8, 3::8] if resolution > 32 else images[:2]
