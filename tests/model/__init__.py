"""The words and rules, which need nothing but themselves."""
