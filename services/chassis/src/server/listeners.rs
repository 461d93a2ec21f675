//! The sockets of a port, and whose word counts for who is behind them.

use meshwork::server::{Listener, ProxyProtocol, TrustedProxies};

use tokio::net::TcpListener;

use super::config::ServerConfig;
use super::error::ServeError;
use crate::config::{Listen, ListenerText, Place, ProxyProtocolMode};

/// What to do about an address that is taken.
const TAKEN: &str = "stop what listens there, or choose another port";

/// The socket of a server.
///
/// # Errors
/// When the address can't be bound.
pub fn listen(listen: &Listen) -> Result<TcpListener, ServeError> {
    listen.listener().map_err(|error| ServeError::new(format!("can't listen on {}: {error}", listen.address()), TAKEN))
}

/// The service whose setting `key` is, or whose domain: the first word of either.
fn service_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(service, _)| service)
}

/// Whose word counts for the addresses of callers of `service`.
pub(super) fn trusted_proxies(service: &str, config: &ServerConfig) -> Result<TrustedProxies, ServeError> {
    let key = format!("{}.server.trusted_proxies", service_of(service));
    let trusted = TrustedProxies::new(&config.trusted_proxies).map_err(|error| {
        ServeError::new(
            format!("{key}: {error}"),
            format!("set `{key}` to addresses, networks such as 10.0.0.0/8 and names in certificates"),
        )
    })?;
    Ok(trusted.forwarded_for(config.forwarded_for))
}

/// The listener, which demands the PROXY protocol of its connections if `mode` says so; `key` is the setting that has said it.
///
/// # Errors
/// When it is demanded, and nobody is trusted to speak it.
pub fn behind(
    key: &str,
    config: &ServerConfig,
    mode: ProxyProtocolMode,
    listener: impl Into<Listener>,
) -> Result<Listener, ServeError> {
    let listener = listener.into();
    match mode {
        ProxyProtocolMode::Off => Ok(listener),
        ProxyProtocolMode::V2 => {
            let trusted = trusted_proxies(key, config)?;
            let proxies = format!("{}.server.trusted_proxies", service_of(key));
            if trusted.is_without_networks() {
                return Err(ServeError::new(
                    format!("{key}: nobody may speak the PROXY protocol, so that nobody could connect"),
                    format!("set `{proxies}` to the addresses or networks of the balancers"),
                ));
            }
            // Of a Unix socket.
            if listener.local_addr().is_none() && !trusted.trusts_address(None) {
                return Err(ServeError::new(
                    format!(
                        "{key}: nobody on this host may speak the PROXY protocol, so that nobody could connect to a Unix socket"
                    ),
                    format!("add 127.0.0.1 to `{proxies}`, for balancers on this host"),
                ));
            }
            Ok(listener.proxy_protocol(ProxyProtocol::V2, trusted))
        }
    }
}

/// The listeners that the setting `key` names.
///
/// # Errors
/// When one can't be bound or is not there, or stands there twice; the error names it.
pub fn listeners(key: &str, config: &ServerConfig, texts: &[ListenerText]) -> Result<Vec<Listener>, ServeError> {
    let mut all = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        // The sockets of systemd could be taken by both, and their connections then go by either's rules. Of an address the system
        // sees to it, unless its port is any that is free.
        let is_address = matches!(text.place, Place::Tcp(_));
        if !is_address && texts.iter().take(at).any(|other| other.place == text.place) {
            return Err(ServeError::new(
                format!("{key}: {text} stands there twice"),
                format!("leave one of the two out of `{key}`"),
            ));
        }
        let found = match &text.place {
            Place::Tcp(address) => {
                let bound = Listen::from(*address).listener();
                let bound =
                    bound.map_err(|error| ServeError::new(format!("{key}: can't listen on {text}: {error}"), TAKEN))?;
                vec![bound.into()]
            }
            Place::Unix { path, mode } => {
                let bound = mode.map_or_else(|| Listener::unix(path), |mode| Listener::unix_with_mode(path, mode));
                vec![bound.map_err(|error| {
                    ServeError::new(
                        format!("{key}: can't listen on {text}: {error}"),
                        "stop what listens there, choose another path, or see that its folder is there and may be written to",
                    )
                })?]
            }
            Place::Systemd(name) => inherited(key, name)?,
        };
        for listener in found {
            all.push(behind(key, config, text.proxy, listener)?);
        }
    }
    Ok(all)
}

/// The sockets that systemd has passed by a name.
fn inherited(key: &str, name: &str) -> Result<Vec<Listener>, ServeError> {
    let passed = Listener::inherited()
        .map_err(|error| ServeError::new(format!("{key}: {error}"), "correct the socket unit of the service"))?;
    let names: Vec<_> = passed.iter().filter_map(|listener| listener.name().map(str::to_owned)).collect();
    let found: Vec<_> = passed.into_iter().filter(|listener| listener.name() == Some(name)).collect();
    if found.is_empty() {
        let there = if names.is_empty() { "no socket".to_owned() } else { names.join(", ") };
        return Err(ServeError::new(
            format!("{key}: systemd has passed no socket {name:?}, but {there}"),
            format!("set `FileDescriptorName={name}` in the socket unit, or another name here"),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ListenerText {
        text.to_owned().try_into().unwrap()
    }

    #[tokio::test]
    async fn a_listener_that_nobody_could_use_is_refused_by_its_key() {
        let config = ServerConfig::default().public();
        for listener in ["127.0.0.1:0?proxy=v2", "systemd:web", "unix:/nowhere/at/all/s"] {
            let refused = listeners("gateway.listeners", &config, &[text(listener)]).unwrap_err();
            assert!(refused.sentence.starts_with("gateway.listeners: "), "{refused}");
        }
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let refused = listeners("gateway.listeners", &config, &[text(&address)]).unwrap_err();
        assert!(refused.sentence.starts_with(&format!("gateway.listeners: can't listen on {address}: ")), "{refused}");
        let hint = listeners("gateway.listeners", &config, &[text("127.0.0.1:0?proxy=v2")]).unwrap_err().hint;
        assert!(hint.contains("`gateway.server.trusted_proxies`"), "{hint}");
        for key in ["gateway.listeners", "gateway.example.com"] {
            let config = ServerConfig { trusted_proxies: vec!["10.0.0.0/33".to_owned()], ..config.clone() };
            let refused = trusted_proxies(key, &config).unwrap_err();
            assert!(refused.sentence.starts_with("gateway.server.trusted_proxies: "), "{refused}");
            assert!(refused.hint.contains("`gateway.server.trusted_proxies`"), "{refused:?}");
        }
        let config = ServerConfig { trusted_proxies: vec!["10.0.0.0/8".to_owned()], ..config };
        assert_eq!(listeners("gateway.listeners", &config, &[text("127.0.0.1:0?proxy=v2")]).unwrap().len(), 1);
        let names = ServerConfig { trusted_proxies: vec!["spiffe://shop/edge".to_owned()], ..config };
        let listener = listen(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        assert!(behind("gateway.proxy_protocol", &names, ProxyProtocolMode::V2, listener).is_err());
    }

    #[tokio::test]
    async fn a_listener_stands_there_once() {
        let config = ServerConfig { trusted_proxies: vec!["127.0.0.1".to_owned()], ..ServerConfig::default().public() };
        let folder = tempfile::tempdir().unwrap();
        let socket = format!("unix:{}", folder.path().join("s").display());
        let both = [text(&socket), text(&format!("{socket}?proxy=v2"))];
        let refused = listeners("gateway.listeners", &config, &both).unwrap_err();
        assert!(refused.sentence.ends_with("?proxy=v2 stands there twice"), "{refused}");
    }

    #[tokio::test]
    async fn a_unix_socket_takes_the_proxy_protocol_of_who_is_trusted_on_this_host() {
        let folder = tempfile::tempdir().unwrap();
        let listener = text(&format!("unix:{}?proxy=v2", folder.path().join("s").display()));
        let of = |trusted: &str| {
            let config = ServerConfig { trusted_proxies: vec![trusted.to_owned()], ..ServerConfig::default().public() };
            listeners("gateway.listeners", &config, std::slice::from_ref(&listener))
        };
        let refused = of("10.0.0.0/8").unwrap_err();
        assert!(refused.sentence.contains("on this host") && refused.hint.contains("127.0.0.1"), "{refused:?}");
        assert_eq!(of("127.0.0.0/8").unwrap().len(), 1);
    }
}
