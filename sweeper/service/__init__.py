"""A queue of sweeps: submitted from anywhere, run by one supervisor, commanded over HTTP."""
