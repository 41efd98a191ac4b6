"""Methods that add a penalty to the loss: on weights that move from where they were, or on outputs that do. Imports no torch.

`config` is what a recipe may say. `quadratic` is what EWC, MAS, SI and RWalk share: importances, and where weights were;
`sampled` is one whose importances come of samples, by `per_sample`. The table that names each method's class is that of all
learners, in `nlbench/catalog/learners.py`.
"""
