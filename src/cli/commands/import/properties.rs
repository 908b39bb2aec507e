//! Turns a Jitsi's properties into rules.

use anyhow::{Context, bail};

use crate::cli::edit_session;
use crate::cli::print::{counted, note};
use crate::core::client::IDENTITY;
use crate::core::conventions::Conventions;
use crate::core::model::RuleRow;
use crate::core::properties::client_key;
use crate::core::secret::is_secret;
use crate::ops::transfer::properties_file::{self, Target, literal};
use crate::ops::transfer::{self, default_spriority, templatize};

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
}

impl Properties {
    /// Turns a file of properties into rules.
    pub fn rules(
        &self,
        named: &str,
        text: &[u8],
        replace: bool,
        options: &Conventions,
    ) -> anyhow::Result<PropertyRules> {
        let account = self.templatize.as_deref().map(edit_session::name).transpose();
        let account = account.context("--templatize")?;
        let domain = self.domain.clone().unwrap_or_default();
        let subject = self.subject.clone().unwrap_or_else(|| "default".into());
        let spriority = self.spriority.unwrap_or_else(|| default_spriority(&subject, &domain));
        let target = Target { domain: &domain, subject: &subject, spriority };
        let templates = templates(text, account, self.is_template);
        let rules = templates.and_then(|templates| target.rules(templates, options));
        let rules = rules.with_context(|| named.to_owned())?;
        if rules.is_empty() && replace {
            bail!(
                "{named}: there is no property in it, so --replace would only remove rules: use `jitsiprovs rule remove`"
            );
        }
        Ok(PropertyRules { rules, domain, subject })
    }
}

type Templates = Vec<(u64, String, String)>;

/// Turns the properties of the file into templates. Notes say what was changed.
fn templates(
    text: &[u8],
    account: Option<(&str, &str)>,
    is_template: bool,
) -> Result<Templates, transfer::FileError> {
    let (mut properties, doubles) = properties_file::parse(text)?;
    for properties_file::Double { key, lost, kept } in doubles {
        note(format_args!("{key} occurs twice: line {kept} counts and not line {lost}, as in Java"));
    }
    let identity = properties.extract_if(.., |property| {
        let read = client_key(property.key.as_bytes()).unwrap_or_default();
        IDENTITY.contains(&&*String::from_utf16_lossy(&read))
    });
    for properties_file::FileProperty { line, key, .. } in identity {
        note(format_args!("{key} in line {line} is left out: each client has its own"));
    }
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
    let secrets = templates.iter().filter(|(_, key, value)| is_secret(key, value)).count();
    if secrets > 0 {
        note(format_args!(
            "{} among the properties, visible to everyone who gets these rules: \
             --templatize replaces the password of one account with each user's own; remove the others",
            counted(secrets, "stored secret")
        ));
    }
    Ok(templates)
}
