"""Making load: what is sent (workload, bodies), when (schedule), where (resolve, ask), and the run itself."""
