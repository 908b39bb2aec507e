//! The columns of the tables. Each column is defined once.
//!
//! Statements, files, edits, the state file and the digests of nodes all use these lists. A new
//! column goes at the end of its list; [`snapshot`](crate::snapshot) decides what the server does
//! with it.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, NamedCell};

/// The name of a column and the type of its cells.
#[derive(Debug)]
pub struct Column {
    /// Its name in the database.
    pub name: &'static str,
    /// Its name in CSV and JSON files. Files may use the database's name too.
    pub file_name: &'static str,
    /// The type of its cells.
    pub holds: Holds,
    /// Whether a file must have this column.
    pub is_required: bool,
    /// Whether the original's table has this column too.
    pub is_original: bool,
    /// Whether version 0.1 had it. An operator's own query selects these columns, and
    /// digests cover them even where they are `NULL`, so that nodes of two versions agree
    /// about rows that say nothing in the later columns.
    pub is_basic: bool,
}

/// The type of the cells of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Text.
    Text,
    /// A whole number of 32 bits.
    Number,
}

impl Column {
    const fn new(name: &'static str) -> Column {
        Column {
            name,
            file_name: name,
            holds: Holds::Text,
            is_required: false,
            is_original: true,
            is_basic: true,
        }
    }

    const fn called(self, file_name: &'static str) -> Column {
        Column { file_name, ..self }
    }

    const fn required(self) -> Column {
        Column { is_required: true, ..self }
    }

    const fn number(self) -> Column {
        Column { holds: Holds::Number, ..self }
    }

    const fn added(self) -> Column {
        Column { is_original: false, ..self }
    }

    /// A cell of this column in the form that all databases share. Some send numbers as text, and
    /// a column of numbers may be one of `DECIMAL` or of text. What is no whole number stays as it
    /// is, to be reported.
    fn normal(&self, cell: Cell) -> Cell {
        match self.holds {
            Holds::Number => cell.int().ok().flatten().map_or(cell, Cell::Int),
            Holds::Text => cell.into_text(),
        }
    }
}

/// Defines the row of a table and the list of its columns from one description. A field after `+`
/// is no column.
macro_rules! row {
    ($(#[$about:meta])* $row:ident: $($(#[$field_about:meta])* $field:ident: $column:expr;)+
        $(+ $(#[$more_about:meta])* $more:ident: $kind:ty;)?) => {
        $(#[$about])*
        #[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $row {
            /// The row's primary key, or its place in the operator's own query.
            pub id: i64,
            $($(#[$field_about])* pub $field: Cell,)+
            $($(#[$more_about])* pub $more: $kind,)?
        }

        impl $row {
            /// The columns besides the id, in the order of [`Self::cells`].
            pub const COLUMNS: &[Column] = &[$($column),+];

            /// Creates a row from its cells. Cells that are missing at the end are `NULL`.
            pub fn from_cells(id: i64, cells: impl IntoIterator<Item = Cell>) -> Self {
                let mut cells = cells.into_iter();
                $(let $field = cells.next().unwrap_or(Cell::Null);)+
                $row { id, $($field,)+ $($more: Default::default())? }
            }

            /// The row with each cell in the form that all databases share.
            pub fn normal(self) -> Self {
                $(let $field = $column.normal(self.$field);)+
                $row { id: self.id, $($field,)+ $($more: self.$more)? }
            }

            /// The cells, in the order of [`Self::COLUMNS`].
            pub fn cells(&self) -> [&Cell; Self::COLUMNS.len()] {
                [$(&self.$field),+]
            }
        }
    };
}

row! {
    /// A row of `user_auth`. It holds a password, so it does not implement `Debug`.
    UserRow:
    /// The name with which the user signs in.
    username: Column::new("username").required();
    /// The tenant the user belongs to.
    domain: Column::new("domain").required();
    /// The password, either in the format of `--pwd-fmt` or as a hash that names its own format.
    password: Column::new("password").required();
    +
    /// The further columns of the operator's own query, except those that are `NULL`. They are
    /// sorted by name.
    #[serde(skip)]
    attributes: Vec<NamedCell>;
}

row! {
    /// A row of `jitsi_property`. Values may hold passwords, so it does not implement
    /// `Debug`.
    RuleRow:
    /// The tenant to which the rule applies; `NULL` or empty for all tenants.
    domain: Column::new("domain").added();
    /// The clients to which the rule applies: `default`, a username, or `param=value`.
    subject: Column::new("subject").required();
    /// The first sort key; the smallest number wins.
    spriority: Column::new("spriority").number();
    /// The second sort key; the smallest number wins.
    ppriority: Column::new("ppriority").number();
    /// Template of the property's key, in `.properties` syntax.
    key: Column::new("property_key").called("key").required();
    /// Template of the property's value, in `.properties` syntax.
    value: Column::new("property_value").called("value").required();
}

row! {
    /// A row of `user_attribute`. Values may be passwords, so it does not implement `Debug`.
    AttributeRow:
    /// The tenant that has the attribute; `NULL` or empty for everyone.
    domain: Column::new("domain").added();
    /// The user who has it; `NULL` or empty for the whole tenant.
    username: Column::new("username").added();
    /// Its name.
    name: Column::new("name").added().required();
    /// Its value.
    value: Column::new("value").added().required();
}

/// Some columns of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ColumnSet(u32);

impl ColumnSet {
    /// All columns.
    pub const ALL: ColumnSet = ColumnSet(u32::MAX);

    /// Takes one flag for each column, in order. The set has the columns whose flag is `true`.
    pub fn of(are_in: impl IntoIterator<Item = bool>) -> ColumnSet {
        let bits = are_in.into_iter().enumerate().map(|(at, is_in)| u32::from(is_in) << at);
        ColumnSet(bits.fold(0, |all, bit| all | bit))
    }

    /// For each column, in their order, whether it is in the set.
    pub fn flags(self) -> impl Iterator<Item = bool> {
        (0..u32::BITS).map(move |at| self.0 & 1 << at != 0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The columns that are in both sets.
    pub fn and(self, other: ColumnSet) -> ColumnSet {
        ColumnSet(self.0 & other.0)
    }

    /// Takes one item for each column, in order, and returns the items of the columns in this
    /// set.
    pub fn pick<T>(self, all: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        all.into_iter().zip(self.flags()).filter(|(_, is_in)| *is_in).map(|(picked, _)| picked)
    }
}
