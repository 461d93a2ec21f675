//! Where a server listens, as one text.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether connections begin with a header of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocolMode {
    /// They must not.
    #[default]
    Off,
    /// They must, by version 2 of it.
    V2,
}

/// One more place where a server listens, and what its connections begin with: `HOST:PORT`, `unix:PATH` or `systemd:NAME`, and after a
/// `?` its parameters, with `&` between them: `mode` of a Unix socket, and `proxy`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ListenerText {
    /// Where.
    pub place: Place,
    /// What its connections begin with.
    pub proxy: ProxyProtocolMode,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
        /// Who may connect; as the umask says when it is not set.
        mode: Option<u32>,
    },
    /// The sockets that systemd has passed by this name.
    Systemd(String),
}

/// What is no place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no listener, {why}; set HOST:PORT, unix:PATH?mode=660 or systemd:NAME, with proxy=v2 behind ? or & if need be"
)]
pub struct InvalidListener {
    text: String,
    why: &'static str,
}

/// The longest text that an error repeats.
const SHOWN: usize = 200;

impl TryFrom<String> for ListenerText {
    type Error = InvalidListener;

    fn try_from(text: String) -> Result<Self, InvalidListener> {
        parse(&text).map_err(|why| InvalidListener { text: text.chars().take(SHOWN).collect(), why })
    }
}

fn parse(text: &str) -> Result<ListenerText, &'static str> {
    let (place, parameters) = text.split_once('?').map_or((text, None), |(place, rest)| (place, Some(rest)));
    let (mut mode, mut proxy) = (None, None);
    for parameter in parameters.into_iter().flat_map(|parameters| parameters.split('&')) {
        match parameter.split_once('=') {
            Some(("mode", value)) if mode.is_none() => mode = Some(mode_of(value)?),
            Some(("proxy", "v2")) if proxy.is_none() => proxy = Some(ProxyProtocolMode::V2),
            Some(("proxy", "off")) if proxy.is_none() => proxy = Some(ProxyProtocolMode::Off),
            Some(("proxy", _)) if proxy.is_none() => return Err("its proxy is neither v2 nor off"),
            Some(("mode" | "proxy", _)) => return Err("a parameter is set twice"),
            _ => return Err("it has a parameter that is neither mode nor proxy"),
        }
    }
    let place = if let Some(path) = place.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("its path is empty");
        }
        Place::Unix { path: path.into(), mode }
    } else if mode.is_some() {
        return Err("only a Unix socket has a mode");
    } else if let Some(name) = place.strip_prefix("systemd:") {
        // As FileDescriptorName= may be.
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            return Err("its name is none that systemd gives");
        }
        Place::Systemd(name.to_owned())
    } else {
        Place::Tcp(place.parse().map_err(|_| "its address is none, such as 0.0.0.0:8443 or [::]:8443")?)
    };
    Ok(ListenerText { place, proxy: proxy.unwrap_or_default() })
}

/// Three octal digits, or four that begin with 0.
fn mode_of(digits: &str) -> Result<u32, &'static str> {
    let three = digits.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(digits);
    let is_octal = three.len() == 3 && three.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(three, 8).ok().filter(|_| is_octal);
    mode.ok_or("its mode has not three octal digits, such as 660")
}

impl fmt::Display for ListenerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mark = '?';
        match &self.place {
            Place::Tcp(address) => write!(f, "{address}")?,
            Place::Unix { path, mode } => {
                write!(f, "unix:{}", path.display())?;
                if let Some(mode) = mode {
                    write!(f, "?mode={mode:03o}")?;
                    mark = '&';
                }
            }
            Place::Systemd(name) => write!(f, "systemd:{name}")?,
        }
        match self.proxy {
            ProxyProtocolMode::Off => Ok(()),
            ProxyProtocolMode::V2 => write!(f, "{mark}proxy=v2"),
        }
    }
}

impl From<ListenerText> for String {
    fn from(listener: ListenerText) -> Self {
        listener.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_listener_is_read_and_written_as_the_same_text() {
        for text in [
            "0.0.0.0:8443",
            "[::]:8443?proxy=v2",
            "unix:/run/shop/gateway.sock",
            "unix:/run/shop/gateway.sock?mode=660",
            "unix:run/s?mode=006&proxy=v2",
            "unix:/s?proxy=v2",
            "systemd:web",
            "systemd:web?proxy=v2",
        ] {
            let json = format!("{text:?}");
            let read: ListenerText = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
        for (text, same) in [("unix:/s?mode=0660", "unix:/s?mode=660"), ("systemd:web?proxy=off", "systemd:web")] {
            assert_eq!(ListenerText::try_from(text.to_owned()).unwrap().to_string(), same);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "its address is none"),
            ("8443", "its address is none"),
            ("tcp:0.0.0.0:8443", "its address is none"),
            ("0.0.0.0:8443?mode=660", "only a Unix socket"),
            ("systemd:", "its name is none"),
            ("systemd:a:b", "its name is none"),
            ("unix:", "its path is empty"),
            ("unix:/s?mode=66", "three octal digits"),
            ("unix:/s?mode=888", "three octal digits"),
            ("unix:/s?mode=4660", "three octal digits"),
            ("unix:/s?mode=+66", "three octal digits"),
            ("unix:/s?mode=660&mode=600", "set twice"),
            ("unix:/s?owner=me", "neither mode nor proxy"),
            ("unix:/s?", "neither mode nor proxy"),
            ("0.0.0.0:1?proxy=v1", "neither v2 nor off"),
        ] {
            let refused = serde_json::from_str::<ListenerText>(&format!("{text:?}")).unwrap_err().to_string();
            assert!(refused.contains(why) && refused.contains("set HOST:PORT"), "{text}: {refused}");
        }
        let long = ListenerText::try_from("x".repeat(100_000)).unwrap_err().to_string();
        assert!(long.len() < 2 * SHOWN + 200, "{}", long.len());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_is_read_again(text in "(unix:|systemd:|)[ -~]{0,30}(\\?(mode=[0-7]{3})?&?(proxy=v2)?)?") {
            if let Ok(listener) = ListenerText::try_from(text) {
                prop_assert_eq!(ListenerText::try_from(listener.to_string()), Ok(listener));
            }
        }
    }
}
