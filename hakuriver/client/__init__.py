"""`hakuriver client` and its relatives: what people type."""
