"""The `pipeline` section that every pipeline config has: one sentence for each field."""

import ml_collections
from ml_collections import config_dict

from ganpipe import config as experiments


def get_config(name: str, variant: str, source: str) -> ml_collections.ConfigDict:
    """Returns the experiment config `name[:variant]` with a `pipeline` section of defaults.

    A threshold that is None is not asked for; on the command line `=inf` (or `=0` for a minimum)
    takes one back.

    Args:
      name: a config of `ganpipe/configs`.
      variant: its variant, "" for none.
      source: where the images come from, as in `python -m pipeline.prepare --source`.

    Raises:
      UserError: no such experiment or variant.
    """
    spec = f"{name}:{variant}" if variant else name
    config = ml_collections.ConfigDict(experiments.load(spec).to_dict())

    pipeline = ml_collections.ConfigDict()
    pipeline.source = source

    pipeline.example_gen = ml_collections.ConfigDict()
    pipeline.example_gen.fit = "crop"  # how a picture meets the square: crop, pad, stretch, none
    pipeline.example_gen.filter = "lanczos"  # or area
    pipeline.example_gen.background = "white"  # what transparent pictures are put on
    pipeline.example_gen.upscale = False  # may pictures smaller than the resolution be enlarged?
    pipeline.example_gen.test_fraction = 0.1  # kept back where the source has no test split
    pipeline.example_gen.max_skipped = 0.25  # share of the pictures that may be unusable
    pipeline.example_gen.encoding = "auto"  # how pixels are kept: raw, png, jpeg:QUALITY
    pipeline.example_gen.seed = 0  # decides the order in which the images are written

    pipeline.example_validator = ml_collections.ConfigDict()
    # Earlier data that new ones must be like: "blessed", those of the last blessed model (the first
    # sound ones while there is none); "first"; or "none", which accepts whatever has changed.
    pipeline.example_validator.baseline = "blessed"
    pipeline.example_validator.schema = ""  # a schema.pbtxt edited by hand; else the baseline's

    pipeline.evaluator = ml_collections.ConfigDict()
    pipeline.evaluator.metrics = ("frechet", "kernel")
    pipeline.evaluator.num = 2000  # generated images to score
    pipeline.evaluator.seed = 0  # row seed of the first of them
    pipeline.evaluator.split = "test"  # the real images to compare with
    pipeline.evaluator.max_frechet = config_dict.placeholder(float)
    pipeline.evaluator.max_kernel = config_dict.placeholder(float)
    pipeline.evaluator.min_label_accuracy = config_dict.placeholder(float)  # 0..1
    pipeline.evaluator.min_classifier_accuracy = config_dict.placeholder(float)  # 0..1, on reals
    # The Frechet distance may be at most this many times that of the last blessed model: 1.1
    # leaves room for the spread between seeds, and refuses what is clearly worse.
    pipeline.evaluator.max_frechet_ratio = 1.1

    pipeline.infra_validator = ml_collections.ConfigDict()
    pipeline.infra_validator.num_images = 4  # asked of the server, twice
    pipeline.infra_validator.timeout_seconds = 180.0  # for the server to load and answer

    pipeline.pusher = ml_collections.ConfigDict()
    pipeline.pusher.keep_versions = 0  # newest versions to keep in the serving folder; 0 = all

    pipeline.schedule = ml_collections.ConfigDict()
    pipeline.schedule.cron = "0 3 * * *"  # daily at three
    pipeline.schedule.timezone = "UTC"

    config.pipeline = pipeline
    return config
