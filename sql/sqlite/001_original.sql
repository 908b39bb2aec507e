-- The tables of JitsiProvS 0.10, in SQLite's types.
CREATE TABLE IF NOT EXISTS user_auth (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  username TEXT,
  domain TEXT,
  password TEXT
);

CREATE TABLE IF NOT EXISTS jitsi_property (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  subject TEXT,
  spriority INTEGER,
  ppriority INTEGER,
  property_key TEXT,
  property_value TEXT
);

CREATE INDEX IF NOT EXISTS jitsi_property_subjectIndex ON jitsi_property (subject);
