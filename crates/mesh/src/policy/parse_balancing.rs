//! `loadBalancingConfig`: the first policy that is known, and outlier detection around it.

use std::time::Duration;

use super::json::{Node, PolicyError};
use super::{FailurePercentageEjection, LoadBalancing, OutlierDetection, SuccessRateEjection};

type Read<T> = Result<T, PolicyError>;

/// The policies that there are.
const KNOWN: &str = "meshwork_peak_ewma, pick_first, round_robin, least_request_experimental, \
                     outlier_detection_experimental";

pub(super) fn load_balancing(root: &Node<'_>) -> Read<(LoadBalancing, Option<OutlierDetection>)> {
    if let Some(list) = root.get("loadBalancingConfig")?
        && list.items()?.next().is_some()
    {
        return first_known(&list, true);
    }
    if let Some(name) = root.get("loadBalancingPolicy")? {
        let text = name.string()?;
        let known = plain(&text.to_ascii_lowercase(), None)?;
        return known.map(|policy| (policy, None)).ok_or_else(|| name.error(format!("is not known; there is {KNOWN}")));
    }
    Ok((LoadBalancing::default(), None))
}

fn first_known(list: &Node<'_>, outer: bool) -> Read<(LoadBalancing, Option<OutlierDetection>)> {
    for item in list.items()? {
        let object = item.object()?;
        if object.len() != 1 {
            return Err(item.error("must have one field: the name of a policy"));
        }
        let Some(name) = object.keys().next() else { continue };
        let config = item.get(name)?;
        if matches!(name.as_str(), "outlier_detection_experimental" | "outlier_detection") {
            if !outer {
                return Err(item.error("outlier detection can't be inside of outlier detection"));
            }
            let config = item.required(name)?;
            let detection = outlier_detection(&config)?;
            let child = match config.get("childPolicy")? {
                Some(list) => first_known(&list, false)?.0,
                None => LoadBalancing::default(),
            };
            return Ok((child, Some(detection)));
        }
        if let Some(policy) = plain(name, config.as_ref())? {
            return Ok((policy, None));
        }
    }
    Err(list.error(format!("names no policy that is known; there is {KNOWN}")))
}

fn plain(name: &str, config: Option<&Node<'_>>) -> Read<Option<LoadBalancing>> {
    if let Some(config) = config {
        config.object()?;
    }
    Ok(Some(match name {
        "meshwork_peak_ewma" => LoadBalancing::PeakEwma,
        "round_robin" => LoadBalancing::RoundRobin,
        "pick_first" => {
            // gRFC A62 has false; but the answers of DNS are sorted, and all clients would go to the lowest address.
            let shuffle = config.map(|config| config.get("shuffleAddressList")?.map(|node| node.boolean()).transpose());
            LoadBalancing::PickFirst { shuffle_address_list: shuffle.transpose()?.flatten().unwrap_or(true) }
        }
        "least_request_experimental" | "least_request" => {
            let count =
                config.map(|config| config.get("choiceCount")?.map(|node| node.integer(2, u32::MAX)).transpose());
            LoadBalancing::LeastRequest { choice_count: count.transpose()?.flatten().unwrap_or(2).min(10) as usize }
        }
        _ => return Ok(None),
    }))
}

fn outlier_detection(config: &Node<'_>) -> Read<OutlierDetection> {
    let mut detection = OutlierDetection::default();
    let duration = |name, field: &mut Duration| -> Read<()> {
        if let Some(node) = config.get(name)? {
            *field = node.duration()?;
        }
        Ok(())
    };
    duration("interval", &mut detection.interval)?;
    duration("baseEjectionTime", &mut detection.base_ejection_time)?;
    duration("maxEjectionTime", &mut detection.max_ejection_time)?;
    integer(config, "maxEjectionPercent", 100, &mut detection.max_ejection_percent)?;
    if let Some(node) = config.get("successRateEjection")? {
        let mut ejection = SuccessRateEjection::default();
        integer(&node, "stdevFactor", u32::MAX, &mut ejection.stdev_factor)?;
        integer(&node, "enforcementPercentage", 100, &mut ejection.enforcement_percentage)?;
        integer(&node, "minimumHosts", u32::MAX, &mut ejection.minimum_hosts)?;
        integer(&node, "requestVolume", u32::MAX, &mut ejection.request_volume)?;
        detection.success_rate = Some(ejection);
    }
    if let Some(node) = config.get("failurePercentageEjection")? {
        let mut ejection = FailurePercentageEjection::default();
        integer(&node, "threshold", 100, &mut ejection.threshold)?;
        integer(&node, "enforcementPercentage", 100, &mut ejection.enforcement_percentage)?;
        integer(&node, "minimumHosts", u32::MAX, &mut ejection.minimum_hosts)?;
        integer(&node, "requestVolume", u32::MAX, &mut ejection.request_volume)?;
        detection.failure_percentage = Some(ejection);
    }
    Ok(detection)
}

fn integer(config: &Node<'_>, name: &str, high: u32, field: &mut u32) -> Read<()> {
    if let Some(node) = config.get(name)? {
        *field = node.integer(0, high)?;
    }
    Ok(())
}
