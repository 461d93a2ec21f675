//! Pages of other origins (CORS, Fetch standard): which may call, and what their browsers let them send and read.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tonic::body::Body;

/// The methods that something here is asked by.
static METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");

/// How long a browser may remember a preflight, in seconds: two hours, the most that they all take.
static MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The most bytes of the names of headers that a page asks to send.
const MAX_ASKED: usize = 1024;

/// What a page may read of every answer.
const EXPOSED: &str = "grpc-status, grpc-message, grpc-status-details-bin";

/// The origins whose pages may call. What a browser sends by itself (cookies) is never taken: a page sends its token.
#[derive(Debug)]
pub(super) struct Cors {
    any: bool,
    origins: Vec<String>,
}

/// What the answer to a request needs, when its page may call.
#[derive(Debug)]
pub(super) struct Grant {
    origin: Option<HeaderValue>,
}

impl Cors {
    /// These origins; `*` is each of them.
    pub(super) fn new(origins: &[String]) -> Self {
        Self { any: origins.iter().any(|origin| origin == "*"), origins: origins.to_vec() }
    }

    /// What a request of these headers is granted; `None` where no pages of other origins are expected.
    pub(super) fn grant(&self, headers: &HeaderMap) -> Option<Grant> {
        if self.any {
            return Some(Grant { origin: headers.get(ORIGIN).map(|_| HeaderValue::from_static("*")) });
        }
        let is_ours = |origin: &&HeaderValue| self.origins.iter().any(|ours| ours.as_bytes() == origin.as_bytes());
        (!self.origins.is_empty()).then(|| Grant { origin: headers.get(ORIGIN).filter(is_ours).cloned() })
    }
}

impl Grant {
    /// The answer to a preflight; `None` when the request is none.
    pub(super) fn preflight(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let asked = request.headers();
        let is_preflight = request.method() == Method::OPTIONS
            && asked.contains_key(ORIGIN)
            && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let vary = "origin, access-control-request-method, access-control-request-headers";
        headers.insert(VARY, HeaderValue::from_static(vary));
        // To others nothing is granted, which their browsers take for a no.
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE.clone());
            // `*` would leave out `authorization`.
            if let Some(names) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(|names| are_names(names)) {
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
        }
        Some(response)
    }

    /// Lets the page read an answer and its headers.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = &self.origin else { return };
        let exposed = exposed(headers);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Whether a value is a list of names of headers, and no longer than it may be.
fn are_names(value: &HeaderValue) -> bool {
    let is_name = |name: &[u8]| HeaderName::from_bytes(name.trim_ascii()).is_ok();
    value.len() <= MAX_ASKED && value.as_bytes().split(|byte| *byte == b',').all(is_name)
}

/// The names of the headers that an answer has, and of those that are looked for in each.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    // Pages read these anyway, or may not.
    let own = [CONTENT_TYPE, CONTENT_LENGTH, VARY];
    let mut names = EXPOSED.to_owned();
    for name in headers.keys().filter(|name| !own.contains(name) && !EXPOSED.split(", ").any(|own| *name == own)) {
        names.push_str(", ");
        names.push_str(name.as_str());
    }
    HeaderValue::try_from(names).unwrap_or(HeaderValue::from_static(EXPOSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "https://shop.example";

    fn request(method: Method, all: &[(&'static str, &str)]) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        for (name, value) in all {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    fn preflight(cors: &Cors, origin: &str, names: &str) -> Option<HeaderMap> {
        let asked =
            [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", names)];
        let request = request(Method::OPTIONS, &asked);
        let response = cors.grant(request.headers())?.preflight(&request)?;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        Some(response.headers().clone())
    }

    #[test]
    fn a_page_of_an_origin_that_is_named_may_call_and_others_may_not() {
        let cors = Cors::new(&[SHOP.to_owned()]);
        let granted = preflight(&cors, SHOP, "authorization,content-type, connect-protocol-version").unwrap();
        assert_eq!(granted["access-control-allow-origin"], SHOP);
        assert_eq!(granted["access-control-allow-methods"], "GET, POST, PUT, PATCH, DELETE");
        assert_eq!(granted["access-control-allow-headers"], "authorization,content-type, connect-protocol-version");
        assert_eq!(granted["access-control-max-age"], "7200");
        assert!(granted["vary"].to_str().unwrap().starts_with("origin"));
        assert!(!granted.contains_key("access-control-allow-credentials"));
        for other in ["https://shop.example.evil", "http://shop.example", "null", ""] {
            let refused = preflight(&cors, other, "authorization").unwrap();
            assert_eq!(refused.keys().collect::<Vec<_>>(), ["vary"], "{other}");
        }
    }

    #[test]
    fn names_that_are_none_or_too_many_are_not_echoed() {
        let cors = Cors::new(&["*".to_owned()]);
        for names in ["a b", "a,,b", "", &"x-name,".repeat(500)] {
            let granted = preflight(&cors, SHOP, names).unwrap();
            assert_eq!(granted["access-control-allow-origin"], "*");
            assert!(!granted.contains_key("access-control-allow-headers"), "{names}");
        }
    }

    #[test]
    fn without_origins_nothing_is_granted_or_answered() {
        assert_eq!(preflight(&Cors::new(&[]), SHOP, "authorization"), None);
        let options = request(Method::OPTIONS, &[("origin", SHOP)]);
        let grant = Cors::new(&["*".to_owned()]).grant(options.headers()).unwrap();
        assert!(grant.preflight(&options).is_none(), "it asks for no method");
    }

    #[test]
    fn a_page_reads_the_headers_that_the_answer_has() {
        let cors = Cors::new(&[SHOP.to_owned()]);
        let read = |origin: &str| {
            let request = request(Method::POST, &[("origin", origin)]);
            let mut headers = HeaderMap::new();
            for name in ["content-type", "retry-after", "trailer-x-answer", "grpc-status"] {
                headers.insert(name, HeaderValue::from_static("1"));
            }
            cors.grant(request.headers()).unwrap().apply(&mut headers);
            headers
        };
        let headers = read(SHOP);
        assert_eq!(headers["access-control-allow-origin"], SHOP);
        assert_eq!(headers["vary"], "origin");
        let exposed = "grpc-status, grpc-message, grpc-status-details-bin, retry-after, trailer-x-answer";
        assert_eq!(headers["access-control-expose-headers"], exposed);
        let headers = read("https://other.example");
        assert!(!headers.contains_key("access-control-allow-origin"));
        assert_eq!(headers["vary"], "origin");
    }
}
