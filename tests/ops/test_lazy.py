"""Updates that are due only now and then."""

import keras
import numpy as np
import tensorflow as tf

from ganpipe.ops import lazy


def test_gradients_of_tables_are_dense():
    # tf.cond needs the same kind from both branches, and the idle one has zeros.
    table = keras.Variable(np.ones([4, 2], np.float32))

    def terms():
        return tf.reduce_sum(tf.gather(table.value, [1, 1, 3])), None

    (got,), _ = lazy.gradients(terms, [table])
    assert isinstance(got, tf.Tensor)
    np.testing.assert_array_equal(got, [[0, 0], [2, 2], [0, 0], [1, 1]])
