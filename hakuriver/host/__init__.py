"""`hakuriver host`: keeps the state, decides, and answers everybody."""
