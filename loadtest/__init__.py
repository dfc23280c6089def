"""The load test: an open loop against any cluster by address, and what this machine could do at best."""
