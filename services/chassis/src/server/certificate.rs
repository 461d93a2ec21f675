//! Whether the certificate of a port is good for so long that somebody can renew it in time.

use std::path::Path;
use std::time::Duration;

use meshwork::server::health::Check;
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

/// How often the file is read.
const INTERVAL: Duration = Duration::from_secs(60);
/// For how long a certificate must be good, in seconds: two weeks, and one that lives for less than three months a sixth of its life.
const LEFT: i64 = 14 * 24 * 60 * 60;
const SHARE: i64 = 6;

/// A check of the certificate in a PEM file: the service is degraded when it ends soon, or can't be read.
pub(super) fn check(file: &Path) -> Check {
    let file = file.to_owned();
    let probe = move || {
        let file = file.clone();
        async move {
            let read = tokio::fs::read(&file).await;
            let pem = read.map_err(|error| format!("can't read {}: {error}", file.display()))?;
            judge(&pem, OffsetDateTime::now_utc().unix_timestamp())
                .map_err(|problem| format!("the certificate in {} {problem}", file.display()))
        }
    };
    Check::new("certificate", probe).interval(INTERVAL).fails_after(1, Duration::ZERO)
}

/// Whether the first certificate of a PEM text, which is the port's own, is good for long enough at `now`, in seconds since 1970.
fn judge(pem: &[u8], now: i64) -> Result<(), String> {
    let unreadable = || "can't be understood; put a PEM certificate there".to_owned();
    let (_, pem) = parse_x509_pem(pem).map_err(|_| unreadable())?;
    let certificate = pem.parse_x509().map_err(|_| unreadable())?;
    let validity = certificate.validity();
    let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let needed = LEFT.min(end.saturating_sub(begin) / SHARE);
    let left = end.saturating_sub(now);
    if left > needed {
        return Ok(());
    }
    let hours = left.abs() / 3600;
    let what = if left < 0 { format!("ended {hours} hours ago") } else { format!("ends in {hours} hours") };
    Err(format!("{what}; renew it (with the chart: helm upgrade), the port takes a new one by itself"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const BEGIN: i64 = 1_700_000_000;

    /// A certificate that lives for so long.
    fn certificate(seconds: i64) -> String {
        let mut params = CertificateParams::new(["orders".to_owned()]).unwrap();
        let time = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        (params.not_before, params.not_after) = (time(BEGIN), time(BEGIN + seconds));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn one_that_ends_soon_is_named_in_time() {
        let year = certificate(365 * DAY);
        assert_eq!(judge(year.as_bytes(), BEGIN + 350 * DAY), Ok(()));
        let soon = judge(year.as_bytes(), BEGIN + 352 * DAY).unwrap_err();
        assert!(soon.starts_with("ends in 312 hours; "), "{soon}");
        let over = judge(year.as_bytes(), BEGIN + 365 * DAY + 2 * HOUR).unwrap_err();
        assert!(over.starts_with("ended 2 hours ago; "), "{over}");
        // One of a day is renewed each day.
        let day = certificate(DAY);
        assert_eq!(judge(day.as_bytes(), BEGIN + 19 * HOUR), Ok(()));
        assert!(judge(day.as_bytes(), BEGIN + 20 * HOUR).unwrap_err().starts_with("ends in 4 hours"));
    }

    #[tokio::test]
    async fn a_file_without_one_is_named() {
        assert!(judge(b"nonsense", BEGIN).unwrap_err().contains("PEM"));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(judge(empty.as_bytes(), BEGIN).unwrap_err().contains("PEM"));
        let health = meshwork::server::health::Health::new();
        health.check(check(Path::new("/no/such/tls.crt")));
        let _service = health.service();
        let failed = async {
            while !health.report().checks.iter().any(|check| check.last_problem.is_some()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap();
        let report = health.report();
        assert!(report.ready, "it is served as long as it can be");
        let problem = report.checks[0].last_problem.as_ref().unwrap();
        assert!(problem.sentence.contains("/no/such/tls.crt"), "{}", problem.sentence);
    }
}
