-- The last success and the last failure of each device, as the nodes have seen them. The id is a
-- hash of domain, username, device and is_ok. Times are seconds since 1970 in UTC.
CREATE TABLE IF NOT EXISTS jitsiprovs_fetch (
  id CHAR(32) PRIMARY KEY,
  domain TEXT NOT NULL,
  username TEXT NOT NULL,
  device TEXT NOT NULL,
  fetched_at BIGINT NOT NULL,
  is_ok INTEGER NOT NULL,
  reason TEXT,
  address TEXT NOT NULL,
  agent TEXT NOT NULL,
  node TEXT NOT NULL,
  snapshot BIGINT,
  properties INTEGER NOT NULL,
  parameters TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS jitsiprovs_fetch_at ON jitsiprovs_fetch (fetched_at);

CREATE INDEX IF NOT EXISTS jitsiprovs_fetch_user ON jitsiprovs_fetch (domain, username);
