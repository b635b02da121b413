"""`hakurun`: one command line with spans, as many runs, on this machine."""
