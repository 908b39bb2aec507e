//! The language of property keys and values: Python's `string.Template`, as in the original, plus
//! dots, forms and defaults inside braces.
//!
//! A template is parsed once, when rows are loaded, into fixed text and holes. The fixed text
//! already has the form that it has in the answer.

mod form;
mod guard;
mod literal;
mod placeholder;
mod property;

use std::ops::Range;

use crate::core::params::{Known, ParamName, Values};
use crate::core::problem::Code;
use crate::core::properties::{self, Follows, Mended, Side};

use placeholder::{Placeholder, placeholder};

pub use form::Form;
pub use literal::{NotText, literal};
pub use property::{Unsplit, check_key, is_placeholders, split, split_literal};

/// A parsed key or value, or several joined: text with holes for parameters.
///
/// It may hold secrets, so `Debug` shows only its size.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Template {
    text: Box<str>,
    holes: Box<[Hole]>,
}

/// A position where a parameter goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    /// The offset in the text where the parameter goes.
    at: u32,
    place: Side,
    form: Option<Form>,
    /// Whether the text before the parameter, or its fallback, may begin a `${null}` or `${system}`.
    is_watched: bool,
    name: ParamName,
    /// The text for a parameter that was not sent, or of which its form leaves nothing.
    fallback: Option<Box<str>>,
}

/// A mistake in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A `$` that begins no placeholder. It is sent as it is.
    StrayDollar,
    /// A placeholder with a form that does not exist. The row cannot be used, because nobody knows
    /// what it was meant to be.
    UnknownForm,
    /// A mistake that was corrected when the text was written.
    Mended(Mended),
}

impl Fault {
    /// The code of the finding.
    pub fn code(self) -> Code {
        match self {
            Fault::StrayDollar => Code::StrayDollar,
            Fault::UnknownForm => Code::BadRow,
            Fault::Mended(Mended::TrailingBackslash) => Code::TrailingBackslash,
            Fault::Mended(Mended::BackslashBeforeParameter) => Code::BackslashBeforePlaceholder,
            Fault::Mended(Mended::BadUnicodeEscape) => Code::BadUnicodeEscape,
            Fault::Mended(Mended::DroppedBackslash) => Code::DroppedBackslash,
            Fault::Mended(Mended::LineBreak) => Code::LineBreak,
        }
    }

    /// The mistake and how to fix it, for the operator.
    pub fn explain(self) -> &'static str {
        match self {
            Fault::StrayDollar => "a `$` that begins no placeholder is sent as it is: write `$$`",
            Fault::UnknownForm => {
                "a placeholder has an unknown form: there are `:id`, `:lower` and `:upper`, and `:-` before a text"
            }
            Fault::Mended(Mended::TrailingBackslash) => {
                "a backslash at the end would join the next line to this one, so it is doubled: write `\\\\`"
            }
            Fault::Mended(Mended::BackslashBeforeParameter) => {
                "a backslash before a placeholder has no effect and is left out: write `\\\\` for a backslash"
            }
            Fault::Mended(Mended::BadUnicodeEscape) => {
                "`\\u` without four hexadecimal digits stops the client, so its backslash is doubled: write `\\\\u`"
            }
            Fault::Mended(Mended::DroppedBackslash) => {
                "the client does not read a single backslash before a letter that is not ASCII: write `\\\\` for a backslash"
            }
            Fault::Mended(Mended::LineBreak) => {
                "a raw line break would begin another property, so it is sent as an escape: write `\\n` or `\\r`"
            }
        }
    }
}

impl Template {
    /// Parses `text` for its `place`. Every text is a template; `fault` receives its mistakes.
    pub fn parse(text: &str, place: Side, mut fault: impl FnMut(Fault)) -> Template {
        let mut parsed = Template::builder();
        // Text between two parameters is escaped in one piece, because an escape may continue
        // after a `$$` or a `${null}`.
        let mut stored = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            stored.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                stored.push('$');
                rest = after;
            } else if let Some((placeholder, after)) = placeholder(rest) {
                match placeholder {
                    Placeholder::Fixed(text) => stored.push_str(text),
                    Placeholder::Unknown(written) => {
                        fault(Fault::UnknownForm);
                        stored.push('$');
                        stored.push_str(written);
                    }
                    Placeholder::Param { name, form, fallback } => {
                        let mut mended = |what| fault(Fault::Mended(what));
                        let begin = parsed.text.len();
                        properties::write_stored(&stored, Follows::Parameter, &mut parsed.text, &mut mended);
                        stored.clear();
                        let fallback = fallback.map(|text| {
                            let mut written = String::new();
                            properties::write_stored(text, Follows::End, &mut written, &mut mended);
                            written.into_boxed_str()
                        });
                        let is_watched = guard::begins_at_end(&parsed.text[begin..])
                            || fallback.as_deref().is_some_and(guard::has_dollar);
                        parsed.holes.push(Hole {
                            at: offset(parsed.text.len()),
                            place,
                            form,
                            is_watched,
                            name: ParamName::new(name),
                            fallback,
                        });
                    }
                }
                rest = after;
            } else {
                fault(Fault::StrayDollar);
                stored.push('$');
            }
        }
        stored.push_str(rest);
        let mended = |what| fault(Fault::Mended(what));
        properties::write_stored(&stored, Follows::End, &mut parsed.text, mended);
        parsed.finish()
    }

    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// The whole template, as a piece to render.
    #[inline]
    pub fn whole(&self) -> TemplatePiece<'_> {
        TemplatePiece { start: 0, text: &self.text, holes: &self.holes }
    }

    /// The part of a joined template in these ranges of the text and the holes.
    #[inline]
    pub(crate) fn piece(&self, text: Range<u32>, holes: Range<u32>) -> TemplatePiece<'_> {
        TemplatePiece::of(&self.text, &self.holes, text, holes)
    }

    /// Whether it renders the same for every request.
    pub fn is_fixed(&self) -> bool {
        self.holes.is_empty()
    }

    /// Bytes that it uses on the heap, without its own size.
    pub fn heap_bytes(&self) -> usize {
        let owned = self.holes.iter().map(|hole| {
            let name = match &hole.name {
                ParamName::Known(_) | ParamName::Client(_) => 0,
                ParamName::Other(name) | ParamName::Attribute(name) => name.len(),
            };
            name + hole.fallback.as_deref().map_or(0, str::len)
        });
        self.text.len() + size_of_val(&*self.holes) + owned.sum::<usize>()
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({} bytes, {} holes)", self.text.len(), self.holes.len())
    }
}

/// Offsets have 32 bits: the snapshot's builder refuses longer rows.
fn offset(len: usize) -> u32 {
    u32::try_from(len).expect("a template is shorter than 4 GiB")
}

impl Hole {
    #[inline]
    fn is_conditional(&self) -> bool {
        !self.name.always_given() && self.fallback.is_none()
    }

    fn fill<'a>(&'a self, values: &'a impl Values) -> Filling<'a> {
        match (values.get(&self.name), &self.fallback) {
            (None | Some(""), Some(fallback)) => Filling::Written(fallback),
            (Some(value), fallback) => match (self.form, fallback) {
                (None, _) => Filling::Param(value, self.place),
                (Some(form), Some(fallback)) if form.of(value).next().is_none() => Filling::Written(fallback),
                (Some(form), _) => Filling::Formed(form, value, self.place),
            },
            (None, None) => Filling::Missing,
        }
    }
}

/// The text that goes into a hole.
enum Filling<'a> {
    /// Text in its final form.
    Written(&'a str),
    /// The value of a parameter, which must still be escaped.
    Param(&'a str, Side),
    /// The value of a parameter, which must still get this form and be escaped.
    Formed(Form, &'a str, Side),
    Missing,
}

/// A borrowed part of a template.
#[derive(Clone, Copy)]
pub struct TemplatePiece<'a> {
    /// The position of `text` in the template. Holes count from the start of the template, not of
    /// `text`.
    start: usize,
    text: &'a str,
    holes: &'a [Hole],
}

impl<'a> TemplatePiece<'a> {
    fn of(all: &'a str, all_holes: &'a [Hole], text: Range<u32>, holes: Range<u32>) -> TemplatePiece<'a> {
        TemplatePiece {
            start: text.start as usize,
            text: &all[text.start as usize..text.end as usize],
            holes: &all_holes[holes.start as usize..holes.end as usize],
        }
    }

    /// Whether a signed-in client may have omitted a parameter that the piece needs.
    pub fn is_conditional(&self) -> bool {
        self.holes.iter().any(Hole::is_conditional)
    }

    /// The parameters in it, each with whether the request must send it.
    pub(crate) fn params(self) -> impl Iterator<Item = (&'a ParamName, bool)> {
        self.holes.iter().map(|hole| (&hole.name, hole.is_conditional()))
    }

    /// What is written for each parameter: the form of its value, and the fallback.
    pub(crate) fn forms(self) -> impl Iterator<Item = (Option<Form>, Option<&'a str>)> {
        self.holes.iter().map(|hole| (hole.form, hole.fallback.as_deref()))
    }

    /// The fallback of each parameter.
    pub(crate) fn fallbacks(self) -> impl Iterator<Item = Option<&'a str>> {
        self.holes.iter().map(|hole| hole.fallback.as_deref())
    }

    /// The text of the answer up to the first parameter.
    pub(crate) fn head(self) -> &'a str {
        self.holes.first().map_or(self.text, |hole| &self.text[..hole.at as usize - self.start])
    }

    /// The text of the answer after the last parameter.
    pub(crate) fn tail(self) -> &'a str {
        self.holes.last().map_or(self.text, |hole| &self.text[hole.at as usize - self.start..])
    }

    /// The rendered text if the value of every parameter is `value`.
    pub(crate) fn sample(self, value: &str) -> String {
        self.filled(|_| value)
    }

    /// The rendered text if a client sends `value` for parameters without a fallback, and no
    /// others.
    pub(crate) fn fallback_sample(self, value: &'a str) -> String {
        self.filled(|hole| hole.fallback.as_deref().unwrap_or(value))
    }

    fn filled<'v>(self, value: impl Fn(&'a Hole) -> &'v str) -> String {
        let mut sample = String::with_capacity(self.text.len());
        let mut done = 0;
        for hole in self.holes {
            let at = hole.at as usize - self.start;
            sample.push_str(&self.text[done..at]);
            sample.push_str(value(hole));
            done = at;
        }
        sample + &self.text[done..]
    }

    /// Whether it has a placeholder for a known parameter.
    pub fn uses(&self, known: Known) -> bool {
        self.holes.iter().any(|hole| hole.name == ParamName::Known(known))
    }

    /// The first parameter that it needs and the request did not send.
    #[inline]
    pub fn missing(&self, values: &impl Values) -> Option<&'a ParamName> {
        let missing = |hole: &&Hole| matches!(hole.fill(values), Filling::Missing);
        self.holes.iter().find(missing).map(|hole| &hole.name)
    }

    /// How many bytes [`TemplatePiece::render`] appends at least. They are more only if a
    /// parameter must be escaped.
    #[inline]
    pub fn least_len(&self, values: &impl Values) -> usize {
        let filled = self.holes.iter().map(|hole| match hole.fill(values) {
            Filling::Written(text) => text.len(),
            Filling::Param(value, _) => value.len(),
            Filling::Formed(form, value, _) => form.of(value).map(char::len_utf8).sum(),
            Filling::Missing => 0,
        });
        self.text.len() + filled.sum::<usize>()
    }

    /// Appends the text with its parameters. A missing parameter renders as empty text, so check
    /// [`TemplatePiece::missing`] first.
    pub fn render(&self, values: &impl Values, out: &mut Vec<u8>) {
        let begin = out.len();
        if self.write(values, out, |_| ()) {
            out.truncate(begin);
            self.render_apart(values, out);
        }
    }

    /// Does the same if a parameter may have made a `${null}` or `${system}`. Few requests need
    /// it.
    #[cold]
    #[inline(never)]
    fn render_apart(&self, values: &impl Values, out: &mut Vec<u8>) {
        let (mut written, mut filled) = (Vec::new(), Vec::new());
        self.write(values, &mut written, |param| filled.push(param));
        let written = str::from_utf8(&written).expect("all text that is written is ASCII");
        let place = self.holes.first().map_or(Side::Value, |hole| hole.place);
        out.extend(guard::apart(written, place, &filled));
    }

    /// Appends the text with its parameters, and says whether a parameter may have made a `${null}`
    /// or `${system}`. `filled` receives the place of each parameter in `out`.
    #[inline]
    fn write(&self, values: &impl Values, out: &mut Vec<u8>, mut filled: impl FnMut(Range<usize>)) -> bool {
        let text = self.text.as_bytes();
        let (mut done, mut is_suspect) = (0, false);
        for hole in self.holes {
            let at = hole.at as usize - self.start;
            out.extend_from_slice(&text[done..at]);
            done = at;
            let begin = out.len();
            is_suspect |= hole.is_watched;
            match hole.fill(values) {
                Filling::Written(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Filling::Param(value, place) => {
                    is_suspect |= !properties::write_param(value, place, out) && guard::begins_in(value);
                }
                Filling::Formed(form, value, place) => {
                    properties::write_chars(form.of(value), place, out);
                    is_suspect |= value.contains('$');
                }
                Filling::Missing => {}
            }
            filled(begin..out.len());
        }
        out.extend_from_slice(&text[done..]);
        is_suspect
    }
}

/// Joins templates and fixed text into one template.
#[derive(Default)]
pub(crate) struct Builder {
    text: String,
    holes: Vec<Hole>,
}

impl Builder {
    pub(crate) fn push_str(&mut self, written: &str) {
        self.text.push_str(written);
    }

    pub(crate) fn push(&mut self, piece: TemplatePiece<'_>) {
        let start = offset(self.text.len() + piece.text.len()) - offset(piece.text.len());
        self.text.push_str(piece.text);
        let moved = |hole: &Hole| Hole { at: start + hole.at - offset(piece.start), ..hole.clone() };
        self.holes.extend(piece.holes.iter().map(moved));
    }

    /// The position where the next push begins, in the text and in the holes.
    pub(crate) fn position(&self) -> (u32, u32) {
        (offset(self.text.len()), offset(self.holes.len()))
    }

    pub(crate) fn finish(self) -> Template {
        Template { text: self.text.into(), holes: self.holes.into() }
    }
}

#[cfg(test)]
mod tests;
