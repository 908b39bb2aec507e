-- Failures are few, and the console shows the latest ones on its first page. Fetches are searched by
-- the beginning of the address.
ALTER TABLE jitsiprovs_fetch
  ADD KEY jitsiprovs_fetch_failed (is_ok, fetched_at),
  ADD KEY jitsiprovs_fetch_address (address);
