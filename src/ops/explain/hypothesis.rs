//! What a client would get if something else were stored or seen.

use std::net::IpAddr;

use super::{ClientRequest, ExplainRefusal};
use crate::core::conventions::Conventions;
use crate::core::model::{AttributeRow, Cell, Row, TableRows};
use crate::core::params::{ClientFact, Known, ParamName, is_reserved};
use crate::core::secret::NameHint;

/// Attributes and an address that are tried, although they are not stored or seen.
#[derive(Default)]
pub struct Hypothesis {
    attributes: Vec<(String, String)>,
    address: Option<IpAddr>,
}

impl Hypothesis {
    /// Takes the parameters that only the server may give a value out of `sent`.
    ///
    /// # Errors
    /// When one of them is a secret, or cannot be tried.
    pub fn take(sent: &mut Vec<(String, String)>) -> Result<Hypothesis, ExplainRefusal> {
        let mut tried = Hypothesis::default();
        for (name, value) in sent.extract_if(.., |(name, _)| is_reserved(name)) {
            match ParamName::new(&name) {
                ParamName::Attribute(attribute) if NameHint::of(&attribute).hides_data(&value) => {
                    return Err(ExplainRefusal::SecretAttribute(attribute.into()));
                }
                ParamName::Attribute(attribute) => tried.attributes.push((attribute.into(), value)),
                ParamName::Client(ClientFact::Address) => match value.parse() {
                    Ok(address) => tried.address = Some(address),
                    Err(_) => return Err(ExplainRefusal::NoAddress(value)),
                },
                _ => return Err(ExplainRefusal::Untried(name)),
            }
        }
        Ok(tried)
    }

    /// Puts the attributes into `rows`, in place of those that the user of the request has
    /// there, and the address into the request.
    ///
    /// # Errors
    /// When the server would not use such an attribute.
    pub fn apply(
        self,
        request: &mut ClientRequest,
        rows: &mut TableRows,
        options: &Conventions,
    ) -> Result<(), ExplainRefusal> {
        if let Some(address) = self.address {
            request.params.set_address(address);
        }
        let owner =
            [Known::Domain, Known::Username].map(|known| request.params.known(known).unwrap_or_default());
        let folded = owner.map(|name| Some(options.comparison.fold(name)));
        let is_tried = |name: &Cell| {
            let name = name.shown();
            self.attributes.iter().any(|(tried, _)| name.eq_ignore_ascii_case(tried))
        };
        rows.attributes.retain(|row| {
            let is_own = [&row.domain, &row.username].map(|cell| options.fold(cell)) == folded;
            !(is_own && is_tried(&row.name))
        });
        let mut id = rows.attributes.iter().map(|row| row.id).max().unwrap_or(0);
        for (name, value) in &self.attributes {
            id += 1;
            let cells = [owner[0].into(), owner[1].into(), name.as_str().into(), value.as_str().into()];
            let row = AttributeRow::from_cells(id, cells);
            if let Some(why) = options.unusable(&Row::Attribute(row.clone())) {
                return Err(ExplainRefusal::BadAttribute { name: name.clone(), why });
            }
            rows.attributes.push(row);
        }
        Ok(())
    }
}
