"""What the benchmarks share: rows and their table, arguments, quantiles, floors, peers."""
