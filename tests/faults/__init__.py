"""What must hold when something else does not: killed processes, lost databases, full disks, wrong clocks."""
