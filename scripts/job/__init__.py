"""The frame that all operations jobs live in: locks, time limits, signals, exit codes, results, reports."""
