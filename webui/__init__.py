"""One page over both networks: caption photos, write text, look inside, score. It runs here and
speaks to nobody else.
"""
