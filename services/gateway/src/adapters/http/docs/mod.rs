//! What documents the HTTP side: the OpenAPI document at `/openapi.json`, and the page at `/docs`.

mod notes;
mod openapi;
mod operation;
mod page;
mod parameters;
mod rule;
mod schema;
mod template;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use prost_reflect::DescriptorPool;
use tonic::body::Body;

use super::methods::MethodNote;

/// The document and the page, made once.
#[derive(Debug)]
pub(super) struct Docs {
    document: File,
    page: Vec<(&'static str, File)>,
}

/// A file as it is answered.
#[derive(Debug)]
struct File {
    content_type: &'static str,
    text: Bytes,
    /// Of the text, with its quotes.
    etag: String,
}

impl Docs {
    /// The documentation of the methods in `pool` with a `google.api.http` option: `note` says more of the method of a gRPC
    /// path, `/package.Service/Method`, and is `None` where there is no route. `is_reached` says whether the method of HTTP and the
    /// template lead to it. `takes_keys` says whether an API key does as well as a token.
    pub(super) fn new(
        pool: &DescriptorPool,
        note: impl Fn(&str) -> Option<MethodNote>,
        is_reached: impl Fn(&str, &str, &str) -> bool,
        takes_keys: bool,
    ) -> Self {
        let document = openapi::document(pool, note, is_reached, takes_keys);
        let document = File::new("application/json", document.into());
        let page = page::FILES.map(|(path, kind, text)| (path, File::new(kind, Bytes::from_static(text.as_bytes()))));
        Self { document, page: page.into() }
    }

    /// The answer to a GET of `path`: 304 where `if_none_match`, the header of that name, has what would be answered. `None`
    /// for a path of others.
    pub(super) fn answer(&self, path: &str, if_none_match: Option<&HeaderValue>) -> Option<Response<Body>> {
        Some(self.file(path)?.answer(if_none_match))
    }

    /// Whether a GET of `path` is answered.
    pub(super) fn has(&self, path: &str) -> bool {
        self.file(path).is_some()
    }

    fn file(&self, path: &str) -> Option<&File> {
        let path = match path {
            "/openapi.json" => return Some(&self.document),
            "/docs/" => "/docs",
            path => path,
        };
        self.page.iter().find(|(at, _)| *at == path).map(|(_, file)| file)
    }
}

impl File {
    fn new(content_type: &'static str, text: Bytes) -> Self {
        // It has to differ between releases, and needn't withstand anybody.
        let mut hasher = DefaultHasher::new();
        hasher.write(&text);
        let etag = format!("\"{:016x}\"", hasher.finish());
        Self { content_type, text, etag }
    }

    fn answer(&self, if_none_match: Option<&HeaderValue>) -> Response<Body> {
        let mut response = if self.is_matched(if_none_match) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            Response::new(Body::new(Full::new(self.text.clone())))
        };
        self.head(response.headers_mut());
        response
    }

    fn head(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        // It may be kept, and is asked for again: another release has another.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }

    /// Whether one of the tags in the header is ours, weak or not (RFC 9110, 13.1.2).
    fn is_matched(&self, if_none_match: Option<&HeaderValue>) -> bool {
        let Some(Ok(tags)) = if_none_match.map(HeaderValue::to_str) else { return false };
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag)
    }
}
