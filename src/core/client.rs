//! Property keys that have a special meaning for the client.

mod personal;

pub use personal::{Personal, personal};

/// The client's identity, and the place from which it is provisioned. Each client has its own
/// values for these keys.
pub const IDENTITY: [&str; 3] = [
    "net.java.sip.communicator.UUID",
    "net.java.sip.communicator.plugin.provisioning.METHOD",
    "net.java.sip.communicator.plugin.provisioning.URL",
];

/// A list of prefixes, separated by `|`. The client removes every property whose key begins with
/// none of them.
pub const ENFORCE_PREFIX: &str = "provisioning.ENFORCE_PREFIX";

/// A list in the same format. The client ignores later properties whose keys begin with none of
/// the prefixes.
pub const ALLOW_PREFIX: &str = "provisioning.ALLOW_PREFIX";

/// If this is `true`, the client does not start while the server cannot be reached.
pub const MANDATORY: &str = "net.java.sip.communicator.plugin.provisioning.MANDATORY";

/// The client does not log the values of keys that end with this.
pub const UNLOGGED: &str = ".PASSWORD";

/// Keys with this prefix set system properties of Java, not properties of the client. The client
/// checks `ALLOW_PREFIX` before it looks at this prefix.
pub const SYSTEM: &str = "${system}.";
