//! The other proxies: each passes calls on to the one service behind it, and does nothing else. One thread each.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use crate::proxies::{Proxy, Running};

/// How many threads each has for its work.
const THREADS: usize = 1;

/// Starts a proxy before the service at `upstream`.
///
/// # Errors
/// Why it can't be started.
pub fn start(proxy: Proxy, upstream: SocketAddr) -> Result<Running, String> {
    proxy.start_with(THREADS, |address, folder| match proxy {
        Proxy::Nginx => nginx(address, upstream, folder),
        Proxy::Haproxy => haproxy(address, upstream),
        Proxy::Envoy => envoy(address, upstream),
    })
}

/// Without a master it is one process with one thread. It takes a connection to the service for each call in flight, and keeps
/// those that it has.
fn nginx(address: SocketAddr, upstream: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
        events {{ worker_connections 4096; }}
        http {{
            access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_time 24h;
            http2_max_concurrent_streams 1024; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            upstream only {{
                server {upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_time 24h;
            }}
            server {{
                listen {address} http2;
                location / {{ grpc_pass grpc://only; grpc_socket_keepalive on; }}
            }}
        }}\n"
    )
}

fn haproxy(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global\n    nbthread {THREADS}\n    maxconn 4096\n    tune.h2.max-concurrent-streams 1024\n
defaults\n    mode http\n    timeout client 60s\n    timeout connect 5s\n    timeout server 60s\n
frontend in\n    bind {address} proto h2\n    default_backend upstream\n
backend upstream\n    http-reuse always\n    server only {upstream} proto h2\n"
    )
}

fn envoy(address: SocketAddr, upstream: SocketAddr) -> String {
    let socket = |at: SocketAddr| json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    json!({"static_resources": {
        "listeners": [{"name": "in", "address": socket(address), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "in", "codec_type": "HTTP2",
                "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{
                    "match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}
                }]}]},
                "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                }}]
            }
        }]}]}],
        "clusters": [{
            "name": "upstream", "type": "STATIC", "connect_timeout": "5s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}
            }},
            "load_assignment": {
                "cluster_name": "upstream",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(upstream)}}]}]
            }
        }]
    }})
    .to_string()
}
