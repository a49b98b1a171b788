"""Linux: processes, their locks and their open files, read from /proc.

Imported by `doctor`; imports `doctor.report`, `store` and below.
"""
