"""Fashion-MNIST -> a blessed, pushed class-conditional DCGAN: the pipeline of `make demo`.

    python -m pipeline.run --config=dcgan_fashion_mnist --root=demo
    python -m pipeline.run --config=dcgan_fashion_mnist:tiny --root=/tmp/tiny

The experiment (network, optimiser, steps) is `ganpipe/configs/dcgan_fashion_mnist.py`.
"""

import ml_collections

from pipeline.configs import _section


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes on two cores, must be recognisable to be pushed), "tiny" (a minute)."""
    config = _section.get_config("dcgan_fashion_mnist", variant, source="fashion_mnist")
    evaluator = config.pipeline.evaluator
    evaluator.metrics = ("frechet", "kernel", "label_accuracy")
    evaluator.min_classifier_accuracy = 0.90
    evaluator.min_label_accuracy = 0.85
    evaluator.max_frechet = 3.0
    if variant == "tiny":
        # Trained to try the pipeline out: anything that is not noise may pass.
        evaluator.num = 500
        evaluator.min_label_accuracy = 0.2
        evaluator.max_frechet = 100.0
    return config
