-- Who edited what, and when. Commands and the console write lines with their user and with the
-- row before and after. The triggers write lines for all other tools; a session that sets
-- @jitsiprovs_editor writes its own. The first line of an edit has no edit_id, and the others have
-- the id of the first. domain and username say whose row it is; of a rule, username is the
-- subject. The handlers let the edits of other tools succeed even where no line can be written.
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
  domain VARCHAR(255) NULL DEFAULT NULL,
  username VARCHAR(255) NULL DEFAULT NULL,
  row_before MEDIUMTEXT NULL,
  row_after MEDIUMTEXT NULL,
  undoes BIGINT NULL DEFAULT NULL,
  KEY jitsiprovs_history_at (edited_at),
  KEY jitsiprovs_history_edit (edit_id),
  KEY jitsiprovs_history_row (changed_table, changed_id),
  KEY jitsiprovs_history_user (username(100), domain(91))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TRIGGER jitsiprovs_history_user_insert AFTER INSERT ON user_auth FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'add', 'user_auth', NEW.id,
      LEFT(CONVERT(CONCAT_WS('@', NEW.username, NEW.domain) USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.username USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_user_update AFTER UPDATE ON user_auth FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id
      AND BINARY OLD.username <=> BINARY NEW.username
      AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.password <=> BINARY NEW.password) THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'set', 'user_auth', NEW.id,
      LEFT(CONVERT(CONCAT_WS('@', NEW.username, NEW.domain) USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.username USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_user_delete AFTER DELETE ON user_auth FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'remove', 'user_auth', OLD.id,
      LEFT(CONVERT(CONCAT_WS('@', OLD.username, OLD.domain) USING utf8mb4), 255),
      LEFT(CONVERT(OLD.domain USING utf8mb4), 255),
      LEFT(CONVERT(OLD.username USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_rule_insert AFTER INSERT ON jitsi_property FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'add', 'jitsi_property', NEW.id,
      LEFT(CONVERT(NEW.property_key USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.subject USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_rule_update AFTER UPDATE ON jitsi_property FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id
      AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.subject <=> BINARY NEW.subject
      AND OLD.spriority <=> NEW.spriority
      AND OLD.ppriority <=> NEW.ppriority
      AND BINARY OLD.property_key <=> BINARY NEW.property_key
      AND BINARY OLD.property_value <=> BINARY NEW.property_value) THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'set', 'jitsi_property', NEW.id,
      LEFT(CONVERT(NEW.property_key USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.subject USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_rule_delete AFTER DELETE ON jitsi_property FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'remove', 'jitsi_property', OLD.id,
      LEFT(CONVERT(OLD.property_key USING utf8mb4), 255),
      LEFT(CONVERT(OLD.domain USING utf8mb4), 255),
      LEFT(CONVERT(OLD.subject USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_attribute_insert AFTER INSERT ON user_attribute FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'add', 'user_attribute', NEW.id,
      LEFT(CONVERT(NEW.name USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.username USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_attribute_update AFTER UPDATE ON user_attribute FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL
    AND NOT (OLD.id <=> NEW.id
      AND BINARY OLD.domain <=> BINARY NEW.domain
      AND BINARY OLD.username <=> BINARY NEW.username
      AND BINARY OLD.name <=> BINARY NEW.name
      AND BINARY OLD.value <=> BINARY NEW.value) THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'set', 'user_attribute', NEW.id,
      LEFT(CONVERT(NEW.name USING utf8mb4), 255),
      LEFT(CONVERT(NEW.domain USING utf8mb4), 255),
      LEFT(CONVERT(NEW.username USING utf8mb4), 255));
  END IF;
END;

CREATE TRIGGER jitsiprovs_history_attribute_delete AFTER DELETE ON user_attribute FOR EACH ROW
BEGIN
  DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
  IF @jitsiprovs_editor IS NULL THEN
    INSERT IGNORE INTO jitsiprovs_history
      (edited_at, action, changed_table, changed_id, name, domain, username)
    VALUES (UNIX_TIMESTAMP(), 'remove', 'user_attribute', OLD.id,
      LEFT(CONVERT(OLD.name USING utf8mb4), 255),
      LEFT(CONVERT(OLD.domain USING utf8mb4), 255),
      LEFT(CONVERT(OLD.username USING utf8mb4), 255));
  END IF;
END;
