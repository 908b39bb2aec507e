//! What `jitsiprovs --version` prints.

use clap::ValueEnum;

use crate::cli::options::DbType;
use crate::process::build;
use crate::source;

/// The version, and below it how the program was built and what it can do.
pub fn long() -> String {
    let linked = if build::IS_STATIC { ", statically linked" } else { "" };
    let databases = DbType::value_variants().iter().filter_map(ValueEnum::to_possible_value);
    let databases = databases.map(|kind| match kind.get_name() {
        "sqlite" => format!("sqlite {}", source::sqlite_version()),
        name => name.to_owned(),
    });
    let features: Vec<String> = databases.chain(FEATURES.map(String::from)).collect();
    format!(
        "{}\ncommit: {}\nsystem: {}{linked}\nfeatures: {}",
        build::VERSION,
        build::COMMIT,
        build::TARGET,
        features.join(", ")
    )
}

/// What every build can do, besides databases.
const FEATURES: [&str; 5] = ["tls1.2", "tls1.3", "http/1.1", "http/2", "systemd"];
