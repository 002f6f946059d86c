"""Pictures by matplotlib, an extra: data and axes in, axes out; no backend and no pyplot is touched."""
