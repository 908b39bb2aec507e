//! Forms of a value: what a template makes of a parameter before it is escaped.

/// A form in which a placeholder takes the value of its parameter, such as `${username:id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `id`: only letters and digits, of any script. Jitsi ignores an account whose id has a dot.
    Id,
    /// `lower`: in lower case.
    Lower,
    /// `upper`: in upper case.
    Upper,
}

impl Form {
    /// The form called `name`, if there is one.
    pub(super) fn from_name(name: &str) -> Option<Form> {
        match name {
            "id" => Some(Form::Id),
            "lower" => Some(Form::Lower),
            "upper" => Some(Form::Upper),
            _ => None,
        }
    }

    /// The characters of `value` in this form.
    pub(super) fn of(self, value: &str) -> impl Iterator<Item = char> {
        value.chars().flat_map(move |c| {
            let (kept, lower, upper) = match self {
                Form::Id => (Some(c).filter(|c| c.is_alphanumeric()), None, None),
                Form::Lower => (None, Some(c.to_lowercase()), None),
                Form::Upper => (None, None, Some(c.to_uppercase())),
            };
            kept.into_iter().chain(lower.into_iter().flatten()).chain(upper.into_iter().flatten())
        })
    }
}
