"""HOPE as a continual learner. Imports no torch.

`learner` reads in one screen. `config` is what a recipe may say, `sizes` the rules that it leaves to the input; `keys` makes slow
keys, `memory` is what is written and read, `contexts` how it tells whose a chunk is.
"""
