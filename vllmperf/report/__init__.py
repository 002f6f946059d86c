"""What people look at: tables, HTML, plots, CSV. Pure functions of a run file or its summary."""
