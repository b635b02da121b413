"""The client, against a host that says what the test tells it to."""
