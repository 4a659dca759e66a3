"""DCGAN-32 training steps in eager PyTorch; obeys `dcgan32.py` through stdin and stdout.

The networks are those of ganpipe's `dcgan` at 32x32x3 with nf 64 (pytorch/examples' body without
the 64-pixel stage): 4x4 kernels, no biases, batch norm, one fake batch for both updates. In the
generator's step the discriminator's weights take no gradients (pytorch/examples computes them in
vain), Adam is the fused one, tensors are channels-last where asked.

    python worker_torch.py PRECISION LAYOUT BATCH THREADS
"""

import sys
import time

import torch
from torch import nn


def networks(nz=100, nf=64, nc=3):
    def up(i, o):
        return [nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(True)]

    def down(i, o):
        return [
            nn.Conv2d(i, o, 4, 2, 1, bias=False),
            nn.BatchNorm2d(o),
            nn.LeakyReLU(0.2, inplace=True),
        ]

    generator = nn.Sequential(
        nn.ConvTranspose2d(nz, nf * 4, 4, 1, 0, bias=False),
        nn.BatchNorm2d(nf * 4),
        nn.ReLU(True),
        *up(nf * 4, nf * 2),
        *up(nf * 2, nf),
        nn.ConvTranspose2d(nf, nc, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(nc, nf, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        *down(nf, nf * 2),
        *down(nf * 2, nf * 4),
        nn.Conv2d(nf * 4, 1, 4, 1, 0, bias=False),
    )

    def initialise(m):
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(m.weight, 0.0, 0.02)
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.normal_(m.weight, 1.0, 0.02)

    return generator.apply(initialise), discriminator.apply(initialise)


def main():
    precision, layout, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    g, d = (network.to(memory_format=memory) for network in networks())
    average = [p.detach().clone() for p in g.parameters()]
    g_adam = torch.optim.Adam(g.parameters(), 2e-4, (0.5, 0.999), fused=True)
    d_adam = torch.optim.Adam(d.parameters(), 2e-4, (0.5, 0.999), fused=True)
    softplus = nn.functional.softplus
    images = [torch.rand(batch, 3, 32, 32) * 2 - 1 for _ in range(8)]
    images = [x.contiguous(memory_format=memory) for x in images]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def step(real):
        d.requires_grad_(True)
        d_adam.zero_grad(set_to_none=True)
        with autocast:
            fake = g(torch.randn(batch, 100, 1, 1))
            loss = softplus(-d(real).float()).mean() + softplus(d(fake.detach()).float()).mean()
        loss.backward()
        d_adam.step()
        d.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        with autocast:
            loss = softplus(-d(fake).float()).mean()
        loss.backward()
        g_adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(g.parameters()), 1e-3)

    counts = [sum(p.numel() for p in n.parameters()) for n in (g, d)]
    print("ready", *counts, flush=True)
    for line in sys.stdin:
        steps = int(line)
        start = time.perf_counter()
        for i in range(steps):
            step(images[i % 8])
        print(time.perf_counter() - start, flush=True)


main()
