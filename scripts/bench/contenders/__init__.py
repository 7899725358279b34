"""Who takes part: each contender and its processes."""
