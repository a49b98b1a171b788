"""Trial strangers: another user of the host attacks the files beside a bus in a folder that all may write."""
