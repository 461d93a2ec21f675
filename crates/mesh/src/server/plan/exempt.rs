//! Which calls pass by identity, limits and shedding.

/// Whether the method at `path` is a health check (`grpc.health.v1.Health`). A probe carries no token, and a server
/// that sheds load is not a server that has to be started again.
pub fn is_health_check(path: &str) -> bool {
    path.strip_prefix("/grpc.health.v1.Health").is_some_and(|rest| rest.starts_with('/'))
}

/// Whether the method at `path` is the health check that answers with a stream, of which each takes a place for long.
pub(in crate::server) fn is_health_watch(path: &str) -> bool {
    path == "/grpc.health.v1.Health/Watch"
}

/// Whether the method at `path` belongs to server reflection, in either version.
pub fn is_reflection(path: &str) -> bool {
    let rest = path.strip_prefix("/grpc.reflection.v1");
    rest.is_some_and(|rest| rest.strip_prefix("alpha").unwrap_or(rest).starts_with(".ServerReflection/"))
}
