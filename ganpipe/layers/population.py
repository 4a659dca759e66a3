"""Several generators in turn in one: their weights, optimiser slots and averages as plain tensors.

An individual's genes are the values of its generator's variables, followed by those of its
optimiser's (slots and update count; the learning rate belongs to the run). The first individual
lives in the generator, its optimiser and its average themselves; the others, if any, in variables
with one axis more.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class Population(tf.Module):
    """The individuals that survive from one training step to the next.

    Args:
      generator: working network, and home of the first individual.
      average: its moving average, variable by variable like `generator`.
      optimizer: built for `generator`.
      others: weights of the other individuals, as `get_weights` gives them; their slots start as
        the optimiser's are now.
    """

    def __init__(
        self,
        generator: keras.Model,
        average: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        others: Sequence[Sequence[Any]] = (),
    ):
        super().__init__(name="population")
        rate = getattr(optimizer, "_learning_rate", None)
        slots = [v for v in optimizer.variables if v is not rate]
        self._home = [*generator.variables, *slots]
        self._home_average = list(average.variables)
        self.genes, self.averages = [], []
        if others:
            weights = [tf.stack(values) for values in zip(*others, strict=True)]
            copies = [tf.stack([v.value] * len(others)) for v in slots]
            self.genes = [tf.Variable(v, trainable=False) for v in weights + copies]
            self.averages = [tf.Variable(v, trainable=False) for v in weights]

    def read(self) -> list[tf.Tensor]:
        """Genes of what the working generator holds."""
        return [tf.identity(v.value) for v in self._home]

    def load(self, genes: Sequence[tf.Tensor]) -> None:
        """Puts an individual into the working generator and optimiser."""
        for variable, value in zip(self._home, genes, strict=True):
            variable.assign(value)

    def parents(self) -> list[tf.Tensor]:
        """Genes of all individuals, each tensor (mu, ...), the working one first."""
        return _joined(self._home, self.genes)

    def settle(
        self, genes: Sequence[tf.Tensor], parent: tf.Tensor, average_decay: tf.Tensor
    ) -> None:
        """Replaces all individuals.

        Each one goes on with its parent's average. The first one's is left to the caller, who
        averages after every step in any case; the others' are moved here.

        Args:
          genes: (mu, ...) of the new individuals.
          parent: (mu,) integer, the number of each one's parent among the old individuals.
          average_decay: scalar, share of the old average that is kept.
        """
        self.load([gene[0] for gene in genes])
        if not self.genes:
            return
        for variable, gene in zip(self.genes, genes, strict=True):
            variable.assign(gene[1:])
        averages = _joined(self._home_average, self.averages)
        for i, average in enumerate(averages):
            inherited = tf.gather(average, parent)
            self._home_average[i].assign(inherited[0])
            moved = average_decay * inherited[1:] + (1.0 - average_decay) * genes[i][1:]
            self.averages[i].assign(moved)


def _joined(first: Sequence[Any], others: Sequence[tf.Variable]) -> list[tf.Tensor]:
    values = [tf.convert_to_tensor(v.value)[None] for v in first]
    if not others:
        return values
    return [tf.concat([v, o.value()], axis=0) for v, o in zip(values, others, strict=True)]
