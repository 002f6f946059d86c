"""Making load: what is sent (workload, bodies), when (schedule), where (resolve), and the session that sends it."""
