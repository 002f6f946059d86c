"""The only package that imports `kubernetes`: pods, logs, events, rights."""
