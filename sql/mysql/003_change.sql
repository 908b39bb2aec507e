-- Every edit of users and rules, with any tool, adds a line here.
CREATE TABLE IF NOT EXISTS jitsiprovs_change (
  id BIGINT PRIMARY KEY AUTO_INCREMENT,
  changed_table VARCHAR(32) NOT NULL,
  changed_id BIGINT NOT NULL,
  changed_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  KEY jitsiprovs_change_at (changed_at)
) ENGINE=InnoDB;

CREATE TRIGGER jitsiprovs_user_insert AFTER INSERT ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_auth', NEW.id);

CREATE TRIGGER jitsiprovs_user_update AFTER UPDATE ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'user_auth', OLD.id UNION SELECT 'user_auth', NEW.id;

CREATE TRIGGER jitsiprovs_user_delete AFTER DELETE ON user_auth FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_auth', OLD.id);

CREATE TRIGGER jitsiprovs_rule_insert AFTER INSERT ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('jitsi_property', NEW.id);

CREATE TRIGGER jitsiprovs_rule_update AFTER UPDATE ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'jitsi_property', OLD.id UNION SELECT 'jitsi_property', NEW.id;

CREATE TRIGGER jitsiprovs_rule_delete AFTER DELETE ON jitsi_property FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('jitsi_property', OLD.id);
