"""The workers' side: claims, hosts, drains; and the process that does so."""
