//! What the ops port answers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use prost_types::Timestamp;
use serde::Serialize;

use super::Ops;
use crate::server::health::{CheckReport, Overall, Report};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The exposition format of Prometheus.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Ops {
    /// Answers a request; its body isn't read.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let answer: fn(&Self) -> Response<Full<Bytes>> = match request.uri().path() {
            "/livez" => Self::livez,
            "/readyz" => Self::readyz,
            "/health" => Self::health_report,
            "/metrics" => Self::metrics_text,
            _ => {
                let paths = "there are /livez, /readyz, /health and /metrics\n".to_owned();
                return respond(StatusCode::NOT_FOUND, TEXT, paths);
            }
        };
        // Hyper leaves out the body of an answer to HEAD.
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer(self);
        }
        let mut refusal = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET or HEAD\n".to_owned());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    fn livez(&self) -> Response<Full<Bytes>> {
        faults(
            self.health
                .iter()
                .filter(|(_, health)| !health.is_live())
                .map(|(name, _)| format!("{name} has had no heartbeat for 30 s: its runtime is stuck\n")),
        )
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        faults(self.health.iter().filter_map(|(name, health)| {
            let why = health.report().why_not_ready()?;
            Some(format!("{name} {why}\n"))
        }))
    }

    fn health_report(&self) -> Response<Full<Bytes>> {
        let now = self.health.first().map_or_else(SystemTime::now, |(_, health)| health.now());
        let reports: Vec<_> = self.health.iter().map(|(name, health)| (name.as_str(), health.report())).collect();
        let overall = reports.iter().map(|(_, report)| report.overall).max().unwrap_or(Overall::Healthy);
        let body = HealthJson {
            status: overall.as_str(),
            timestamp: rfc3339(now),
            services: reports.iter().map(|(name, report)| (*name, ServiceJson::from(report))).collect(),
        };
        let status = if overall == Overall::Healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        match serde_json::to_string(&body) {
            Ok(body) => respond(status, JSON, body + "\n"),
            // Strings and numbers can always be written.
            Err(error) => respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    fn metrics_text(&self) -> Response<Full<Bytes>> {
        respond(StatusCode::OK, METRICS, self.render())
    }
}

/// 200 without faults, else 503 and the faults.
fn faults(faults: impl Iterator<Item = String>) -> Response<Full<Bytes>> {
    let faults: String = faults.collect();
    if faults.is_empty() {
        respond(StatusCode::OK, TEXT, "ok\n".to_owned())
    } else {
        respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, faults)
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn rfc3339(time: SystemTime) -> String {
    Timestamp::from(time).to_string()
}

#[derive(Serialize)]
struct HealthJson<'a> {
    status: &'static str,
    timestamp: String,
    services: BTreeMap<&'a str, ServiceJson<'a>>,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    status: &'static str,
    live: bool,
    started: bool,
    ready: bool,
    draining: bool,
    /// What it waits for before it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waits_for: Vec<&'a str>,
    checks: BTreeMap<&'a str, CheckJson<'a>>,
}

impl<'a> From<&'a Report> for ServiceJson<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            status: report.overall.as_str(),
            live: report.live,
            started: report.started,
            ready: report.ready,
            draining: report.draining,
            waits_for: report.unmet.iter().map(String::as_str).collect(),
            checks: report.checks.iter().map(|check| (check.name.as_str(), CheckJson::from(check))).collect(),
        }
    }
}

#[derive(Serialize)]
struct CheckJson<'a> {
    status: &'static str,
    severity: &'static str,
    since: String,
    checked: Option<String>,
    duration_ms: Option<f64>,
    failures: u32,
    last_error: Option<&'a str>,
    last_error_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

impl<'a> From<&'a CheckReport> for CheckJson<'a> {
    fn from(check: &'a CheckReport) -> Self {
        let problem = check.last_problem.as_ref();
        Self {
            status: check.state.as_str(),
            severity: check.severity.as_str(),
            since: rfc3339(check.since),
            checked: check.checked.map(rfc3339),
            duration_ms: check.took.map(|took| took.as_secs_f64() * 1000.0),
            failures: check.failures,
            last_error: problem.map(|problem| problem.sentence.as_str()),
            last_error_at: problem.map(|problem| rfc3339(problem.at)),
            value: check.value,
            limit: check.limit,
        }
    }
}
