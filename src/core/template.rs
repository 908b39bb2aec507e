//! The language of property keys and values: Python's `string.Template`, as
//! the original used it, plus dots and defaults inside braces.
//!
//! A template is parsed once, at load. What is kept is the text that never
//! changes, already in the form it has in the answer, and the holes in it.

mod property;

use std::ops::Range;

use crate::core::params::{Known, ParamName, Params, begins_name, continues_name};
use crate::core::problem::Code;
use crate::core::properties::{self, Follows, Mended, Side};

pub use property::{Unsplit, check_key, is_placeholders, split};

/// A parsed key or value, or several joined: text with holes for parameters.
///
/// It may hold secrets of the operator's, so `Debug` shows its size only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Template {
    text: Box<str>,
    holes: Box<[Hole]>,
}

/// A place where a parameter goes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Offset in the text that the parameter goes before.
    at: u32,
    place: Side,
    name: ParamName,
    /// What stands there when the parameter was not sent or is empty.
    fallback: Option<Box<str>>,
}

/// Something odd in a template that does not keep it from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A `$` that begins no placeholder. It stands for itself.
    StrayDollar,
    /// See [`Mended`].
    Mended(Mended),
}

impl Fault {
    /// What kind of finding it is.
    pub fn code(self) -> Code {
        match self {
            Fault::StrayDollar => Code::StrayDollar,
            Fault::Mended(Mended::TrailingBackslash) => Code::TrailingBackslash,
            Fault::Mended(Mended::BackslashBeforeParameter) => Code::BackslashBeforePlaceholder,
            Fault::Mended(Mended::BadUnicodeEscape) => Code::BadUnicodeEscape,
            Fault::Mended(Mended::LineBreak) => Code::LineBreak,
        }
    }

    /// What it means and how to mend it, for the operator.
    pub fn explain(self) -> &'static str {
        match self {
            Fault::StrayDollar => "a `$` that begins no placeholder is sent as it is: write `$$`",
            Fault::Mended(Mended::TrailingBackslash) => {
                "a backslash at the end would join the next line to this one, it is doubled: write `\\\\`"
            }
            Fault::Mended(Mended::BackslashBeforeParameter) => {
                "a backslash before a placeholder escapes nothing and is left out: write `\\\\` for a backslash"
            }
            Fault::Mended(Mended::BadUnicodeEscape) => {
                "`\\u` without four hexadecimal digits stops the client, its backslash is doubled: write `\\\\u`"
            }
            Fault::Mended(Mended::LineBreak) => {
                "a raw line break would begin another property, it is sent as an escape: write `\\n` or `\\r`"
            }
        }
    }
}

/// A parameter as it is written in a template.
enum Placeholder<'t> {
    /// A name that is the server's: it renders the same for everyone.
    Fixed(&'static str),
    Param {
        name: &'t str,
        fallback: Option<&'t str>,
    },
}

impl Template {
    /// Parses `text` for its `place`. Every text is a template; what is odd in
    /// it is given to `fault`.
    pub fn parse(text: &str, place: Side, mut fault: impl FnMut(Fault)) -> Template {
        let mut parsed = Template::builder();
        // Stored text is escaped in the longest pieces there are, since an
        // escape may reach over a `$$` or a `${null}`.
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
                    Placeholder::Param { name, fallback } => {
                        let mut mended = |what| fault(Fault::Mended(what));
                        properties::write_stored(&stored, Follows::Parameter, &mut parsed.text, &mut mended);
                        stored.clear();
                        let fallback = fallback.map(|text| {
                            let mut written = String::new();
                            properties::write_stored(text, Follows::End, &mut written, &mut mended);
                            written.into_boxed_str()
                        });
                        parsed.holes.push(Hole {
                            at: offset(parsed.text.len()),
                            place,
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

    /// The whole of it, as a piece to render.
    pub fn whole(&self) -> TemplatePiece<'_> {
        TemplatePiece { start: 0, text: &self.text, holes: &self.holes }
    }

    /// The part of a joined template that `text` and `holes` mark.
    pub(crate) fn piece(&self, text: Range<u32>, holes: Range<u32>) -> TemplatePiece<'_> {
        TemplatePiece::of(&self.text, &self.holes, text, holes)
    }

    /// Whether it renders the same for every request.
    pub fn is_fixed(&self) -> bool {
        self.holes.is_empty()
    }

    /// Bytes of memory behind it, its own size left out.
    pub fn heap_bytes(&self) -> usize {
        let owned = self.holes.iter().map(|hole| {
            let name = match &hole.name {
                ParamName::Known(_) => 0,
                ParamName::Other(name) => name.len(),
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

/// What stands behind a `$`, and the text after it.
fn placeholder(text: &str) -> Option<(Placeholder<'_>, &str)> {
    let bytes = text.as_bytes();
    let (name, fallback, after) = if bytes.first() == Some(&b'{') {
        let inner = &text[1..];
        let end = name_len(inner.as_bytes(), continues_name)?;
        let (name, rest) = inner.split_at(end);
        match rest.strip_prefix(":-") {
            Some(rest) => {
                let (fallback, after) = rest.split_once('}')?;
                (name, Some(fallback), after)
            }
            None => (name, None, rest.strip_prefix('}')?),
        }
    } else {
        let end = name_len(bytes, |byte| byte != b'.' && continues_name(byte))?;
        (&text[..end], None, &text[end..])
    };
    let placeholder = match name {
        // These two mean something to the client itself, which must see them.
        "null" => Placeholder::Fixed("${null}"),
        "system" => Placeholder::Fixed("${system}"),
        "default" => Placeholder::Fixed("default"),
        _ => Placeholder::Param { name, fallback },
    };
    Some((placeholder, after))
}

fn name_len(bytes: &[u8], continues: impl Fn(u8) -> bool) -> Option<usize> {
    begins_name(*bytes.first()?)
        .then(|| bytes.iter().position(|&byte| !continues(byte)).unwrap_or(bytes.len()))
}

/// Offsets are 32 bits: the builder of the snapshot refuses longer rows.
fn offset(len: usize) -> u32 {
    u32::try_from(len).expect("a template is shorter than 4 GiB")
}

impl Hole {
    fn is_conditional(&self) -> bool {
        let always = matches!(&self.name, ParamName::Known(known) if known.always_given());
        !always && self.fallback.is_none()
    }

    fn fill<'a>(&'a self, params: &'a Params) -> Filling<'a> {
        match (params.get(&self.name), &self.fallback) {
            (None | Some(""), Some(fallback)) => Filling::Written(fallback),
            (Some(value), _) => Filling::Param(value, self.place),
            (None, None) => Filling::Missing,
        }
    }
}

/// What goes into a hole.
enum Filling<'a> {
    /// Text in its final form.
    Written(&'a str),
    /// A parameter's value, still to be escaped.
    Param(&'a str, Side),
    Missing,
}

/// A borrowed stretch of a template.
#[derive(Clone, Copy)]
pub struct TemplatePiece<'a> {
    /// Where `text` begins in the template, which the holes count from.
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

    /// Whether some authenticated request lacks a parameter it needs.
    pub fn is_conditional(&self) -> bool {
        self.holes.iter().any(Hole::is_conditional)
    }

    /// The parameters in it, and whether the request must send each of them.
    pub(crate) fn params(self) -> impl Iterator<Item = (&'a ParamName, bool)> {
        self.holes.iter().map(|hole| (&hole.name, hole.is_conditional()))
    }

    /// What stands for each parameter that was not sent.
    pub(crate) fn fallbacks(self) -> impl Iterator<Item = Option<&'a str>> {
        self.holes.iter().map(|hole| hole.fallback.as_deref())
    }

    /// Its text as it is in the answer, up to the first parameter.
    pub(crate) fn head(self) -> &'a str {
        self.holes.first().map_or(self.text, |hole| &self.text[..hole.at as usize - self.start])
    }

    /// Its text as it is in the answer, after the last parameter.
    pub(crate) fn tail(self) -> &'a str {
        self.holes.last().map_or(self.text, |hole| &self.text[hole.at as usize - self.start..])
    }

    /// As it would be for a client whose parameters are all `value`.
    pub(crate) fn sample(self, value: &str) -> String {
        self.filled(|_| value)
    }

    /// The same for one that sends no parameter that need not be sent.
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

    /// Whether a known parameter has a place in it.
    pub fn uses(&self, known: Known) -> bool {
        self.holes.iter().any(|hole| hole.name == ParamName::Known(known))
    }

    /// The first parameter it needs that the request did not send.
    pub fn missing(&self, params: &Params) -> Option<&'a ParamName> {
        let missing = |hole: &&Hole| matches!(hole.fill(params), Filling::Missing);
        self.holes.iter().find(missing).map(|hole| &hole.name)
    }

    /// How many bytes [`TemplatePiece::render`] appends.
    pub fn len(&self, params: &Params) -> usize {
        let filled = self.holes.iter().map(|hole| match hole.fill(params) {
            Filling::Written(text) => text.len(),
            Filling::Param(value, place) => properties::param_len(value, place),
            Filling::Missing => 0,
        });
        self.text.len() + filled.sum::<usize>()
    }

    /// Appends it with its parameters. A missing one leaves nothing; whether
    /// that may happen is for [`TemplatePiece::missing`] to say beforehand.
    pub fn render(&self, params: &Params, out: &mut Vec<u8>) {
        let text = self.text.as_bytes();
        let mut done = 0;
        for hole in self.holes {
            let at = hole.at as usize - self.start;
            out.extend_from_slice(&text[done..at]);
            done = at;
            match hole.fill(params) {
                Filling::Written(text) => out.extend_from_slice(text.as_bytes()),
                Filling::Param(value, place) => properties::write_param(value, place, out),
                Filling::Missing => {}
            }
        }
        out.extend_from_slice(&text[done..]);
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

    /// Where the next push begins, in text and in holes.
    pub(crate) fn position(&self) -> (u32, u32) {
        (offset(self.text.len()), offset(self.holes.len()))
    }

    pub(crate) fn finish(self) -> Template {
        Template { text: self.text.into(), holes: self.holes.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> (Template, Vec<Fault>) {
        let mut faults = Vec::new();
        let template = Template::parse(text, Side::Value, |fault| faults.push(fault));
        (template, faults)
    }

    /// What it renders to; `None` when a parameter is missing.
    fn render(text: &str, params: &[(&str, &str)]) -> Option<String> {
        let (template, _) = parse(text);
        let params: Params = params.iter().copied().collect();
        let piece = template.whole();
        if piece.missing(&params).is_some() {
            return None;
        }
        let mut out = Vec::new();
        piece.render(&params, &mut out);
        assert_eq!(piece.len(&params), out.len(), "{text:?}");
        Some(String::from_utf8(out).expect("ASCII"))
    }

    #[test]
    fn placeholders_are_those_of_string_template() {
        let params = [("username", "alice"), ("_x9", "X"), ("env.HOME", "/home/a"), ("empty", "")];
        for (text, expected) in [
            ("$username", Some("alice")),
            ("${username}@$_x9!", Some("alice@X!")),
            ("$$username", Some("$username")),
            ("$$$username", Some("$alice")),
            ("${env.HOME}", Some("/home/a")),
            ("[${empty}]", Some("[]")),
            ("${hwaddr}", None),
            ("$username.x", Some("alice.x")),
            ("${username:-x}", Some("alice")),
            ("${empty:-x}", Some("x")),
            ("${hwaddr:-a b$c{}", Some("a b$c{")),
            ("${hwaddr:-}", Some("")),
        ] {
            assert_eq!(render(text, &params).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_servers_names_render_the_same_whatever_the_client_sends() {
        let params = [("null", "n"), ("default", "d"), ("system", "s")];
        for (text, expected) in [
            ("${null}", "${null}"),
            ("$null", "${null}"),
            ("${system}.x", "${system}.x"),
            ("${default}", "default"),
            ("$default", "default"),
        ] {
            assert_eq!(render(text, &params).as_deref(), Some(expected));
            assert_eq!(render(text, &[]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_stray_dollar_is_literal_and_reported() {
        for text in ["$", "5$", "$ x", "${", "${}", "${a b}", "${a", "$1", "${é}", "${x:-y", "${x:y}"] {
            let (_, faults) = parse(text);
            assert_eq!(faults, [Fault::StrayDollar], "{text}");
            assert_eq!(render(text, &[]).unwrap().replace("\\u00E9", "é"), text);
        }
        assert_eq!(parse("$$ ${null} $username").1, []);
    }

    #[test]
    fn an_escape_may_reach_over_a_dollar_but_never_into_a_parameter() {
        let params = [("username", "n\\")];
        for (text, expected) in [
            ("\\$$x", "\\$x"),
            ("\\${null}", "\\${null}"),
            ("C:\\$username", "C:n\\\\"),
            ("C:\\\\$username", "C:\\\\n\\\\"),
            ("\\u00${username}41", "\\\\u00n\\\\41"),
            ("${username}\\", "n\\\\\\\\"),
            ("${x:-C:\\}y", "C:\\\\y"),
        ] {
            assert_eq!(render(text, &params).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_template_is_conditional_when_a_request_may_lack_a_parameter() {
        for (text, conditional) in [
            ("x", false),
            ("$username $password $domain", false),
            ("$osname", true),
            ("${osname:-x}", false),
            ("${null} ${system}", false),
        ] {
            assert_eq!(parse(text).0.whole().is_conditional(), conditional, "{text}");
        }
    }

    #[test]
    fn joined_templates_render_as_their_parts() {
        let params: Params = [("username", "alice"), ("domain", "a.org")].into_iter().collect();
        let (first, second) = (parse("<$username>").0, parse("[$domain]").0);
        let mut joined = Template::builder();
        joined.push(first.whole());
        let middle = joined.position();
        joined.push_str("=");
        joined.push(second.whole());
        let end = joined.position();
        let joined = joined.finish();
        let mut out = Vec::new();
        joined.whole().render(&params, &mut out);
        assert_eq!(out, b"<alice>=[a.org]");
        out.clear();
        joined.piece(middle.0..end.0, middle.1..end.1).render(&params, &mut out);
        assert_eq!(out, b"=[a.org]");
    }

    proptest! {
        #[test]
        fn any_text_parses_and_renders_to_one_ascii_line(text in any::<String>(), value in any::<String>()) {
            if let Some(line) = render(&text, &[("username", &value), ("a", &value)]) {
                prop_assert!(line.is_ascii() && !line.contains(['\r', '\n']));
            }
        }

        #[test]
        fn text_without_dollar_or_backslash_is_its_own_rendering(text in "[ -#%-\\[\\]-~]{0,40}") {
            prop_assert_eq!(render(&text, &[]), Some(text));
        }

        #[test]
        fn doubled_dollars_render_the_text_itself(text in "[ -\\[\\]-~]{0,40}") {
            let doubled = text.replace('$', "$$");
            prop_assert_eq!(render(&doubled, &[]), Some(text));
        }
    }
}
