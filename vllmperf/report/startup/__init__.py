"""What people see of starts: table, waterfall, HTML, CSV, comparison. Pure functions of Start objects."""
