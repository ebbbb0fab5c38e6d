"""What the networks share and that knows none of them: recurrent cells and layers, beam search, the
metrics of texts, training, checkpoints, run folders, settings, devices, errors.
"""
