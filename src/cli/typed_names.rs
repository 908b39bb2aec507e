//! Parsers of options that name a tenant or a user.

use crate::core::names::is_asterisk;

/// Reads the name of a tenant. Empty stands for all tenants where an option allows it.
///
/// # Errors
/// When it is an asterisk, because nobody would be in that tenant.
pub fn tenant(typed: &str) -> Result<String, String> {
    match is_asterisk(typed) {
        true => Err("no tenant is called `*`: all tenants are written as an empty domain, such as \
                     --domain '', and as --all where `jitsiprovs tenant` takes a domain"
            .into()),
        false => Ok(typed.to_owned()),
    }
}

/// Reads a user as user@domain. What else is wrong with it is found later.
///
/// # Errors
/// When the domain is an asterisk.
pub fn account(typed: &str) -> Result<String, String> {
    match typed.rsplit_once('@').is_some_and(|(_, domain)| is_asterisk(domain)) {
        true => Err("no tenant is called `*`: write the user's own domain".into()),
        false => Ok(typed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tenant_is_an_asterisk() {
        for (typed, is_good) in [("a.org", true), ("", true), ("*.org", true), ("*", false), (" * ", false)] {
            assert_eq!(tenant(typed).is_ok(), is_good, "{typed:?}");
            assert_eq!(account(&format!("a@b@{typed}")).is_ok(), is_good, "{typed:?}");
        }
        assert!(account("*").is_ok() && account("*@a.org").is_ok());
    }
}
