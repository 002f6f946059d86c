"""Making load: what is sent (workload, backends), when (schedule), where (resolve, ask), and the run itself."""
