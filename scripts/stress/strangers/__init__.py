"""Trial strangers: another user of the host attacks what lies beside a bus in a folder that all may write."""
