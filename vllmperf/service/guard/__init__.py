"""What stands between the service and those who ask it: who may, how much, which files, which servers.

settings: what is allowed, settled at the start. middleware: each request and each answer. body: JSON within limits. request: a
run that is asked for. cell: what a worker is held to. patience: slow and many connections. docs/service_security.md says why.
"""
