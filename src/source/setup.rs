//! Creates the tables, or brings them up to date.

mod removals;

use super::backend::{Backend, Session};
use super::database::{Database, begin, close, count};
use super::error::FailureKind;
use super::{SourceError, schema};
use crate::core::model::{Cell, Table};

impl<B: Backend> Database<B> {
    pub(super) async fn set_up(&self) -> Result<Vec<String>, SourceError> {
        let dialect = &B::DIALECT;
        let (mut session, mut done) = self.backend.connect_to_setup().await?;
        let (views, noted) = (dialect.list_views, self.queries.noted());
        refuse_views(&mut session, views, noted, self.backend.name()).await?;
        if dialect.has_transactional_ddl {
            begin(&mut session, dialect.begin_write).await?;
        }
        session.run("creating `jitsiprovs_schema`", schema::CREATE_VERSIONS).await?;
        for step in dialect.steps {
            if count(&mut session, step.name, &schema::count_taken(step.version)).await? > 0 {
                continue;
            }
            // If each statement is committed at once, an interrupted step is applied again,
            // and part of its work is already done. Operators may also have done it by hand.
            for statement in step.statements() {
                match session.run(step.name, statement).await {
                    Err(failure) if failure.kind == FailureKind::Exists => {}
                    other => other?,
                }
            }
            note(&mut session, (step.version, step.name)).await?;
            done.push(format!("applied {}", step.name));
        }
        for (name, sql) in schema::triggers(dialect.steps) {
            if count(&mut session, name, &format!("{} '{name}'", dialect.count_triggers)).await? == 0 {
                session.run(name, sql).await?;
                done.push(format!("created the trigger {name} again"));
            }
        }
        if !dialect.has_transactional_ddl {
            begin(&mut session, dialect.begin_write).await?;
        }
        // Seeds are no edits, so the history does not have them.
        session.run("seeding", dialect.begin_quiet).await?;
        done.extend(seed(&mut session).await?);
        done.extend(seed_disabled(&mut session).await?);
        done.extend(removals::move_to_front(&mut session).await?);
        session.run("seeding", dialect.end_quiet).await?;
        session.run("committing", "COMMIT").await?;
        close(session).await;
        Ok(done)
    }
}

/// Refuses views in place of the tables that are `noted`, before anything is created.
pub(super) async fn refuse_views(
    session: &mut impl Session,
    list_views: &str,
    noted: [bool; Table::COUNT],
    source_name: String,
) -> Result<(), SourceError> {
    let views = session.query("reading the schema", list_views.into()).await?;
    let is_view =
        |table: Table| views.iter().flatten().any(|name| name.shown().eq_ignore_ascii_case(table.name()));
    let tables = Table::ALL.into_iter().zip(noted).filter(|(table, is_noted)| *is_noted && is_view(*table));
    let tables: Vec<Table> = tables.map(|(table, _)| table).collect();
    if tables.is_empty() { Ok(()) } else { Err(SourceError::Views { tables, source_name }) }
}

/// Adds the default properties, once, and only to a table without rules.
async fn seed(session: &mut impl Session) -> Result<Vec<String>, SourceError> {
    let (version, what) = schema::SEED;
    if count(session, what, &schema::count_taken(version)).await? > 0 {
        return Ok(Vec::new());
    }
    let mut seeded = Vec::new();
    if session.query(what, schema::ANY_RULE.into()).await?.is_empty() {
        let mut properties = 0;
        for (spriority, key, value) in schema::seeds() {
            let cells = vec![Cell::Int(spriority), key.into(), value.into()];
            properties += session.execute(what, schema::SEED_PROPERTY.into(), cells).await?;
        }
        seeded = vec![format!("seeded {properties} default properties"), removals::consequence()];
    }
    note(session, schema::SEED).await?;
    Ok(seeded)
}

/// Adds the rules for users who are switched off, once.
async fn seed_disabled(session: &mut impl Session) -> Result<Option<String>, SourceError> {
    let (version, what) = schema::SEED_DISABLED;
    if count(session, what, &schema::count_taken(version)).await? > 0 {
        return Ok(None);
    }
    for (spriority, ppriority, key, value) in schema::DISABLED_RULES {
        let cells = vec![Cell::Int(spriority), Cell::Int(ppriority), key.into(), value.into()];
        session.execute(what, schema::SEED_DISABLED_RULE.into(), cells).await?;
    }
    note(session, schema::SEED_DISABLED).await?;
    Ok(Some(format!("seeded {} rules for users who are switched off", schema::DISABLED_RULES.len())))
}

/// Notes that a step was applied.
async fn note(session: &mut impl Session, (version, name): (i64, &str)) -> Result<(), SourceError> {
    session.execute(name, schema::NOTE_VERSION.into(), vec![Cell::Int(version), name.into()]).await?;
    Ok(())
}
