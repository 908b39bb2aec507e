//! A rule.
use super::reply::{Refusal, Reply};
use super::visit::Visit;
#[expect(clippy::unused_async)]
pub(super) async fn show(_visit: &Visit<'_>, _what: &str) -> Result<Reply, Refusal> {
    Err(Refusal::NotFound)
}
