//! The kind of a subject as a number, which is part of the key of the index.

use crate::core::params::Known;
use crate::core::subject::{PatternKind, TypedBy};

/// The kind of a subject. Names of different kinds are always different, even if their text
/// is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SubjectKind(u16);

/// The parameter of a typed subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubjectParam {
    /// A parameter that clients fill in themselves.
    Known(Known),
    /// Something else. The snapshot has it under this number.
    Other(usize),
}

/// What the number of [`SubjectParam::Other`] stands for: every parameter that clients do not
/// fill in themselves, and every kind of pattern for any parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OtherParam {
    pub by: TypedBy,
    /// `None` if the subjects are values.
    pub pattern: Option<PatternKind>,
}

const FIRST_KNOWN: u16 = 2;
const FIRST_OTHER: u16 = FIRST_KNOWN + Known::ALL.len() as u16;

impl SubjectKind {
    /// Everyone.
    pub const EVERYONE: SubjectKind = SubjectKind(0);
    /// A bare word, such as a user's name.
    pub const WORD: SubjectKind = SubjectKind(1);

    /// The value of a parameter that clients fill in themselves.
    #[inline]
    pub fn known(known: Known) -> SubjectKind {
        SubjectKind(FIRST_KNOWN + known as u16)
    }

    /// The value of something else. `None` if there are too many of them.
    pub fn other(number: usize) -> Option<SubjectKind> {
        Some(SubjectKind(FIRST_OTHER.checked_add(u16::try_from(number).ok()?)?))
    }

    /// The parameter, if this is the kind of a parameter's value.
    #[inline]
    pub fn param(self) -> Option<SubjectParam> {
        let number = usize::from(self.0.checked_sub(FIRST_KNOWN)?);
        Some(match Known::ALL.get(number) {
            Some(known) => SubjectParam::Known(*known),
            None => SubjectParam::Other(number - Known::ALL.len()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_another_and_names_its_parameter() {
        assert_eq!((SubjectKind::EVERYONE.param(), SubjectKind::WORD.param()), (None, None));
        for known in Known::ALL {
            assert_eq!(SubjectKind::known(known).param(), Some(SubjectParam::Known(known)));
        }
        for number in [0, 1, 65_000] {
            assert_eq!(
                SubjectKind::other(number).map(SubjectKind::param),
                Some(Some(SubjectParam::Other(number)))
            );
        }
        assert_eq!(SubjectKind::other(65_535), None);
    }
}
