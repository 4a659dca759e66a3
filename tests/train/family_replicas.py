"""Run by test_family_replicas.py in a process of its own: two replicas on logical CPUs.

    python family_replicas.py NAME...

Trains each system 2 steps and prints how far its replicas are apart.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ganpipe.train import distribute
from tests import harness
from tests.models import test_family


def main(names):
    strategy = distribute.make("mirrored", logical_cpus=2)
    for name in names:
        with strategy.scope():
            system = test_family.make(name)
        data = harness.noise(system, batch=16 * system.n_critic, count=1)
        system.fit(data, steps_per_epoch=2, epochs=1, verbose=0)
        drift = distribute.largest_replica_difference(strategy, system.variables)
        print(name, strategy.num_replicas_in_sync, drift, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
