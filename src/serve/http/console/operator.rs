//! Who uses the console, and what they may do.

/// What an operator may do. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    View,
    /// Lift locks, reset passwords, switch users off and on.
    Help,
    /// Edit users, attributes and rules, undo edits, confirm losses.
    Edit,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Role::View, Role::Help, Role::Edit];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Help => "help",
            Role::Edit => "edit",
        }
    }

    /// The role of this name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Somebody who has signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The domains that the operator is limited to, in the form in which names are compared;
    /// `None` for all. Who is limited sees no rules for all tenants' editing, and nothing of other
    /// tenants.
    pub tenants: Option<Vec<String>>,
}

impl Operator {
    /// Whether the operator may see this tenant. The domain is folded.
    pub fn sees(&self, domain: &[u8]) -> bool {
        self.tenants.as_ref().is_none_or(|own| own.iter().any(|own| own.as_bytes() == domain))
    }
}
