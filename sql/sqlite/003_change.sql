-- Every edit of users and rules, with any tool, adds a line here.
CREATE TABLE IF NOT EXISTS jitsiprovs_change (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  changed_table TEXT NOT NULL,
  changed_id INTEGER NOT NULL,
  changed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX IF NOT EXISTS jitsiprovs_change_at ON jitsiprovs_change (changed_at);

CREATE TRIGGER IF NOT EXISTS jitsiprovs_user_insert AFTER INSERT ON user_auth BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_auth', NEW.id);
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_user_update AFTER UPDATE ON user_auth BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'user_auth', OLD.id UNION SELECT 'user_auth', NEW.id;
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_user_delete AFTER DELETE ON user_auth BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_auth', OLD.id);
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_rule_insert AFTER INSERT ON jitsi_property BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('jitsi_property', NEW.id);
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_rule_update AFTER UPDATE ON jitsi_property BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'jitsi_property', OLD.id UNION SELECT 'jitsi_property', NEW.id;
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_rule_delete AFTER DELETE ON jitsi_property BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('jitsi_property', OLD.id);
END;
