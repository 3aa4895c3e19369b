"""An open-loop load generator: `plan_load`, `run_load`, `report_of`."""
