//! Values that are out of their range.

use std::time::Duration;

use meshwork_chassis::ServeError;

/// A value is out of its range.
pub(super) fn refuse(key: &str, value: impl std::fmt::Display, right: &str) -> ServeError {
    ServeError::new(format!("orders.{key} is {value}"), format!("it must be {right}"))
}

/// Refuses times that are too short or too long.
pub(super) fn check_times(group: &str, times: &[(&str, Duration)]) -> Result<(), ServeError> {
    for (key, value) in times {
        if *value < Duration::from_millis(10) || *value > Duration::from_secs(300) {
            let shown = humantime_serde::re::humantime::format_duration(*value);
            return Err(refuse(&format!("{group}.{key}"), shown, "10ms to 5m"));
        }
    }
    Ok(())
}
