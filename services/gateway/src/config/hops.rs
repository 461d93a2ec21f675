//! What stands between callers and the gateway.

use std::net::IpAddr;

use meshwork_chassis::config::ProxyProtocolMode;

use super::Config;

/// The variable that Kubernetes sets in every container.
const OF_KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

impl Config {
    /// Says at the start if everybody is trusted to tell for whom they call.
    pub(crate) fn warn_of_trusted_callers(&self) {
        if let Some(network) = self.trusts_everybody() {
            tracing::warn!(
                "gateway.server.trusted_proxies has {network}: every caller may call for any address, and nothing that goes by \
                 addresses holds any more, such as `gateway.rate_limit`; list the networks of your balancers alone"
            );
        }
    }

    /// The network of all addresses that is trusted, if one is.
    fn trusts_everybody(&self) -> Option<&str> {
        let is_everybody = |network: &&str| {
            network.split_once('/').is_some_and(|(address, bits)| address.parse::<IpAddr>().is_ok() && bits == "0")
        };
        self.server.trusted_proxies.iter().map(String::as_str).find(is_everybody)
    }

    /// Says at the start if callers will be taken for one because of what stands before the gateway.
    pub(crate) fn warn_of_hidden_callers(&self) {
        if self.hides_callers(std::env::var_os(OF_KUBERNETES).is_some()) {
            tracing::warn!(
                "gateway.server.trusted_proxies is empty: callers that come through a balancer, an ingress or a Gateway \
                 all have its address, and share what one address may do; set it to the networks of that (in the chart \
                 `gateway.trustedProxies`), such as [\"10.244.0.0/16\"], if there is one"
            );
        }
    }

    /// Whether all callers may have the address of something that is not trusted to tell theirs: in Kubernetes something
    /// stands before a public port nearly always. Who turns `forwarded_for` off has decided about it, and the PROXY protocol is
    /// spoken by those alone who are trusted.
    fn hides_callers(&self, is_in_kubernetes: bool) -> bool {
        let is_told = self.proxy_protocol != ProxyProtocolMode::Off || !self.server.trusted_proxies.is_empty();
        is_in_kubernetes && self.server.forwarded_for && !is_told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_hidden_in_kubernetes_where_nobody_is_trusted_to_tell_their_addresses() {
        let config = Config::default();
        assert!(config.hides_callers(true));
        assert!(!config.hides_callers(false));
        let mut trusting = config.clone();
        trusting.server.trusted_proxies = vec!["10.244.0.0/16".to_owned()];
        assert!(!trusting.hides_callers(true));
        let mut decided = config.clone();
        decided.server.forwarded_for = false;
        assert!(!decided.hides_callers(true));
        assert!(!Config { proxy_protocol: ProxyProtocolMode::V2, ..config }.hides_callers(true));
    }

    #[test]
    fn trust_in_all_addresses_is_found() {
        let trusts = |networks: &[&str]| {
            let mut config = Config::default();
            config.server.trusted_proxies = networks.iter().map(|&network| network.to_owned()).collect();
            config.trusts_everybody().map(str::to_owned)
        };
        assert_eq!(trusts(&["10.0.0.0/8", "0.0.0.0/0"]).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(trusts(&["::/0"]).as_deref(), Some("::/0"));
        assert_eq!(trusts(&["10.0.0.0/8", "::1/128", "spiffe://shop/edge"]), None);
    }
}
