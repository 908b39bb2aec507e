//! Problems with a row: every kind of finding, its severity, and what a load reports.

use std::fmt;

use serde::{Serialize, Serializer};

use super::model::Table;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody does not get what the row specifies.
    Error,
    /// The row does harm, or something other than what was probably intended.
    Warning,
    /// Worth knowing, and often intended.
    Hint,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Hint => "hint",
        }
    }
}

/// Declares every code once: its variant, its name, its severity and its meaning.
macro_rules! codes {
    ($($code:ident $name:literal $severity:ident $meaning:literal;)*) => {
        /// A kind of finding. Its name does not change between versions, because operators filter
        /// by it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $meaning] $code,)*
        }

        impl Code {
            /// All codes, sorted by name.
            pub const ALL: &'static [Code] = &[$(Code::$code,)*];

            /// The name that operators use.
            pub fn name(self) -> &'static str {
                match self {
                    $(Code::$code => $name,)*
                }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Code::$code => Severity::$severity,)*
                }
            }
        }
    };
}

codes! {
    AllowPrefixDrops "allow-prefix-drops" Warning
        "`ALLOW_PREFIX` has the client ignore a property that comes after it.";
    AmbiguousSubject "ambiguous-subject" Warning
        "A word is a username, and clients also send it for another parameter.";
    BackslashBeforePlaceholder "backslash-before-placeholder" Warning
        "A backslash that escapes nothing stands before a placeholder.";
    BadAddress "bad-address" Warning
        "The subject needs an address, and its value is none.";
    BadAttribute "bad-attribute" Error
        "A further column of the query for users cannot be used.";
    BadPassword "bad-password" Error
        "No password can match the stored one.";
    BadRow "bad-row" Error
        "The row cannot be used.";
    BadUnicodeEscape "bad-unicode-escape" Warning
        "`\\u` stands without four hexadecimal digits.";
    BlankInPrefix "blank-in-prefix" Warning
        "A prefix is empty or has blanks.";
    CollidingUser "colliding-user" Error
        "Another user has the same name, as names are compared.";
    ControlCharacter "control-character" Hint
        "Java reads a control character in what looks like a path.";
    DroppedBackslash "dropped-backslash" Warning
        "Java leaves out a backslash.";
    DuplicateId "duplicate-id" Error
        "Another row has the same id.";
    EnforcePrefixForgets "enforce-prefix-forgets" Error
        "`ENFORCE_PREFIX` removes the client's identity.";
    EnforcePrefixResets "enforce-prefix-resets" Warning
        "`ENFORCE_PREFIX` removes passwords and decisions that the client has saved.";
    EnforcePrefixUndoes "enforce-prefix-undoes" Warning
        "`ENFORCE_PREFIX` removes a property that was set before it.";
    IgnoredAccount "ignored-account" Error
        "The client ignores an account, because its id has a dot.";
    IgnoredKey "ignored-key" Error
        "Java reads the line as a comment, or reads an empty key.";
    LeadingBlank "leading-blank" Warning
        "Java leaves out blanks at the beginning of the value.";
    LineBreak "line-break" Warning
        "The text has a raw line break.";
    LoggedSecret "logged-secret" Warning
        "The client writes a secret to its log.";
    Mandatory "mandatory" Warning
        "Clients do not start during an outage.";
    NeverWins "never-wins" Warning
        "Another rule applies in every case in which this one does, and comes first.";
    NoAccountLine "no-account-line" Warning
        "The client ignores the properties of an account, because its own line is missing.";
    NoPassword "no-password" Warning
        "No password is stored.";
    NoRules "no-rules" Warning
        "A tenant has users and no rules.";
    NoSuchUser "no-such-user" Warning
        "The subject names a user who does not exist.";
    NoUsers "no-users" Warning
        "A tenant has rules and no users.";
    NullBeyondSubtree "null-beyond-subtree" Warning
        "A removal also removes keys outside its subtree.";
    NullForgets "null-forgets" Error
        "Removing a key also removes the client's identity.";
    NullPriority "null-priority" Warning
        "A priority is NULL, which sorts before every number.";
    NullResets "null-resets" Warning
        "Removing a key also removes passwords and decisions that the client has saved.";
    NullUndoes "null-undoes" Warning
        "A removal removes a property that was set before it.";
    OwnParameter "own-parameter" Hint
        "Only clients that have this parameter in their URL send it.";
    PersonalKey "personal-key" Warning
        "Several users get a property that belongs to one person or one client.";
    SplitKey "split-key" Error
        "Java ends the key before its end.";
    StrayDollar "stray-dollar" Warning
        "A `$` begins no placeholder.";
    Tie "tie" Warning
        "Two rules that can meet have equal priorities.";
    TrailingBackslash "trailing-backslash" Warning
        "A backslash that escapes nothing stands at the end.";
    UnknownAttribute "unknown-attribute" Warning
        "Nobody has this attribute; another one was probably intended.";
    UnknownParameter "unknown-parameter" Warning
        "No client sends this parameter; another one was probably intended.";
    UnsetAttribute "unset-attribute" Hint
        "Nobody has this attribute yet.";
    UntypedPattern "untyped-pattern" Warning
        "The subject looks like a pattern or a network, but names no parameter.";
    UntypedWord "untyped-word" Hint
        "The subject is the value of one machine, or a user's name that nobody has any more.";
    UnusedAttribute "unused-attribute" Hint
        "No rule uses this attribute.";
    WeakHa1 "weak-ha1" Hint
        "The password is stored in the format that SIP servers need.";
    WeakHash "weak-hash" Warning
        "The password can be guessed quickly from the stored hash.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A problem with one row, in words for the operator. It never holds a password, a hash or a
/// property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of finding.
    pub code: Code,
    /// The table of the row.
    pub table: Table,
    /// The id of the row.
    pub id: i64,
    /// What is wrong, what the consequence is, and how to fix it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} id {}: {}", self.table, self.id, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_sorted_by_name_and_each_is_there_once() {
        assert!(Code::ALL.is_sorted_by(|one, other| one < other && one.name() < other.name()));
    }

    /// The first column of the documentation's table has the codes between back quotes.
    #[test]
    fn the_documentation_lists_every_code_and_no_other() {
        let chapter = include_str!("../../docs/command-line.md");
        let (_, table) = chapter.split_once("| code | meaning |").expect("the table of codes");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let cells = rows.filter_map(|row| row.split('|').nth(1));
        let listed: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        assert_eq!(listed, Code::ALL.iter().map(|code| code.name()).collect());
    }
}
