"""The workers' side: claims opens, hosts sessions and drains, in the process of runworker."""
