"""The demo: a conductor, competing reviewers (one of them a shell script) and an editor, each a process of its own."""
