-- The tables of JitsiProvS 0.10, for a database that does not have them yet. Existing
-- tables stay as they are. Only the subject is longer here, because typed subjects need
-- more space. Every row format of InnoDB can index 191 characters.
CREATE TABLE IF NOT EXISTS user_auth (
  id INT PRIMARY KEY AUTO_INCREMENT,
  username TEXT,
  domain TEXT,
  password TEXT
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS jitsi_property (
  id INT PRIMARY KEY AUTO_INCREMENT,
  subject VARCHAR(191),
  spriority INT,
  ppriority INT,
  property_key TEXT,
  property_value TEXT,
  KEY subjectIndex (subject)
) ENGINE=InnoDB;
