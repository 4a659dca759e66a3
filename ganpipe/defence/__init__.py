"""Attacks on classifiers, and defences against them: what Defense-GAN is measured with.

Images in this room are float32 in [0, 1], where the literature states its epsilons; the rest of the
package has them in [-1, 1].
"""
