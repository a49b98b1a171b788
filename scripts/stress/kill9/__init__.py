"""Kill9: kill -9 at producers, consumers, watchers and servers."""
