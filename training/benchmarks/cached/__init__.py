"""Searches over runs that were trained before: the ground on which methods are compared."""
