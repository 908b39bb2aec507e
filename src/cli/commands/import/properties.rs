//! Turns a Jitsi's properties into rules.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};

use crate::cli::edit_session;
use crate::cli::print::{counted, note};
use crate::core::client::{Personal, personal};
use crate::core::conventions::Conventions;
use crate::core::model::RuleRow;
use crate::core::properties::{Side, client_key};
use crate::core::secret::is_secret;
use crate::core::subject::Subject;
use crate::core::template::Template;
use crate::ops::transfer::properties_file::{self, Double, FileProperty, Target, literal};
use crate::ops::transfer::settings_form::{self, Charset, Form};
use crate::ops::transfer::{FileError, default_spriority, hsqldb_script, templatize};

/// Rules that share a tenant and a subject.
pub(super) struct PropertyRules {
    /// The rules, each with the line of its property.
    pub rules: Vec<(u64, RuleRow)>,
    /// The tenant; empty for all tenants.
    pub domain: String,
    /// The subject.
    pub subject: String,
}

/// The options that say how properties become rules.
pub(super) struct Properties {
    pub domain: Option<String>,
    pub subject: Option<String>,
    pub spriority: Option<i32>,
    pub templatize: Option<String>,
    pub is_template: bool,
    pub as_latin1: bool,
}

/// The clients that get the rules, in words.
fn receivers(subject: &str, domain: &str, options: &Conventions) -> String {
    let tenant = if domain.trim_end().is_empty() { "all tenants" } else { domain };
    match options.subject(subject) {
        Some(Subject::Everyone) => format!("everyone of {tenant}"),
        _ => format!("the clients that get the rules for `{}` of {tenant}", options.shown_subject(subject)),
    }
}

impl Properties {
    /// Turns a file of properties into rules.
    pub fn rules(
        &self,
        named: &str,
        text: &[u8],
        file: Option<&Path>,
        replace: bool,
        options: &Conventions,
    ) -> anyhow::Result<PropertyRules> {
        let account = self.templatize.as_deref().map(edit_session::name).transpose();
        let account = account.context("--templatize")?;
        let domain = self.domain.clone().unwrap_or_default();
        let subject = self.subject.clone().unwrap_or_else(|| "default".into());
        let spriority = self.spriority.unwrap_or_else(|| default_spriority(&subject, &domain));
        let target = Target { domain: &domain, subject: &subject, spriority };
        let read = read(text, file, self.as_latin1).with_context(|| named.to_owned())?;
        let templates = templates(read, account, self.is_template, &receivers(&subject, &domain, options));
        let rules = target.rules(templates, options).with_context(|| named.to_owned())?;
        if rules.is_empty() && replace {
            bail!(
                "{named}: there is no property in it, so --replace would only remove rules: use `jitsiprovs rule remove`"
            );
        }
        Ok(PropertyRules { rules, domain, subject })
    }
}

type Templates = Vec<(u64, String, String)>;

/// Reads settings from a file of properties or a script of HSQLDB. Notes say what was unexpected.
fn read(bytes: &[u8], file: Option<&Path>, as_latin1: bool) -> Result<Vec<FileProperty>, FileError> {
    let (text, charset) = settings_form::decode(bytes, as_latin1)?;
    let form = settings_form::recognise(&text)?;
    match charset {
        Charset::Latin1 => {}
        Charset::Utf8 => note(
            "the file is read as UTF-8, although Java would read it as ISO-8859-1: \
             --latin1 reads it as Java does",
        ),
        Charset::Utf8WithMark => note(
            "the file begins with a byte order mark and is read as UTF-8, although Java would read the mark as \
             part of the first key: --latin1 reads it as Java does",
        ),
    }
    let (properties, doubles) = match form {
        Form::Properties => properties_file::parse(&text)?,
        Form::HsqldbScript => {
            file.into_iter().for_each(note_later_changes);
            hsqldb_script::parse(&text)?
        }
    };
    for Double { key, lost, kept } in doubles {
        note(format_args!("{key} occurs twice: line {kept} counts and not line {lost}, as in Java"));
    }
    Ok(properties)
}

/// HSQLDB writes changes to a log next to the script, and to the script itself when it is closed.
#[allow(clippy::disallowed_methods, reason = "a command serves nobody")]
fn note_later_changes(script: &Path) {
    if script.extension().is_none_or(|extension| extension != "script") {
        return;
    }
    let log = script.with_extension("log");
    let has_log = std::fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let state = std::fs::read_to_string(script.with_extension("properties")).unwrap_or_default();
    let is_open = state.lines().any(|line| line.trim() == "modified=yes");
    let why = match (has_log, is_open) {
        (true, _) => format!("{} has later changes of the settings, which are not imported", log.display()),
        (false, true) => "Jitsi was not closed after its last change of the settings".to_owned(),
        (false, false) => return,
    };
    note(format_args!(
        "{why}: close Jitsi (after a crash, start it once more first), and import the file again"
    ));
}

/// Leaves out what belongs to one person or one client. Notes name the keys.
fn leave_out_personal(properties: &mut Vec<FileProperty>, is_template: bool) {
    let reason = |property: &FileProperty| {
        // A placeholder stands for another value for each user.
        if is_template && has_placeholder(&property.value) {
            return None;
        }
        let key = client_key(property.key.as_bytes()).unwrap_or_default();
        personal(&String::from_utf16_lossy(&key))
    };
    let mut left_out: BTreeMap<Personal, Vec<String>> = BTreeMap::new();
    properties.retain(|property| {
        let Some(why) = reason(property) else { return true };
        left_out.entry(why).or_default().push(format!("{} (line {})", property.key, property.line));
        false
    });
    for (why, keys) in left_out {
        let it = if keys.len() == 1 { "it" } else { "each" };
        note(format_args!("left out, because {it} is {}: {}", why.what(), keys.join(", ")));
    }
}

fn has_placeholder(value: &str) -> bool {
    value == "${null}" || !Template::parse(value, Side::Value, drop).is_fixed()
}

/// Turns the properties into templates. Notes say what was changed.
fn templates(
    mut properties: Vec<FileProperty>,
    account: Option<(&str, &str)>,
    is_template: bool,
    receivers: &str,
) -> Templates {
    leave_out_personal(&mut properties, is_template);
    let templates: Templates = match account {
        Some((user, domain)) => {
            let templatized = templatize::LiteralAccount::new(user, domain).templatize(properties);
            let placeholders = counted(templatized.placeholders, "placeholder");
            note(format_args!("{placeholders} inserted in place of values of {user}@{domain}"));
            for key in &templatized.passwords {
                note(format_args!(
                    "{key} is now the password that the client sends, instead of the stored one"
                ));
            }
            templatized.templates
        }
        None => {
            let template = |text: String| if is_template { text } else { literal(&text) };
            properties.into_iter().map(|p| (p.line, template(p.key), template(p.value))).collect()
        }
    };
    let secrets = templates.iter().filter(|(_, key, value)| is_secret(key, value));
    let secrets: Vec<&str> = secrets.map(|(_, key, _)| &**key).collect();
    if !secrets.is_empty() {
        note(format_args!(
            "{} among the properties, visible to {receivers}: {}: --templatize replaces the password of one \
             account with each user's own; remove the others",
            counted(secrets.len(), "stored secret"),
            secrets.join(", ")
        ));
    }
    templates
}
