-- Who edited what, and when. Commands and the console write lines with their user and with the
-- row before and after. The triggers write lines for all other tools; a transaction that has a
-- row in jitsiprovs_editor writes its own. The first line of an edit has no edit_id, and the others
-- have the id of the first. domain and username say whose row it is; of a rule, username is the
-- subject.
CREATE TABLE IF NOT EXISTS jitsiprovs_history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  edit_id INTEGER,
  edited_at INTEGER NOT NULL,
  editor TEXT,
  tool TEXT,
  action TEXT NOT NULL,
  changed_table TEXT NOT NULL,
  changed_id INTEGER NOT NULL,
  name TEXT,
  domain TEXT COLLATE NOCASE,
  username TEXT COLLATE NOCASE,
  row_before TEXT,
  row_after TEXT,
  undoes INTEGER
);

CREATE INDEX IF NOT EXISTS jitsiprovs_history_at ON jitsiprovs_history (edited_at);

CREATE INDEX IF NOT EXISTS jitsiprovs_history_edit ON jitsiprovs_history (edit_id);

CREATE INDEX IF NOT EXISTS jitsiprovs_history_row ON jitsiprovs_history (changed_table, changed_id);

CREATE INDEX IF NOT EXISTS jitsiprovs_history_user ON jitsiprovs_history (username, domain);

CREATE TABLE IF NOT EXISTS jitsiprovs_editor (name TEXT NOT NULL);

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_user_insert AFTER INSERT ON user_auth
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'add', 'user_auth', NEW.id,
    substr(coalesce(NEW.username, '') || '@' || coalesce(NEW.domain, ''), 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.username, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_user_update AFTER UPDATE ON user_auth
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor)
  AND NOT (OLD.id IS NEW.id
    AND OLD.username IS NEW.username
    AND OLD.domain IS NEW.domain
    AND OLD.password IS NEW.password) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'set', 'user_auth', NEW.id,
    substr(coalesce(NEW.username, '') || '@' || coalesce(NEW.domain, ''), 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.username, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_user_delete AFTER DELETE ON user_auth
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'remove', 'user_auth', OLD.id,
    substr(coalesce(OLD.username, '') || '@' || coalesce(OLD.domain, ''), 1, 255),
    substr(OLD.domain, 1, 255), substr(OLD.username, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_rule_insert AFTER INSERT ON jitsi_property
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'add', 'jitsi_property', NEW.id,
    substr(NEW.property_key, 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.subject, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_rule_update AFTER UPDATE ON jitsi_property
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor)
  AND NOT (OLD.id IS NEW.id
    AND OLD.domain IS NEW.domain
    AND OLD.subject IS NEW.subject
    AND OLD.spriority IS NEW.spriority
    AND OLD.ppriority IS NEW.ppriority
    AND OLD.property_key IS NEW.property_key
    AND OLD.property_value IS NEW.property_value) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'set', 'jitsi_property', NEW.id,
    substr(NEW.property_key, 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.subject, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_rule_delete AFTER DELETE ON jitsi_property
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'remove', 'jitsi_property', OLD.id,
    substr(OLD.property_key, 1, 255),
    substr(OLD.domain, 1, 255), substr(OLD.subject, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_attribute_insert AFTER INSERT ON user_attribute
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'add', 'user_attribute', NEW.id,
    substr(NEW.name, 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.username, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_attribute_update AFTER UPDATE ON user_attribute
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor)
  AND NOT (OLD.id IS NEW.id
    AND OLD.domain IS NEW.domain
    AND OLD.username IS NEW.username
    AND OLD.name IS NEW.name
    AND OLD.value IS NEW.value) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'set', 'user_attribute', NEW.id,
    substr(NEW.name, 1, 255),
    substr(NEW.domain, 1, 255), substr(NEW.username, 1, 255));
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_history_attribute_delete AFTER DELETE ON user_attribute
WHEN NOT EXISTS (SELECT 1 FROM jitsiprovs_editor) BEGIN
  INSERT INTO jitsiprovs_history
    (edited_at, action, changed_table, changed_id, name, domain, username)
  VALUES (CAST(strftime('%s', 'now') AS INTEGER), 'remove', 'user_attribute', OLD.id,
    substr(OLD.name, 1, 255),
    substr(OLD.domain, 1, 255), substr(OLD.username, 1, 255));
END;
