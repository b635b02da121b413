"""`hakuriver runner`: runs tasks on one node and reports facts about them."""
