-- What is known of a user. An empty username: of the whole tenant. An empty domain too: of
-- everyone.
CREATE TABLE IF NOT EXISTS user_attribute (
  id INT PRIMARY KEY AUTO_INCREMENT,
  domain VARCHAR(255) NULL DEFAULT NULL,
  username VARCHAR(255) NULL DEFAULT NULL,
  name VARCHAR(191) NOT NULL,
  value TEXT NOT NULL,
  KEY jitsiprovs_attribute (domain(64), username(64))
) ENGINE=InnoDB;

CREATE TRIGGER jitsiprovs_attribute_insert AFTER INSERT ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_attribute', NEW.id);

CREATE TRIGGER jitsiprovs_attribute_update AFTER UPDATE ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id)
  SELECT 'user_attribute', OLD.id UNION SELECT 'user_attribute', NEW.id;

CREATE TRIGGER jitsiprovs_attribute_delete AFTER DELETE ON user_attribute FOR EACH ROW
  INSERT INTO jitsiprovs_change (changed_table, changed_id) VALUES ('user_attribute', OLD.id);
