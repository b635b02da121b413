"""Real nodes on one machine: each a container with its own address, systemd and Docker engine."""
