"""Tables of every penalty and tip at its "off" value: what a config may change.

Plain data, so that a config is read without TensorFlow. What each means: `ganpipe.ops.objective`,
`ganpipe.ops.penalties` and docs/losses.md.
"""

PENALTIES = {
    "gp": 0.0,  # WGAN-GP, two-sided; the paper's 10
    "gp_one_sided": 0.0,  # WGAN-GP, only norms above 1
    "gp_zero": 0.0,  # centre 0
    "r1": 0.0,  # gamma of gamma/2 E |grad D(real)|^2; the paper's 10
    "r2": 0.0,  # the same on fakes
    "dragan": 0.0,  # near real data; the paper's 10
    "cr": 0.0,  # consistency on real images; 10
    "bcr": 0.0,  # consistency on fakes as well (with cr: bCR); 10
    "zcr_d": 0.0,  # D(G(z)) near D(G(z + dz)); StudioGAN's 20
    "zcr_g": 0.0,  # G(z) far from G(z + dz); 0.5
    "zcr_radius": 0.05,  # standard deviation of dz
    "orthogonal": 0.0,  # of G's kernels; BigGAN's 1e-4
    "lecam": 0.0,  # 0.3
    "lecam_start": 1000,  # step from which LeCam counts; the averages move before it
    "clip": 0.0,  # D's weights to [-clip, clip] before each update; WGAN's 0.01
}
TIPS = {
    "label_smoothing": 0.0,  # s: the target of real images is 1 - s (one-sided)
    "real_target": (1.0, 1.0),  # range of the target of real images: ganhacks' (0.7, 1.2)
    "fake_target": (0.0, 0.0),  # and of fakes: (0.0, 0.3)
    "flip_labels": 0.0,  # probability that D takes a real for a fake and its partner reversed
    "instance_noise": 0.0,  # sigma of the noise on D's inputs at step 0; 0.1
    "instance_noise_steps": 10_000,  # it falls linearly to 0 in so many steps
    "separate_batches": "auto",  # D's real and fake passes: "auto", "yes" or "no"
    "replay": 0.0,  # share of D's fakes that comes from a pool of past ones; 0.5
    "replay_pool": 256,  # images in the pool, a multiple of the batch at best
    "top_k_gamma": 1.0,  # share of fakes that G learns from, a factor an epoch; 0.99
    "top_k_floor": 0.5,  # and its least value
    "top_k_every": 1000,  # steps of an epoch
}
