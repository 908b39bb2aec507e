-- The tables of JitsiProvS 0.10, for a database that has none yet. Only the
-- subject is longer, for typed ones; 191 characters are what any row format of
-- InnoDB can index. Tables that are there are left as they are.
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
