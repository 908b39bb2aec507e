-- The tables as JitsiProvS 0.10 makes them, for a database that has none yet.
CREATE TABLE IF NOT EXISTS user_auth (
  id INT PRIMARY KEY AUTO_INCREMENT,
  username TEXT,
  domain TEXT,
  password TEXT
) ENGINE=InnoDB;

CREATE TABLE IF NOT EXISTS jitsi_property (
  id INT PRIMARY KEY AUTO_INCREMENT,
  subject VARCHAR(50),
  spriority INT,
  ppriority INT,
  property_key TEXT,
  property_value TEXT,
  KEY subjectIndex (subject)
) ENGINE=InnoDB;
