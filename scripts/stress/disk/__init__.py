"""Disk: full disks, missing permissions, and failing calls."""
