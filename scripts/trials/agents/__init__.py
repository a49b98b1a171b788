"""The trial with real coding agents: how Claude Code, Codex, opencode and Gemini CLI use raven."""
