-- Failures are few, and the console shows the latest ones on its first page.
CREATE INDEX IF NOT EXISTS jitsiprovs_fetch_failed ON jitsiprovs_fetch (fetched_at) WHERE is_ok = 0;

-- Fetches are searched by the beginning of the address, byte by byte.
CREATE INDEX IF NOT EXISTS jitsiprovs_fetch_address ON jitsiprovs_fetch (address COLLATE "C");
