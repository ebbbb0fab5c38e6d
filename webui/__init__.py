"""One page over both networks. It runs on this machine and talks to no other."""
