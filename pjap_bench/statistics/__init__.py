"""Statistics over finished runs: intervals over seeds, summaries, verdicts. Reads files only, imports no torch."""
