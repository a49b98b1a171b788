-- Version 5: the sessions of coding agents, see raven/agents. Their names begin with raven_, because users keep tables
-- of their own in the file, and `agents` is a likely name for one.

-- The address that a session of a program has: `host` is the program, `native_id` its own name of the session. The
-- session runs in the process `pid`, which began at `started`; both are NULL after its end. Numbers of processes are
-- those of `space`, one boot of one system. `seen_at` is the time of its last sign of life.
CREATE TABLE raven_agents (
    host      TEXT NOT NULL,
    native_id TEXT NOT NULL,
    address   TEXT NOT NULL,
    pid       INTEGER,
    started   INTEGER,
    cwd       TEXT,
    about     TEXT,
    state     TEXT,
    has_hooks INTEGER,
    bound_at  INTEGER NOT NULL,
    seen_at   INTEGER NOT NULL,
    space     TEXT NOT NULL,
    PRIMARY KEY (host, native_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX raven_agents_address ON raven_agents (address);

-- The addresses whose mail is announced to no agent.
CREATE TABLE raven_mutes (
    address  TEXT PRIMARY KEY,
    muted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
