//! Method settings in JSON, spelled as gRPC's service config.

use super::settings::{MethodSetting, MethodSettings};
use crate::policy::json::{Node, PolicyError};
use crate::policy::scope::Scope;
use crate::policy::unique;

type Read<T> = Result<T, PolicyError>;

/// Method settings that are not valid. It names the path of the field, its value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidMethodSettings(PolicyError);

impl InvalidMethodSettings {
    /// The path of the field, such as `methodConfig[1].timeout`; empty for the whole.
    pub fn path(&self) -> &str {
        self.0.path()
    }
}

impl MethodSettings {
    /// Reads `methodConfig` of a gRPC service config as far as it means something to a server: `timeout`,
    /// `maxRequestMessageBytes`, and under `meshwork` `firstMessageTimeout` and `maxConcurrentCalls`. An empty name is
    /// for all methods that no other one is for. Other fields are passed over, but not under `meshwork`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use meshwork::server::MethodSettings;
    ///
    /// let settings = MethodSettings::parse(
    ///     r#"{"methodConfig": [{
    ///         "name": [{"service": "shop.v1.Orders", "method": "Place"}],
    ///         "timeout": "5s",
    ///         "maxRequestMessageBytes": 65536,
    ///         "meshwork": {"firstMessageTimeout": "2s", "maxConcurrentCalls": 64}
    ///     }]}"#,
    /// )?;
    /// assert_eq!(settings.get("/shop.v1.Orders/Place").timeout, Some(Duration::from_secs(5)));
    /// # Ok::<(), meshwork::server::InvalidMethodSettings>(())
    /// ```
    ///
    /// # Errors
    /// When a field that is read is not valid, a name appears twice, or a method has no service.
    pub fn parse(json: &str) -> Result<Self, InvalidMethodSettings> {
        read(json).map_err(InvalidMethodSettings)
    }
}

fn read(json: &str) -> Read<MethodSettings> {
    let value = unique::read(json)
        .map_err(|error| PolicyError::new("", format!("the method settings can't be read: {error}")))?;
    let root = Node::root(&value);
    if !value.is_object() {
        return Err(root.error("the method settings must be a JSON object"));
    }
    if let Some(meshwork) = root.get("meshwork")? {
        return Err(meshwork.error("is not known here; it may stand in the entries of methodConfig"));
    }
    let mut settings = MethodSettings::new();
    if let Some(entries) = root.get("methodConfig")? {
        for entry in entries.items()? {
            let setting = self::setting(&entry)?;
            let Some(names) = entry.get("name")? else { continue };
            for name in names.items()? {
                let taken = match Scope::read(&name)? {
                    Scope::Default => settings.default.replace(setting),
                    Scope::Service(service) => settings.services.insert(service, setting),
                    Scope::Method(path) => settings.methods.insert(path, setting),
                };
                if taken.is_some() {
                    return Err(Scope::duplicate(&name));
                }
            }
        }
    }
    Ok(settings)
}

fn setting(entry: &Node<'_>) -> Read<MethodSetting> {
    let mut setting = MethodSetting::default();
    if let Some(timeout) = entry.get("timeout")? {
        setting.timeout = Some(timeout.positive_duration()?);
    }
    if let Some(bytes) = entry.get("maxRequestMessageBytes")? {
        setting.max_request_message_bytes = Some(count(&bytes, 0)?);
    }
    if let Some(meshwork) = entry.get("meshwork")? {
        meshwork.only(&["firstMessageTimeout", "maxConcurrentCalls"])?;
        if let Some(timeout) = meshwork.get("firstMessageTimeout")? {
            setting.first_message = Some(timeout.positive_duration()?);
        }
        if let Some(calls) = meshwork.get("maxConcurrentCalls")? {
            setting.max_concurrent_calls = Some(count(&calls, 1)?);
        }
    }
    Ok(setting)
}

fn count(node: &Node<'_>, least: u32) -> Read<usize> {
    Ok(usize::try_from(node.integer(least, u32::MAX)?).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[track_caller]
    fn refused(json: &str) -> String {
        MethodSettings::parse(json).unwrap_err().to_string()
    }

    #[test]
    fn entries_are_for_the_methods_services_and_all_that_they_name() {
        let settings = MethodSettings::parse(
            r#"{"loadBalancingConfig": "whatever", "methodConfig": [
                {"name": [{"service": "s", "method": "m"}, {"service": "t"}], "timeout": "5s",
                 "waitForReady": 7, "maxRequestMessageBytes": "65536",
                 "meshwork": {"firstMessageTimeout": "2s", "maxConcurrentCalls": 64}},
                {"name": [{}], "timeout": "1.5s"},
                {"timeout": "9s"}
            ]}"#,
        );
        let named = MethodSetting {
            timeout: Some(Duration::from_secs(5)),
            max_request_message_bytes: Some(65_536),
            first_message: Some(Duration::from_secs(2)),
            max_concurrent_calls: Some(64),
        };
        let others = MethodSetting { timeout: Some(Duration::from_millis(1500)), ..MethodSetting::default() };
        assert_eq!(settings, Ok(MethodSettings::new().method("/s/m", named).service("t", named).others(others)));
        for empty in ["{}", r#"{"methodConfig": []}"#, r#"{"methodConfig": null}"#] {
            assert_eq!(MethodSettings::parse(empty), Ok(MethodSettings::new()), "{empty}");
        }
    }

    #[test]
    fn errors_name_the_path_of_what_is_not_valid() {
        let entry = |fields: &str| format!(r#"{{"methodConfig": [{{}}, {{"name": [{{"service": "s"}}], {fields}}}]}}"#);
        for (fields, expected) in [
            (r#""timeout": "5m""#, "methodConfig[1].timeout: must be a duration"),
            (r#""timeout": "0s""#, "methodConfig[1].timeout: must be a duration above zero"),
            (
                r#""maxRequestMessageBytes": -1"#,
                "methodConfig[1].maxRequestMessageBytes: must be an integer of 0 or more",
            ),
            (r#""meshwork": 1"#, "methodConfig[1].meshwork: must be an object"),
            (
                r#""meshwork": {"attemptTimeout": "1s"}"#,
                "methodConfig[1].meshwork: attemptTimeout is not known; there is firstMessageTimeout, maxConcurrent",
            ),
            (
                r#""meshwork": {"firstMessageTimeout": 2}"#,
                "methodConfig[1].meshwork.firstMessageTimeout: must be a duration",
            ),
            (
                r#""meshwork": {"maxConcurrentCalls": 0}"#,
                "methodConfig[1].meshwork.maxConcurrentCalls: must be an integer above 0",
            ),
            (r#""timeout": "1s", "timeout": "2s""#, "the method settings can't be read: the field \"timeout\" appears"),
        ] {
            let error = refused(&entry(fields));
            assert!(error.starts_with(expected), "{fields}: {error}");
        }
        assert_eq!(refused("[]"), "the method settings must be a JSON object");
        assert!(refused(r#"{"meshwork": {}}"#).starts_with("meshwork: is not known here"));
        assert_eq!(MethodSettings::parse(&entry(r#""timeout": 1"#)).unwrap_err().path(), "methodConfig[1].timeout");
    }

    #[test]
    fn a_name_is_in_one_entry_and_a_method_has_a_service() {
        for twice in [r#"{"service": "s", "method": "m"}"#, r#"{"service": "s"}"#, "{}"] {
            let error = refused(&format!(r#"{{"methodConfig": [{{"name": [{twice}]}}, {{"name": [{twice}]}}]}}"#));
            assert_eq!(error, "methodConfig[1].name[0]: appears a second time; a name may be in one entry only");
        }
        let error = refused(r#"{"methodConfig": [{"name": [{"method": "m"}]}]}"#);
        assert_eq!(error, "methodConfig[0].name[0]: the method \"m\" has no service");
    }
}
