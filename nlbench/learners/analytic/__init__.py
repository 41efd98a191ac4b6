"""Read-outs of frozen features that are solved for, from statistics that do not depend on an order. Imports no torch.

`statistics` gathers counts, sums and second moments; `analytic` is what every learner here shares; each method is a file of its
own. None needs a gradient, and none stores a sample.
"""
