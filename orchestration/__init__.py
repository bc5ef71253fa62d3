"""What wires assets to a machine: definitions, jobs, schedules, the command line. It computes nothing itself."""
