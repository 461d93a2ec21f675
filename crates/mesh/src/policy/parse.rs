//! The service config: methods, retries, hedging, throttling, health checks.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tonic::Code;

use super::json::{Node, PolicyError};
use super::parse_balancing::load_balancing;
use super::parse_meshwork::{channel, connections, method};
use super::parts::Parts;
use super::scope::Scope;
use super::unique;
use super::{ChannelPolicy, Codes, HedgingPolicy, MAX_ATTEMPTS, MethodPolicy, Repeat, RetryPolicy, RetryThrottling};
use crate::outcome::CODE_NAMES;

type Read<T> = Result<T, PolicyError>;

pub(super) fn policy(json: &str) -> Read<Parts> {
    let value: Value =
        unique::read(json).map_err(|error| PolicyError::new("", format!("the policy can't be read: {error}")))?;
    let root = Node::root(&value);
    if !value.is_object() {
        return Err(root.error("the policy must be a JSON object"));
    }
    let mut parts = Parts::default();
    let ChannelPolicy { load_balancing, outlier_detection, health_check, retry_throttling, .. } = &mut parts.channel;
    (*load_balancing, *outlier_detection) = self::load_balancing(&root)?;
    if let Some(throttling) = root.get("retryThrottling")? {
        *retry_throttling = Some(self::throttling(&throttling)?);
    }
    if let Some(check) = root.get("healthCheckConfig")?
        && let Some(service) = check.get("serviceName")?
    {
        *health_check = Some(service.string()?.into());
    }
    if let Some(scaling) = root.get("connectionScaling")?
        && let Some(most) = scaling.get("maxConnectionsPerSubchannel")?
    {
        parts.channel.max_connections_per_subchannel = connections(&most)?;
    }
    if let Some(meshwork) = root.get("meshwork")? {
        channel(&meshwork, &mut parts.channel)?;
    }
    if let Some(methods) = root.get("methodConfig")? {
        let mut default = None;
        for entry in methods.items()? {
            let policy = Arc::new(method_config(&entry)?);
            let Some(names) = entry.get("name")? else { continue };
            for name in names.items()? {
                self::name(&name, &policy, &mut parts.methods, &mut parts.services, &mut default)?;
            }
        }
        parts.default = default.unwrap_or_default();
    }
    Ok(parts)
}

type Methods = HashMap<Box<str>, Arc<MethodPolicy>>;

/// Enters `policy` under a name: a method, a service, or everything.
fn name(
    name: &Node<'_>,
    policy: &Arc<MethodPolicy>,
    methods: &mut Methods,
    services: &mut Methods,
    default: &mut Option<Arc<MethodPolicy>>,
) -> Read<()> {
    let taken = match Scope::read(name)? {
        Scope::Default => default.replace(Arc::clone(policy)).is_some(),
        Scope::Service(service) => services.insert(service, Arc::clone(policy)).is_some(),
        Scope::Method(path) => methods.insert(path, Arc::clone(policy)).is_some(),
    };
    if taken { Err(Scope::duplicate(name)) } else { Ok(()) }
}

fn method_config(entry: &Node<'_>) -> Read<MethodPolicy> {
    let mut policy = MethodPolicy::default();
    if let Some(timeout) = entry.get("timeout")? {
        policy.timeout = Some(timeout.duration()?);
    }
    if let Some(wait) = entry.get("waitForReady")? {
        policy.wait_for_ready = Some(wait.boolean()?);
    }
    if let Some(bytes) = entry.get("maxRequestMessageBytes")? {
        policy.max_request_message_bytes = Some(bytes.integer(0, u32::MAX)? as usize);
    }
    if let Some(bytes) = entry.get("maxResponseMessageBytes")? {
        policy.max_response_message_bytes = Some(bytes.integer(0, u32::MAX)? as usize);
    }
    policy.repeat = match (entry.get("retryPolicy")?, entry.get("hedgingPolicy")?) {
        (Some(_), Some(_)) => {
            return Err(entry.error("has a retryPolicy and a hedgingPolicy; a method can have one of them"));
        }
        (Some(retry), None) => Repeat::Retry(Arc::new(retry_policy(&retry)?)),
        (None, Some(hedging)) => Repeat::Hedge(Arc::new(hedging_policy(&hedging)?)),
        (None, None) => Repeat::Once,
    };
    if let Some(meshwork) = entry.get("meshwork")? {
        method(&meshwork, &mut policy)?;
    }
    Ok(policy)
}

fn max_attempts(policy: &Node<'_>) -> Read<u32> {
    Ok(policy.required("maxAttempts")?.integer(2, u32::MAX)?.min(MAX_ATTEMPTS))
}

fn retry_policy(policy: &Node<'_>) -> Read<RetryPolicy> {
    let multiplier = policy.required("backoffMultiplier")?;
    let backoff_multiplier = multiplier.number("a number above 0")?;
    if backoff_multiplier <= 0.0 {
        return Err(multiplier.must("a number above 0"));
    }
    let list = policy.required("retryableStatusCodes")?;
    let retryable_status_codes = codes(&list)?;
    if retryable_status_codes.is_empty() {
        return Err(list.error("must name at least one code"));
    }
    Ok(RetryPolicy {
        max_attempts: max_attempts(policy)?,
        initial_backoff: policy.required("initialBackoff")?.positive_duration()?,
        max_backoff: policy.required("maxBackoff")?.positive_duration()?,
        backoff_multiplier,
        retryable_status_codes,
    })
}

fn hedging_policy(policy: &Node<'_>) -> Read<HedgingPolicy> {
    let delay = policy.get("hedgingDelay")?.map(|delay| delay.duration()).transpose()?;
    let codes = policy.get("nonFatalStatusCodes")?.map(|list| codes(&list)).transpose()?;
    Ok(HedgingPolicy {
        max_attempts: max_attempts(policy)?,
        hedging_delay: delay.unwrap_or_default(),
        non_fatal_status_codes: codes.unwrap_or_default(),
    })
}

fn throttling(policy: &Node<'_>) -> Read<RetryThrottling> {
    let max = policy.required("maxTokens")?.integer(1, 1000)?;
    let ratio = policy.required("tokenRatio")?;
    // Digits after the third are cut off.
    let milli = (ratio.number("a number above 0")? * 1000.0 + 1e-9).floor();
    if milli < 1.0 {
        return Err(ratio.must("a number of at least 0.001"));
    }
    Ok(RetryThrottling { max_milli_tokens: max * 1000, milli_token_ratio: milli.min(f64::from(u32::MAX)) as u32 })
}

fn codes(list: &Node<'_>) -> Read<Codes> {
    let mut codes = Vec::new();
    for item in list.items()? {
        let number = match item.value {
            Value::String(name) => CODE_NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)),
            Value::Number(_) => Some(item.integer(0, 16)? as usize),
            _ => None,
        };
        let number = number.ok_or_else(|| item.must("a status code such as \"UNAVAILABLE\" or 14"))?;
        codes.push(Code::from_i32(number as i32));
    }
    Ok(codes.into_iter().collect())
}
