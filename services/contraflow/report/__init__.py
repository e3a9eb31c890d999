"""What a person reads: result files, exports and the HTML report."""
