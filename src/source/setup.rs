//! Creates the tables, or brings them up to date.

mod removals;

use super::backend::{Backend, Session};
use super::database::{Database, begin, close, count, numbers};
use super::error::FailureKind;
use super::schema::SchemaStep;
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
        let noted = numbers(&mut session, "reading `jitsiprovs_schema`", schema::NOTED.into()).await?;
        for step in dialect.steps {
            done.extend(self.apply(&mut session, step, &noted).await?);
        }
        for (name, sql) in schema::triggers(dialect.steps).filter(|(_, sql)| !self.is_replaced(sql)) {
            if count(&mut session, name, &format!("{} '{name}'", dialect.count_triggers)).await? == 0 {
                session.run(name, sql).await?;
                done.push(format!("created the trigger {name} again"));
            }
        }
        if !dialect.has_transactional_ddl {
            begin(&mut session, dialect.begin_write).await?;
        }
        if !self.queries.is_own(Table::JitsiProperty) {
            // Seeds are no edits, so the history does not have them.
            session.run("seeding", dialect.begin_quiet).await?;
            done.extend(seed(&mut session).await?);
            done.extend(seed_disabled(&mut session).await?);
            done.extend(removals::move_to_front(&mut session).await?);
            session.run("seeding", dialect.end_quiet).await?;
        }
        session.run("committing", "COMMIT").await?;
        close(session).await;
        Ok(done)
    }

    /// Whether a statement belongs to a table that the operator's own query replaces. A table of
    /// that name may be another program's.
    fn is_replaced(&self, statement: &str) -> bool {
        schema::table_of(statement).is_some_and(|table| self.queries.is_own(table))
    }

    /// Applies a step, or the parts of it that were left out before because of a query that is no
    /// longer given. `noted` is what was applied so far. Returns what was done.
    async fn apply(
        &self,
        session: &mut B::Session,
        step: &SchemaStep,
        noted: &[i64],
    ) -> Result<Option<String>, SourceError> {
        let is_new = !noted.contains(&step.version);
        let was_left_out = |table| noted.contains(&step.without(table).0);
        for statement in step.statements().filter(|statement| !self.is_replaced(statement)) {
            if !is_new && !schema::table_of(statement).is_some_and(was_left_out) {
                continue;
            }
            // If each statement is committed at once, an interrupted step is applied again,
            // and part of its work is already done. Operators may also have done it by hand.
            match session.run(step.name, statement).await {
                Err(failure) if failure.kind == FailureKind::Exists => {}
                other => other?,
            }
        }
        let (left_out, others): (Vec<Table>, Vec<Table>) =
            step.tables().partition(|table| self.queries.is_own(*table));
        let added: Vec<Table> = others.into_iter().filter(|table| was_left_out(*table)).collect();
        for table in &added {
            let (version, what) = step.without(*table);
            session.execute(&what, schema::FORGET_VERSION.into(), vec![Cell::Int(version)]).await?;
        }
        let names = |tables: &[Table]| tables.iter().map(|table| table.name()).collect::<Vec<_>>().join(", ");
        if !is_new {
            return Ok((!added.is_empty()).then(|| format!("applied {} to {}", step.name, names(&added))));
        }
        for table in left_out.iter().filter(|table| !was_left_out(**table)) {
            let (version, what) = step.without(*table);
            note(session, (version, &what)).await?;
        }
        note(session, (step.version, step.name)).await?;
        Ok(Some(match left_out.is_empty() {
            true => format!("applied {}", step.name),
            false => format!("applied {} without {}", step.name, names(&left_out)),
        }))
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
