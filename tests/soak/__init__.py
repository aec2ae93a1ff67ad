"""Every fault that the package answers for, mixed, for as long as one likes, on real processes."""
