"""StyleGAN2 training steps of the official PyTorch code; obeys `stylegan2.py`.

Networks, losses and Adam are those of a checkout of NVlabs/stylegan2-ada-pytorch that the user
brings (its licence keeps it out of this repository), unpatched; on a CPU it takes its own reference
implementations. The loop around them is that of the official training loop: phases, gains, nothing
non-finite in the gradients, the average of G.

    python worker_stylegan2_torch.py CHECKOUT MODE RESOLUTION BATCH THREADS
"""

import contextlib
import sys
import time
import types

import torch

MODES = {"plain": (0, 0), "regularised": (1, 1), "lazy": (4, 16)}


def adam(network, interval):
    c = interval / (interval + 1) if interval else 1.0
    return torch.optim.Adam(network.parameters(), 0.0025 * c, (0.0, 0.99**c), eps=1e-8)


def main():
    checkout, mode = sys.argv[1], sys.argv[2]
    resolution, batch, threads = (int(a) for a in sys.argv[3:6])
    sys.path.insert(0, checkout)
    sys.modules.setdefault("requests", types.ModuleType("requests"))  # it downloads nothing here
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with contextlib.redirect_stdout(sys.stderr):
        from training.loss import StyleGAN2Loss
        from training.networks import Discriminator, Generator

        width = {"channel_base": 4096, "channel_max": 128}
        mapping = {"num_layers": 2}
        g = Generator(512, 0, 512, resolution, 3, mapping_kwargs=mapping, synthesis_kwargs=width)
        d = Discriminator(
            0,
            resolution,
            3,
            architecture="orig",
            epilogue_kwargs={"mbstd_group_size": 4},
            **width,
        )
    average = Generator(512, 0, 512, resolution, 3, mapping_kwargs=mapping, synthesis_kwargs=width)
    for network in (g, d):
        network.train().requires_grad_(False)
    average.eval().requires_grad_(False)
    loss = StyleGAN2Loss(
        torch.device("cpu"), g.mapping, g.synthesis, d, style_mixing_prob=0, r1_gamma=0.01
    )
    g_every, d_every = MODES[mode]
    g_adam, d_adam = adam(g, g_every), adam(d, d_every)
    phases = [("Gmain", g, g_adam, 1), ("Greg", g, g_adam, g_every)]
    phases += [("Dmain", d, d_adam, 1), ("Dreg", d, d_adam, d_every)]
    phases = [phase for phase in phases if phase[3]]
    images = [torch.rand(batch, 3, resolution, resolution) * 2 - 1 for _ in range(8)]
    none = torch.zeros(batch, 0)

    def step(number):
        for name, network, optimizer, interval in phases:
            if number % interval:
                continue
            optimizer.zero_grad(set_to_none=True)
            network.requires_grad_(True)
            z = torch.randn(batch, 512)
            loss.accumulate_gradients(
                name, images[number % 8], none, z, none, sync=True, gain=interval
            )
            network.requires_grad_(False)
            for p in network.parameters():
                if p.grad is not None:
                    torch.nan_to_num(p.grad, nan=0.0, posinf=1e5, neginf=-1e5, out=p.grad)
            optimizer.step()
        half_life = min(500_000, number * batch * 0.05)
        beta = 0.5 ** (batch / max(half_life, 1e-8))
        with torch.no_grad():
            for old, new in zip(average.parameters(), g.parameters(), strict=True):
                old.copy_(new.lerp(old, beta))
            for old, new in zip(average.buffers(), g.buffers(), strict=True):
                old.copy_(new)

    networks = (g, d)
    shapes = [sorted(sorted(x for x in p.shape if x > 1) for p in n.parameters()) for n in networks]
    counts = [sum(p.numel() for p in n.parameters()) for n in networks]
    print("ready", *counts, str(shapes).replace(" ", ""), flush=True)
    number = 0
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step(number)
            number += 1
        print(time.perf_counter() - start, flush=True)


main()
