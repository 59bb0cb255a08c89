"""Features of a network whose weights do not change, by the fastest runtime that gives the same ones."""
