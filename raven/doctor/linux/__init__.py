"""What Linux tells of processes, their locks and open files, read from /proc.

May import: store and below, and `raven.doctor.report`.
"""
