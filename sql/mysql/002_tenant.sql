-- The tenant of a rule. NULL or empty: the rule is for all tenants, as in the original.
ALTER TABLE jitsi_property ADD COLUMN domain VARCHAR(255) NULL DEFAULT NULL;

-- For the operator's own queries; the server reads whole tables.
CREATE INDEX jitsiprovs_user ON user_auth (domain(64), username(64));

CREATE INDEX jitsiprovs_rule ON jitsi_property (domain(64));
