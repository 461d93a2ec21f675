//! Whom a command administers.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;

// No doc comment: it would take the place of the commands' own help.
// Whose gateway, by which account, and how answers are printed.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The gateway
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub target: String,
    /// A JSON file with the `email` and `password` of a staff account; found by itself for a `meshwork up` on this machine
    #[arg(long, global = true, value_name = "FILE")]
    pub staff_credentials: Option<PathBuf>,
    /// How to print what there is
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}
