"""Runs side by side: their figures, what differs in their set-up, what chance allows, and conditions on both."""
