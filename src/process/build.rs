//! How this program was built. The package's `build.rs` finds out the commit.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, followed by ` with changes` if the sources differed from it. `unknown`
/// in builds for development, and where neither git nor the environment says it.
pub const COMMIT: &str = env!("BUILD_COMMIT");

/// The system that it runs on, as the compiler calls it.
pub const TARGET: &str = env!("BUILD_TARGET");

/// Whether it needs no library of the system.
pub const IS_STATIC: bool = cfg!(target_feature = "crt-static");
