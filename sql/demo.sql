-- The data of `jitsiprovs demo`: two tenants, three users, and rules for all kinds of
-- subjects. The passwords are wonderland, builder and lantern.
DELETE FROM jitsi_property;

INSERT INTO user_auth (username, domain, password) VALUES
  ('alice', 'example.org', '4cecaff2b30bbe75ce7322109164cfb5'),
  ('bob', 'example.org', 'c87a8ca60f0891b79d192fa86f019916'),
  ('carol', 'example.net', '9e87ffce6fc80e84029d401822c71013');

INSERT INTO jitsi_property (domain, subject, spriority, ppriority, property_key, property_value) VALUES
  -- For all users of all tenants. ${null} removes all properties below this key that the
  -- client has so far. It must come first, because it would also remove earlier ones.
  (NULL, 'default', 0, 0, 'net.java.sip.communicator.impl.protocol.sip', '${null}'),
  (NULL, 'default', 50, 10, 'net.java.sip.communicator.impl.protocol.sip.accsip', 'accsip'),
  (NULL, 'default', 50, 10, 'net.java.sip.communicator.impl.protocol.sip.accsip.ACCOUNT_UID', 'SIP\:${username}@${domain}'),
  (NULL, 'default', 50, 10, 'net.java.sip.communicator.impl.protocol.sip.accsip.USER_ID', '${username}@${domain}'),
  (NULL, 'default', 50, 10, 'net.java.sip.communicator.impl.protocol.sip.accsip.PASSWORD', '${password}'),
  (NULL, 'default', 50, 20, 'net.java.sip.communicator.impl.protocol.sip.accsip.SERVER_ADDRESS', 'sip.${domain}'),
  (NULL, 'default', 50, 20, 'net.java.sip.communicator.impl.protocol.sip.accsip.PREFERRED_TRANSPORT', 'TLS'),
  -- For one tenant: this rule has the smaller priority, so it overrides the rule for all.
  ('example.net', 'default', 40, 20, 'net.java.sip.communicator.impl.protocol.sip.accsip.SERVER_ADDRESS', 'voip.example.net'),
  -- For one piece of hardware, and any user of it.
  ('example.org', 'hwaddr=00:1a:2b:3c:4d:5e', 20, 20, 'net.java.sip.communicator.impl.protocol.sip.accsip.PREFERRED_TRANSPORT', 'UDP'),
  -- For one user, on any hardware.
  ('example.org', 'bob', 10, 20, 'net.java.sip.communicator.impl.protocol.sip.accsip.PREFERRED_TRANSPORT', 'TCP'),
  ('example.org', 'bob', 10, 30, 'net.java.sip.communicator.impl.gui.main.configforms.SHOW_OPTIONS_WINDOW', 'false');
