"""Set-ups of a server and loads, measured point by point: a sweep's definition, its folder of run files, and its result."""
