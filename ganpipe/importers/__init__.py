"""Published network files become run folders; nothing in a file is ever executed."""
