"""Pure functions on tensors and arrays: losses, random draws, pictures."""
