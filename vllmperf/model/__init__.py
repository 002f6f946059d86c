"""What one replica can carry: the engine's steps, the fit of alpha to delta, queueing, sizing, capacity."""
