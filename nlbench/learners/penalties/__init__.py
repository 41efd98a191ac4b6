"""Methods that add a penalty to the loss: on weights that move from where they were, or on outputs that do."""
