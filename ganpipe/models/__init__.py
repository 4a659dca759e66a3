"""GAN systems, one file each; `registry.create` builds one by name."""
