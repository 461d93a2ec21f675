//! Settings of what the gateway answers besides gRPC.

use meshwork_chassis::ServeError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// gRPC-Web, Connect and HTTP/JSON, on the port of gRPC.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Whether the port answers anything but gRPC: gRPC-Web, Connect and HTTP/JSON, over HTTP/1.1 and HTTP/2.
    pub enabled: bool,
    /// The origins whose pages may call, such as `https://shop.example`, or `*` for each; none when it is empty. A page
    /// calls with a token, and never with cookies.
    pub cors_origins: Vec<String>,
    /// The most bytes of a message of Connect or HTTP/JSON, as it is sent and as it is unpacked. What the port takes of
    /// any message, `server.max_message_size`, holds too, and for gRPC-Web alone.
    pub max_body: usize,
    /// Whether the methods are shown: as an OpenAPI document at `/openapi.json`, and on a page at `/docs`.
    pub docs: bool,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { enabled: true, cors_origins: Vec::new(), max_body: 4 << 20, docs: true }
    }
}

impl HttpConfig {
    /// Whether the gateway can work by these settings.
    ///
    /// # Errors
    /// When a value is out of its range; the error names the key.
    pub fn check(&self) -> Result<(), ServeError> {
        if self.max_body == 0 {
            return Err(ServeError::new(
                "gateway.http.max_body is 0, so that no message fits",
                "set `gateway.http.max_body` to a number of bytes such as 4194304",
            ));
        }
        match self.cors_origins.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => Err(ServeError::new(
                format!("gateway.http.cors_origins has {origin:?}, which is no origin"),
                "set `gateway.http.cors_origins` to origins as browsers send them, such as https://shop.example or \
                 http://localhost:3000, without a path, or to *",
            )),
        }
    }
}

/// Whether a browser may send this as the header `origin`: a scheme and a host in lower case, and a port.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_lower = |text: &str, others: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    is_lower(scheme, b"+-.") && is_lower(authority, b"-._:[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origins: &[&str]) -> Result<(), ServeError> {
        let cors_origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        HttpConfig { cors_origins, ..HttpConfig::default() }.check()
    }

    #[test]
    fn origins_are_those_that_browsers_send() {
        check(&[]).unwrap();
        check(&["*"]).unwrap();
        check(&["https://shop.example", "http://localhost:3000", "http://[::1]:8080", "capacitor://localhost"])
            .unwrap();
        for wrong in
            ["", "shop.example", "https://", "https://shop.example/", "https://Shop.example", "null", "a b://c"]
        {
            let refused = check(&["https://shop.example", wrong]).unwrap_err();
            assert!(refused.sentence.starts_with("gateway.http.cors_origins has "), "{refused}");
        }
    }

    #[test]
    fn a_body_must_have_room() {
        let refused = HttpConfig { max_body: 0, ..HttpConfig::default() }.check().unwrap_err();
        assert!(refused.sentence.starts_with("gateway.http.max_body "), "{refused}");
    }
}
