mod a6;
mod balancing;
mod code;
mod file;
mod meshwork;
mod service_config;
mod spelling;

use super::Policy;

/// What parsing refuses `json` with.
fn refused(json: &str) -> String {
    match Policy::parse(json) {
        Ok(policy) => panic!("{json} was taken as {policy:?}"),
        Err(error) => error.to_string(),
    }
}

fn parsed(json: &str) -> Policy {
    Policy::parse(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}
