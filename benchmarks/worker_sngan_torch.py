"""SN-GAN-32 training steps in eager PyTorch; obeys `sngan32.py` through stdin and stdout.

The networks are those of ganpipe's `sngan` at 32x32x3 (Miyato et al. 2018, table 4): residual
blocks of 256 channels in G and 128 in D, spectral norm on every weight of D, hinge loss, one G
step and one D step of 64 images. PyTorch gets its best: real and fake in one D call (one power
iteration an update), no weight gradients of D in G's step, fused Adam, channels-last where asked,
and of the two spectral norms the faster one:

    own       W / sigma with two matrix-vector products and a buffer u
    library   torch.nn.utils.parametrizations.spectral_norm

    python worker_sngan_torch.py PRECISION LAYOUT BATCH THREADS [own|library]
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations


def unit(x):
    return x / (x.norm() + 1e-12)


def sigma_of(weight, u, training):
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = unit(u @ matrix)
        if training:
            u.copy_(unit(matrix @ v))
        u = u.clone()
    return u @ (matrix @ v)


class OwnConv(nn.Conv2d):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("u", torch.randn(self.out_channels))

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            weight = self.weight / sigma_of(self.weight, self.u, self.training)
        return self._conv_forward(x, weight, self.bias)


class OwnLinear(nn.Linear):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("u", torch.randn(self.out_features))

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            weight = self.weight / sigma_of(self.weight, self.u, self.training)
        return functional.linear(x, weight, self.bias)


def library_conv(*args, **kwargs):
    return parametrizations.spectral_norm(nn.Conv2d(*args, **kwargs))


def library_linear(*args, **kwargs):
    return parametrizations.spectral_norm(nn.Linear(*args, **kwargs))


class Up(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.b1, self.b2 = nn.BatchNorm2d(i, 2e-5), nn.BatchNorm2d(o, 2e-5)
        self.c1, self.c2 = nn.Conv2d(i, o, 3, padding=1), nn.Conv2d(o, o, 3, padding=1)
        self.shortcut = nn.Conv2d(i, o, 1)

    def forward(self, x):
        h = functional.relu(self.b1(x), inplace=True)
        h = self.c1(functional.interpolate(h, scale_factor=2))
        h = self.c2(functional.relu(self.b2(h), inplace=True))
        # A 1x1 convolution commutes with upsampling, and is cheaper before it.
        return h + functional.interpolate(self.shortcut(x), scale_factor=2)


class Generator(nn.Module):
    def __init__(self, width=256):
        super().__init__()
        self.dense = nn.Linear(128, 16 * width)
        self.blocks = nn.Sequential(*[Up(width, width) for _ in range(3)])
        self.norm = nn.BatchNorm2d(width, 2e-5)
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        self.width = width

    def forward(self, z, memory):
        x = self.dense(z).view(-1, self.width, 4, 4).contiguous(memory_format=memory)
        x = functional.relu(self.norm(self.blocks(x)), inplace=True)
        return torch.tanh(self.last(x))


class Down(nn.Module):
    def __init__(self, conv, i, o, down, first=False):
        super().__init__()
        self.c1 = conv(i, o if first else i, 3, padding=1)
        self.c2 = conv(o if first else i, o, 3, padding=1)
        self.shortcut = conv(i, o, 1) if down or i != o else None
        self.down, self.first = down, first

    def forward(self, x):
        h = self.c1(x if self.first else functional.relu(x))
        h = self.c2(functional.relu(h, inplace=True))
        h = functional.avg_pool2d(h, 2) if self.down else h
        side = functional.avg_pool2d(x, 2) if self.down else x
        return h + (side if self.shortcut is None else self.shortcut(side))


class Discriminator(nn.Module):
    def __init__(self, conv, linear, width=128):
        super().__init__()
        self.blocks = nn.Sequential(
            Down(conv, 3, width, True, first=True),
            Down(conv, width, width, True),
            Down(conv, width, width, False),
            Down(conv, width, width, False),
        )
        self.dense = linear(width, 1, bias=False)

    def forward(self, x):
        h = functional.relu(self.blocks(x)).float().sum((2, 3))
        with torch.autocast("cpu", enabled=False):
            return self.dense(h)


def main():
    precision, layout, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    library = sys.argv[5:] == ["library"]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    conv, linear = (library_conv, library_linear) if library else (OwnConv, OwnLinear)
    g = Generator().to(memory_format=memory)
    d = Discriminator(conv, linear).to(memory_format=memory)
    average = [p.detach().clone() for p in g.parameters()]
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.0, 0.9), fused=True)
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.0, 0.9), fused=True)
    images = [torch.rand(batch, 3, 32, 32) * 2 - 1 for _ in range(8)]
    images = [x.contiguous(memory_format=memory) for x in images]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step(real):
        d.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        with autocast:
            loss = -d(g(torch.randn(batch, 128), memory)).mean()
        loss.backward()
        g_adam.step()
        d.requires_grad_(True)
        d_adam.zero_grad(set_to_none=True)
        with autocast:
            with torch.no_grad():
                fake = g(torch.randn(batch, 128), memory).float()
            logits = d(torch.cat([real, fake]))
            loss = functional.relu(1 - logits[:batch]).mean()
            loss = loss + functional.relu(1 + logits[batch:]).mean()
        loss.backward()
        d_adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(g.parameters()), 1e-3)

    shapes = [sorted(sorted(p.shape) for p in n.parameters()) for n in (g, d)]
    counts = [sum(p.numel() for p in n.parameters()) for n in (g, d)]
    print("ready", *counts, str(shapes).replace(" ", ""), flush=True)
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter()
        for i in range(steps):
            step(images[i % 8])
        print(time.perf_counter() - start, flush=True)


main()
