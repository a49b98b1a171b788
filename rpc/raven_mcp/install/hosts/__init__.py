"""Hosts: one module for each program that runs coding agents."""
