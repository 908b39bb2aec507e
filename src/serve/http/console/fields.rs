//! The fields of a query or a form, and the parts of a path.

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

/// Fields in the order in which they were sent.
#[derive(Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `a=1&b=2`.
    pub fn parse(text: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The decoded parts of a path: `/users/a.org/bob` has three. Empty parts at the end are left
    /// out.
    pub fn segments(path: &str) -> Vec<String> {
        let path = path.trim_matches('/');
        let parts = path.split('/').filter(|_| !path.is_empty());
        parts.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
    }

    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The first field of this name without blanks around it; `None` if it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(str::trim).filter(|value| !value.is_empty())
    }
}
