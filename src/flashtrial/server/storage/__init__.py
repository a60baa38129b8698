"""Points of series: open tails, sealed blocks, and curves read from both."""
