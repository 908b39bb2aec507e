-- Who edited what, and when. Commands and the console write lines with their user and with the
-- row before and after. The triggers write lines for all other tools; a session that sets
-- @jitsiprovs_editor writes its own.
CREATE TABLE IF NOT EXISTS jitsiprovs_history (
  id BIGINT PRIMARY KEY AUTO_INCREMENT,
  edit_id BIGINT NULL DEFAULT NULL,
  edited_at BIGINT NOT NULL,
  editor VARCHAR(191) NULL DEFAULT NULL,
  tool VARCHAR(16) NULL DEFAULT NULL,
  action VARCHAR(8) NOT NULL,
  changed_table VARCHAR(32) NOT NULL,
  changed_id BIGINT NOT NULL,
  name VARCHAR(255) NULL DEFAULT NULL,
  row_before MEDIUMTEXT NULL,
  row_after MEDIUMTEXT NULL,
  undoes BIGINT NULL DEFAULT NULL,
  KEY jitsiprovs_history_at (edited_at),
  KEY jitsiprovs_history_edit (edit_id),
  KEY jitsiprovs_history_row (changed_table, changed_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TRIGGER jitsiprovs_history_user_insert AFTER INSERT ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'add', 'user_auth', NEW.id,
    LEFT(CONVERT(CONCAT_WS('@', NEW.username, NEW.domain) USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;

CREATE TRIGGER jitsiprovs_history_user_update AFTER UPDATE ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'set', 'user_auth', NEW.id,
    LEFT(CONVERT(CONCAT_WS('@', NEW.username, NEW.domain) USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id AND BINARY OLD.username <=> BINARY NEW.username
      AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.password <=> BINARY NEW.password);

CREATE TRIGGER jitsiprovs_history_user_delete AFTER DELETE ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'remove', 'user_auth', OLD.id,
    LEFT(CONVERT(CONCAT_WS('@', OLD.username, OLD.domain) USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;

CREATE TRIGGER jitsiprovs_history_rule_insert AFTER INSERT ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'add', 'jitsi_property', NEW.id,
    LEFT(CONVERT(NEW.property_key USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;

CREATE TRIGGER jitsiprovs_history_rule_update AFTER UPDATE ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'set', 'jitsi_property', NEW.id,
    LEFT(CONVERT(NEW.property_key USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.subject <=> BINARY NEW.subject AND OLD.spriority <=> NEW.spriority
      AND OLD.ppriority <=> NEW.ppriority AND BINARY OLD.property_key <=> BINARY NEW.property_key
      AND BINARY OLD.property_value <=> BINARY NEW.property_value);

CREATE TRIGGER jitsiprovs_history_rule_delete AFTER DELETE ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'remove', 'jitsi_property', OLD.id,
    LEFT(CONVERT(OLD.property_key USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;

CREATE TRIGGER jitsiprovs_history_attribute_insert AFTER INSERT ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'add', 'user_attribute', NEW.id,
    LEFT(CONVERT(NEW.name USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;

CREATE TRIGGER jitsiprovs_history_attribute_update AFTER UPDATE ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'set', 'user_attribute', NEW.id,
    LEFT(CONVERT(NEW.name USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.username <=> BINARY NEW.username AND BINARY OLD.name <=> BINARY NEW.name
      AND BINARY OLD.value <=> BINARY NEW.value);

CREATE TRIGGER jitsiprovs_history_attribute_delete AFTER DELETE ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_history (edited_at, action, changed_table, changed_id, name)
  SELECT UNIX_TIMESTAMP(), 'remove', 'user_attribute', OLD.id,
    LEFT(CONVERT(OLD.name USING utf8mb4), 255)
  FROM DUAL WHERE @jitsiprovs_editor IS NULL;
