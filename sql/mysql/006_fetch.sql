-- The last success and the last failure of each device, as the nodes have seen them. The id is a
-- hash of domain, username, device and is_ok. Times are seconds since 1970 in UTC.
CREATE TABLE IF NOT EXISTS jitsiprovs_fetch (
  id CHAR(32) CHARACTER SET ascii PRIMARY KEY,
  domain VARCHAR(255) NOT NULL,
  username VARCHAR(255) NOT NULL,
  device VARCHAR(255) NOT NULL,
  fetched_at BIGINT NOT NULL,
  is_ok INT NOT NULL,
  reason VARCHAR(32) NULL DEFAULT NULL,
  address VARCHAR(64) NOT NULL,
  agent VARCHAR(256) NOT NULL,
  node VARCHAR(255) NOT NULL,
  snapshot BIGINT NULL DEFAULT NULL,
  properties INT NOT NULL,
  parameters MEDIUMTEXT NOT NULL,
  KEY jitsiprovs_fetch_at (fetched_at),
  KEY jitsiprovs_fetch_user (domain(64), username(64))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
