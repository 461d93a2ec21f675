//! The files of the page at `/docs`. It loads nothing from elsewhere.

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// What the page may do: run its own scripts, and call the server that it came from.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                                 img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files: path, content type, text.
pub(super) const FILES: [(&str, &str, &str); 8] = [
    ("/docs", HTML, include_str!("page.html")),
    ("/docs/page.css", CSS, include_str!("page.css")),
    ("/docs/page.js", JS, include_str!("page.js")),
    ("/docs/dom.js", JS, include_str!("dom.js")),
    ("/docs/operation.js", JS, include_str!("operation.js")),
    ("/docs/request.js", JS, include_str!("request.js")),
    ("/docs/schema.js", JS, include_str!("schema.js")),
    ("/docs/session.js", JS, include_str!("session.js")),
];
