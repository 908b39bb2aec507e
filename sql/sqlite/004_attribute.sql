-- What is known of a user. An empty username: of the whole tenant. An empty domain too: of
-- everyone.
CREATE TABLE IF NOT EXISTS user_attribute (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  domain TEXT,
  username TEXT,
  name TEXT NOT NULL,
  value TEXT NOT NULL
);

-- For the operator's own queries; the server reads whole tables.
CREATE INDEX IF NOT EXISTS jitsiprovs_attribute ON user_attribute (domain, username);

CREATE TRIGGER IF NOT EXISTS jitsiprovs_attribute_insert AFTER INSERT ON user_attribute BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_attribute', NEW.id);
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_attribute_update AFTER UPDATE ON user_attribute BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'user_attribute', OLD.id UNION SELECT 'user_attribute', NEW.id;
END;

CREATE TRIGGER IF NOT EXISTS jitsiprovs_attribute_delete AFTER DELETE ON user_attribute BEGIN
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_attribute', OLD.id);
END;
