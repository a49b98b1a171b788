"""What Linux tells of processes, their locks and open files, read from /proc.

Imported by `doctor`; imports `doctor.report`, `store` and below.
"""
