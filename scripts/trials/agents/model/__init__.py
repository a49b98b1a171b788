"""The scripted model: HTTP servers on loopback that answer coding agents as the APIs of their models do."""
