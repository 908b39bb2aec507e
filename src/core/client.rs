//! Property keys that have a special meaning for the client, and what it does with an answer.

mod effects;

pub use effects::{ClientState, PropertyFate, covers, prefixes, stored_key};

mod personal;

pub use personal::{Personal, personal};

/// The client's identity, and the place from which it is provisioned. Each client has its own
/// values for these keys.
pub const IDENTITY: [&str; 3] = [
    "net.java.sip.communicator.UUID",
    "net.java.sip.communicator.plugin.provisioning.METHOD",
    "net.java.sip.communicator.plugin.provisioning.URL",
];

/// What the client keeps in its properties, besides its identity.
#[derive(Debug)]
pub struct Kept {
    /// A prefix that covers it.
    pub prefix: &'static str,
    /// Keys, or beginnings of keys that end with a dot.
    pub keys: &'static [&'static str],
    /// What happens when it is removed.
    pub loss: &'static str,
}

/// What the client must keep so that its user is not asked for it again.
pub const KEPT: [Kept; 3] = [
    Kept {
        prefix: "net.java.sip.communicator.plugin.provisioning.",
        keys: &[
            "net.java.sip.communicator.plugin.provisioning.auth.USERNAME",
            "net.java.sip.communicator.plugin.provisioning.auth.ENCRYPTED_PASSWORD",
        ],
        loss: "it asks for its user's password at each start",
    },
    Kept {
        prefix: "net.java.sip.communicator.impl.certservice.",
        keys: &[
            "net.java.sip.communicator.impl.certservice.param.",
            "net.java.sip.communicator.impl.certservice.server.",
        ],
        loss: "it asks at each start about certificates that its user has accepted",
    },
    Kept {
        prefix: "net.java.sip.communicator.impl.credentialsstorage.",
        keys: &["net.java.sip.communicator.impl.credentialsstorage.MASTER"],
        loss: "it cannot read saved passwords any longer if its user has a master password",
    },
];

/// A list of prefixes, separated by `|`. The client removes every property whose key begins with
/// none of them.
pub const ENFORCE_PREFIX: &str = "provisioning.ENFORCE_PREFIX";

/// A list in the same format. The client ignores later properties whose keys begin with none of
/// the prefixes.
pub const ALLOW_PREFIX: &str = "provisioning.ALLOW_PREFIX";

/// The value with which a property removes its own key, and all keys with the same beginning.
pub const REMOVED: &str = "${null}";

/// If this is `true`, the client does not start while the server cannot be reached.
pub const MANDATORY: &str = "net.java.sip.communicator.plugin.provisioning.MANDATORY";

/// The client does not log the values of keys that end with this.
pub const UNLOGGED: &str = ".PASSWORD";

/// Keys with this prefix set system properties of Java, not properties of the client. The client
/// checks `ALLOW_PREFIX` before it looks at this prefix.
pub const SYSTEM: &str = "${system}.";
