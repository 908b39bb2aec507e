-- The tenant of a rule. NULL or empty: the rule is for all tenants, as in the original.
ALTER TABLE jitsi_property ADD COLUMN IF NOT EXISTS domain TEXT DEFAULT NULL;

-- For the operator's own queries; the server reads whole tables.
CREATE INDEX IF NOT EXISTS jitsiprovs_user ON user_auth (domain, username);

CREATE INDEX IF NOT EXISTS jitsiprovs_rule ON jitsi_property (domain, subject);
