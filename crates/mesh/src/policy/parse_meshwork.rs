//! What the standard lacks, under the `meshwork` key: of the whole config, and of an entry of `methodConfig`.

use std::time::Duration;

use super::json::{Node, PolicyError};
use super::{ChannelPolicy, CircuitBreaker, FailureRate, MethodPolicy, RateLimit, Repeat, RetryBudget};

type Read<T> = Result<T, PolicyError>;

/// `methodConfig[…].meshwork`; `policy` holds what the rest of the entry says.
pub(super) fn method(node: &Node<'_>, policy: &mut MethodPolicy) -> Read<()> {
    node.only(&["attemptTimeout", "repeat"])?;
    if let Some(timeout) = node.get("attemptTimeout")? {
        policy.attempt_timeout = Some(timeout.positive_duration()?);
    }
    if let Some(repeat) = node.get("repeat")? {
        policy.says_once = !repeat.boolean()?;
        if policy.says_once && policy.repeat != Repeat::Once {
            return Err(repeat.error("is false, but the entry has a retryPolicy or a hedgingPolicy"));
        }
    }
    Ok(())
}

/// gRFC A105: a channel makes 10 at most; more are brought down to it.
pub(super) fn connections(most: &Node<'_>) -> Read<usize> {
    Ok(most.integer(1, u32::MAX)?.min(10) as usize)
}

/// `meshwork` of the whole.
pub(super) fn channel(node: &Node<'_>, policy: &mut ChannelPolicy) -> Read<()> {
    node.only(&["circuitBreaker", "rateLimit", "maxConcurrentRequests", "maxConnectionsPerSubchannel", "retryBudget"])?;
    if let Some(breaker) = node.get("circuitBreaker")? {
        policy.circuit_breaker = Some(circuit_breaker(&breaker)?);
    }
    if let Some(rate) = node.get("rateLimit")? {
        rate.only(&["perSecond", "burst"])?;
        let per_second = rate.required("perSecond")?.integer(1, u32::MAX)?;
        let burst = rate.get("burst")?.map(|node| node.integer(1, u32::MAX)).transpose()?.unwrap_or(per_second);
        policy.rate_limit = Some(RateLimit { per_second, burst });
    }
    if let Some(most) = node.get("maxConcurrentRequests")? {
        policy.max_concurrent_requests = Some(most.integer(0, u32::MAX)? as usize);
    }
    if let Some(most) = node.get("maxConnectionsPerSubchannel")? {
        policy.max_connections_per_subchannel = connections(&most)?;
    }
    if let Some(budget) = node.get("retryBudget")? {
        policy.retry_budget = Some(retry_budget(&budget)?);
    }
    Ok(())
}

fn circuit_breaker(node: &Node<'_>) -> Read<CircuitBreaker> {
    node.only(&["consecutiveFailures", "failureRate", "openFor", "probes", "maxOpenPercent"])?;
    let mut breaker = CircuitBreaker::default();
    let consecutive = node.get("consecutiveFailures")?;
    let rate = node.get("failureRate")?;
    if rate.is_some() && consecutive.is_none() {
        breaker.consecutive_failures = None;
    }
    if let Some(failures) = consecutive {
        breaker.consecutive_failures = Some(failures.integer(1, u32::MAX)?);
    }
    if let Some(rate) = rate {
        rate.only(&["percent", "minCalls", "window"])?;
        breaker.failure_rate = Some(FailureRate {
            percent: rate.required("percent")?.integer(1, 100)?,
            min_calls: rate.required("minCalls")?.integer(1, u32::MAX)?,
            window: rate.required("window")?.positive_duration()?,
        });
    }
    if let Some(time) = node.get("openFor")? {
        breaker.open_for = time.positive_duration()?;
    }
    if let Some(probes) = node.get("probes")? {
        breaker.probes = probes.integer(1, u32::MAX)?;
    }
    if let Some(percent) = node.get("maxOpenPercent")? {
        breaker.max_open_percent = percent.integer(0, 100)?;
    }
    Ok(breaker)
}

fn retry_budget(node: &Node<'_>) -> Read<RetryBudget> {
    node.only(&["ratio", "minPerSecond", "ttl"])?;
    let ratio = node.required("ratio")?;
    let share = ratio.number("a number from 0 to 1000")?;
    if !(0.0..=1000.0).contains(&share) {
        return Err(ratio.must("a number from 0 to 1000"));
    }
    let ttl = node.get("ttl")?;
    let length = ttl.as_ref().map(Node::positive_duration).transpose()?.unwrap_or(Duration::from_secs(10));
    if let Some(ttl) = ttl
        && !(Duration::from_secs(1)..=Duration::from_secs(60)).contains(&length)
    {
        return Err(ttl.must("a duration from 1s to 60s"));
    }
    let least = node.get("minPerSecond")?.map(|node| node.integer(0, u32::MAX)).transpose()?;
    Ok(RetryBudget { ratio: share, min_per_second: least.unwrap_or(10), ttl: length })
}
