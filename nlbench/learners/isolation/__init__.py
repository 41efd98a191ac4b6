"""Methods that give each task a part of the network of its own: they must be told the task, in training and at test."""
