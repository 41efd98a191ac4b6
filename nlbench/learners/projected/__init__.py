"""Ridge regression on fixed features, and hidden levels whose steps are projected by past keys. Imports no torch.

`learner` reads in one screen. `config` is what a recipe may say, `features` makes slow keys, `self_reference` memories that make
keys and rates. `continuum` holds the memories; `memory` is one of them, `readout` the three rules of the last, `context_values`
one that answers by context. `chain` learns chunks through all of them, `at_once` several through one that moves. `schedule` says
when what falls due, `protection` renews what grams protect, `order` knows the order of inputs that is owed.
"""
