"""Mechanisms of the machine that know no cluster."""
