"""Runs unmodified consumers, in workers and inline: their scope, threads, receive() and send()."""
