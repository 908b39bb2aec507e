//! Explains a client's answer to operators: lists all rules that could be for the client, and
//! what happened to each. Requests do not use this code.

use hashbrown::{HashMap, HashSet};

use super::kind::SubjectKind;
use super::resolve::Extras;
use super::rows::{self, Keys};
use super::{DEFAULT, EVERYWHERE, Session, Snapshot};
use crate::core::conventions::Conventions;
use crate::core::model::RuleRow;
use crate::core::params::{Known, Params};
use crate::core::rules::{self, Compiled, RuleOutcome};
use crate::core::subject::{PatternKind, Subject, TypedBy};

/// A row of rules, and what happened to it. Values may contain passwords, so this does not
/// implement `Debug`.
pub struct Traced<'r> {
    /// The row.
    pub row: &'r RuleRow,
    /// The parsed rule. `None` if the row cannot be used.
    pub rule: Option<Compiled>,
    /// What happened to it.
    pub fate: Fate,
}

/// What happened to a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It matches the client.
    Matches(RuleOutcome),
    /// It does not match the client, for this reason.
    Mismatch(Mismatch),
    /// The row cannot be used, for this reason.
    Bad(String),
}

/// Why a rule does not match a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// Its subject is the name of another user, and matches only the username.
    OtherUser {
        /// Whether the client sent the name as another parameter.
        is_sent: bool,
    },
    /// Its subject requires a parameter to have a certain value.
    Param {
        /// The parameter's canonical name.
        name: String,
        /// The value that the client sent, if any.
        sent: Option<String>,
        /// The pattern or network that the value does not match, if the subject is one.
        pattern: Option<(PatternKind, String)>,
    },
    /// The user is switched off, and the rule is not for users who are.
    Disabled,
}

impl Snapshot {
    /// The tenant and the user that a request names, without checking the password. Only for
    /// operators, who can read the tables anyway.
    pub fn find(&self, params: &Params) -> Option<Session<'_>> {
        let fold = |known| self.comparison.fold(params.known(known).unwrap_or_default());
        let found = self.user(self.tenant(&fold(Known::Domain))?, &fold(Known::Username));
        found.map(|(session, _)| session)
    }

    /// Returns what happens to each of `rows` in the client's answer, without the rows of
    /// other tenants. `rows` must be in ascending order of their ids. `rows` and `options`
    /// must be those that the snapshot was built from. The result is in the order in which
    /// rules apply. Rows that cannot be used come last.
    pub fn trace<'r>(
        &self,
        options: &Conventions,
        session: Session<'_>,
        params: &Params,
        rows: impl IntoIterator<Item = &'r RuleRow>,
    ) -> Vec<Traced<'r>> {
        let outcomes = self.outcomes(session, params);
        let (mut keys, mut seen) = (Keys::default(), HashSet::new());
        let mut traced = Vec::new();
        for row in rows {
            // Ids must be unique across all tenants, as in a load.
            let is_first = seen.insert(row.id);
            if !self.concerns(session, row) {
                continue;
            }
            let understood = match is_first {
                true => rows::rule(row, options, &mut keys, &mut |_, _| {}),
                false => Err(rows::UnusableRow("another row with this id came before".into())),
            };
            let (rule, fate) = match understood {
                Err(unusable) => (None, Fate::Bad(unusable.consequence())),
                Ok(rows::ParsedRule { domain, subject, compiled }) => {
                    let fate = match outcomes.get(&row.id) {
                        Some(outcome) => Fate::Matches(outcome.clone()),
                        None => Fate::Mismatch(self.mismatch(session, params, &domain, &subject)),
                    };
                    (Some(compiled), fate)
                }
            };
            traced.push(Traced { row, rule, fate });
        }
        traced.sort_by_key(|traced| {
            let order = traced.rule.as_ref().map(|rule| rule.order);
            (order.is_none(), order, traced.row.id)
        });
        traced
    }

    /// The ids of the rules that match a client's request, sorted: those that win, and those that
    /// lose or lack a parameter.
    pub fn matching(&self, session: Session<'_>, params: &Params) -> Vec<i64> {
        let mut ids: Vec<i64> = self.outcomes(session, params).into_keys().collect();
        ids.sort_unstable();
        ids
    }

    /// What happened to each rule that matches, by id.
    fn outcomes(&self, session: Session<'_>, params: &Params) -> HashMap<i64, RuleOutcome> {
        let mut all = Extras::new();
        let is_disabled = session.is_disabled();
        self.gather(session, is_disabled, params, &mut all);
        let defaults = match is_disabled {
            true => [None, None],
            false => {
                [session.tenant.default.as_deref(), self.entry(EVERYWHERE, SubjectKind::EVERYONE, DEFAULT)]
            }
        };
        all.extend(defaults.into_iter().flatten().flat_map(|entry| entry.rules.iter()));
        all.sort_unstable_by_key(|rule| rule.order());
        all.dedup_by(|one, other| one.is(*other));
        let ids = all.iter().map(|rule| rule.order().id);
        ids.zip(rules::trace(&all, &session.values(params))).collect()
    }

    /// Whether a row is for the tenant or for all tenants. Also true if its domain is not
    /// UTF-8.
    fn concerns(&self, session: Session<'_>, row: &RuleRow) -> bool {
        let Ok(domain) = row.domain.text() else { return true };
        let domain = self.comparison.fold(&domain.unwrap_or_default());
        domain.is_empty() || *domain == *session.tenant.name
    }

    fn mismatch(&self, session: Session<'_>, params: &Params, domain: &[u8], subject: &Subject) -> Mismatch {
        if session.is_disabled() {
            return Mismatch::Disabled;
        }
        let (by, pattern) = match subject {
            Subject::Everyone => unreachable!("it matches everyone"),
            Subject::Word(word) => {
                let tenant = if domain.is_empty() { EVERYWHERE } else { session.tenant.number };
                let is_user =
                    self.entry(tenant, SubjectKind::WORD, word).is_some_and(|entry| entry.is_user());
                match self.sent_for(word).filter(|_| !is_user) {
                    Some(known) => (&TypedBy::Known(known), None),
                    None => {
                        let is_it = |value: &str| self.comparison.fold(value) == *word;
                        let others = Known::ALL.into_iter().filter(|known| !known.always_given());
                        let is_sent = others.filter_map(|known| params.known(known)).any(is_it);
                        return Mismatch::OtherUser { is_sent };
                    }
                }
            }
            Subject::Param(by, _) => (by, None),
            Subject::Pattern(by, kind, pattern) => (by, Some((*kind, kind.shown(pattern)))),
        };
        let mut sent = None;
        self.each_value(by, session, params, |value| {
            sent.get_or_insert_with(|| value.to_owned());
        });
        Mismatch::Param { name: by.to_string(), sent, pattern }
    }
}
