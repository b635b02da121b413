"""Tests of the package hakurun."""
