"""What the scheduler of plans costs by itself: plans of thousands of tasks on machines that exist in numbers alone."""
