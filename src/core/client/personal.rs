//! Decides which properties belong to one person or to one installation of the client, so that
//! others must not get them. The keys are those that Jitsi and aTalk write themselves.

use super::{ALLOW_PREFIX, ENFORCE_PREFIX, MANDATORY};

/// Why a property is one person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Personal {
    /// The UUID of the client.
    Identity,
    /// How the client finds its provisioning server.
    Provisioning,
    /// The name and password for the provisioning server.
    SignIn,
    /// The store of saved passwords.
    Passwords,
    /// Keys of encrypted chats (OTR).
    ChatKey,
    /// Secrets of encrypted calls (ZRTP).
    CallSecret,
    /// The place and size of a window.
    Window,
    /// The history of an account.
    History,
}

impl Personal {
    /// What the property is, after "it is".
    pub fn what(self) -> &'static str {
        match self {
            Personal::Identity => "the identity of one client",
            Personal::Provisioning => "how one client finds its provisioning server",
            Personal::SignIn => "the sign-in of one person to the provisioning server",
            Personal::Passwords => {
                "part of one person's store of passwords, for which clients would ask a master password"
            }
            Personal::ChatKey => "a key of one person's encrypted chats",
            Personal::CallSecret => "a secret of one person's encrypted calls",
            Personal::Window => "the place or size of a window on one person's screen",
            Personal::History => "the history of one person's account",
        }
    }
}

/// What the keys of Jitsi begin with. aTalk leaves it out in some keys.
const ROOT: &str = "net.java.sip.communicator.";
/// What the keys of encrypted chats have in common. The address of an account or a contact
/// precedes it.
const CHAT_KEYS: [&str; 3] = ["_privateKey", "_publicKey", "_fingerprint"];
/// Words for secrets in keys about encrypted calls.
const CALL_SECRETS: [&str; 4] = ["SECRET", "SALT", "CACHE", "ZID"];
/// What the client appends to the name of a window's class.
const BOUNDS: [&str; 4] = ["x", "y", "width", "height"];

/// Why the property with this key, as the client reads it, is one person's; `None` if it is not.
pub fn personal(key: &str) -> Option<Personal> {
    let below = key.strip_prefix(ROOT).unwrap_or(key);
    let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
    if last == "UUID" {
        return Some(Personal::Identity);
    }
    let provisioning = below.strip_prefix("plugin.provisioning.").or(below.strip_prefix("provisioning."));
    if let Some(name) = provisioning {
        let is_order = [ENFORCE_PREFIX, ALLOW_PREFIX, MANDATORY].iter().any(|order| order.ends_with(last));
        return match name {
            _ if name.starts_with("auth") => Some(Personal::SignIn),
            "USERNAME" | "PASSWORD" => Some(Personal::SignIn),
            _ if is_order => None,
            _ => Some(Personal::Provisioning),
        };
    }
    if below.starts_with("impl.credentialsstorage.") {
        return Some(Personal::Passwords);
    }
    if below.starts_with("plugin.otr.") && CHAT_KEYS.iter().any(|name| last.contains(name)) {
        return Some(Personal::ChatKey);
    }
    let upper = last.to_ascii_uppercase();
    let is_about_calls = key.to_ascii_uppercase().contains("ZRTP");
    if upper == "ZID_SALT" || is_about_calls && CALL_SECRETS.iter().any(|word| upper.contains(word)) {
        return Some(Personal::CallSecret);
    }
    if key.starts_with(ROOT) && BOUNDS.contains(&last) && is_class(parent) {
        return Some(Personal::Window);
    }
    let is_of_account = below.split('.').any(|part| part.starts_with("acc") && part != "accounts");
    (is_of_account && below.to_ascii_lowercase().contains("history")).then_some(Personal::History)
}

/// Whether the name ends with that of a Java class. The client writes `_` for `$`.
fn is_class(name: &str) -> bool {
    let class = name.rsplit('.').next().unwrap_or_default();
    class.starts_with(|c: char| c.is_ascii_uppercase())
        && class.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_properties_are_told_from_settings() {
        for (key, expected) in [
            ("UUID", Some(Personal::Identity)),
            ("plugin.provisioning.METHOD", Some(Personal::Provisioning)),
            ("plugin.provisioning.URL", Some(Personal::Provisioning)),
            ("plugin.provisioning.auth", Some(Personal::SignIn)),
            ("plugin.provisioning.auth.USERNAME", Some(Personal::SignIn)),
            ("plugin.provisioning.auth.ENCRYPTED_PASSWORD", Some(Personal::SignIn)),
            ("plugin.provisioning.MANDATORY", None),
            ("plugin.provisioning.ALLOW_PREFIX", None),
            ("plugin.provisioning.ENFORCE_PREFIX", None),
            ("impl.credentialsstorage.MASTER", Some(Personal::Passwords)),
            ("impl.credentialsstorage.other", Some(Personal::Passwords)),
            ("plugin.otr.SIP_alice_example_org_privateKey", Some(Personal::ChatKey)),
            ("plugin.otr.SIP_alice_example_org_publicKey", Some(Personal::ChatKey)),
            ("plugin.otr.bob_example_org_publicKey_verified", Some(Personal::ChatKey)),
            ("plugin.otr.bob_example_org_fingerprints", Some(Personal::ChatKey)),
            ("plugin.otr.POLICY", None),
            ("impl.protocol.jabber.acc1.ZID_SALT", Some(Personal::CallSecret)),
            ("impl.neomedia.zrtp.RETAINED_SECRET", Some(Personal::CallSecret)),
            ("impl.neomedia.zrtpconfig.DISABLED", None),
            ("impl.protocol.sip.acc1.DEFAULT_SIPZRTP_ATTRIBUTE", None),
            ("impl.gui.main.MainFrame.width", Some(Personal::Window)),
            ("impl.gui.main.chat.ChatWindow.x", Some(Personal::Window)),
            ("impl.gui.main.call.CallDialog_1.y", Some(Personal::Window)),
            ("impl.neomedia.video.width", None),
            ("impl.gui.main.MainFrame.title", None),
            ("impl.callhistory.sip.acc123.LAST", Some(Personal::History)),
            ("impl.protocol.sip.acc123.CALL_HISTORY", Some(Personal::History)),
            ("service.msghistory.IS_MESSAGE_HISTORY_ENABLED", None),
            ("impl.protocol.sip.acc123.PASSWORD", None),
            ("impl.gui.accounts.acc123.lastAccountStatus", None),
        ] {
            assert_eq!(personal(&format!("{ROOT}{key}")), expected, "{key}");
        }
        assert_eq!(personal("plugin.provisioning.URL"), Some(Personal::Provisioning));
        assert_eq!(personal("provisioning.URL"), Some(Personal::Provisioning));
        assert_eq!(personal("provisioning.auth.USERNAME"), Some(Personal::SignIn));
        assert_eq!(personal(ALLOW_PREFIX), None);
        assert_eq!(personal(ENFORCE_PREFIX), None);
        assert_eq!(personal(MANDATORY), None);
        assert_eq!(personal(""), None);
    }
}
