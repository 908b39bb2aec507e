//! What the client does with certain properties, by their keys.

/// What a client knows itself by, and where it is provisioned from: keys that are
/// each client's own.
pub const IDENTITY: [&str; 3] = [
    "net.java.sip.communicator.UUID",
    "net.java.sip.communicator.plugin.provisioning.METHOD",
    "net.java.sip.communicator.plugin.provisioning.URL",
];

/// A list of prefixes, with `|` between them: the client removes every property that
/// begins with none of them.
pub const ENFORCE_PREFIX: &str = "provisioning.ENFORCE_PREFIX";

/// Such a list too: the client ignores what comes after it and begins with none.
pub const ALLOW_PREFIX: &str = "provisioning.ALLOW_PREFIX";

/// Set to `true`, the client does not start while the server is out of reach.
pub const MANDATORY: &str = "net.java.sip.communicator.plugin.provisioning.MANDATORY";

/// The client does not log the values of keys that end with this.
pub const UNLOGGED: &str = ".PASSWORD";

/// What begins with this is a system property of Java, and none of the client's: the
/// client asks `ALLOW_PREFIX` before it looks at that.
pub const SYSTEM: &str = "${system}.";
