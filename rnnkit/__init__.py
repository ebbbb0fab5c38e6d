"""The little that both networks need and that knows neither: devices, checkpoints, run folders,
settings, errors.
"""
