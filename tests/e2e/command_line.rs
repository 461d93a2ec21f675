//! What the command line says.

use std::os::unix::fs::PermissionsExt;

use meshwork_testkit::up::{command, text};
use meshwork_testkit::{Nats, Up};

/// What the binary prints to standard output, for a command that succeeds.
fn said(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path()).args(args).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What it prints to standard error, for a command that fails: a sentence and a hint, no backtrace.
fn refused(args: &[&str], settings: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    let output = command.args(args).envs(settings.iter().copied()).current_dir(folder.path()).output().unwrap();
    let error = text(&output.stderr);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(error.starts_with("error: ") && error.contains("\n hint: ") && error.lines().count() == 2, "{error}");
    error
}

#[test]
fn a_second_up_on_a_data_folder_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let data = up.data();
    let second = refused(&["up", "--port", "0", "--ops-port", "0", "--data", data.to_str().unwrap()], &[]);
    assert!(second.contains("is running on the data folder"), "{second}");
    assert!(second.contains(&format!("process {}", up.id())), "{second}");
    let taken = up.address("gateway").port().to_string();
    let port = refused(&["up", "--port", &taken, "--ops-port", "0"], &[]);
    assert!(port.contains("can't listen on"), "{port}");
}

#[test]
fn secrets_on_the_disk_are_their_owner_s_alone() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    assert_eq!(std::fs::metadata(up.data()).unwrap().permissions().mode() & 0o777, 0o700);
    let mut files = vec![up.data().join("users/signing-key.pem")];
    files.extend(std::fs::read_dir(up.data().join("credentials")).unwrap().map(|entry| entry.unwrap().path()));
    files.extend(std::fs::read_dir(up.state().join("meshwork")).unwrap().map(|entry| entry.unwrap().path()));
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} can be read by others", file.display());
    }
}

#[test]
fn up_prints_addresses_three_commands_and_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    for name in ["gateway", "users", "products", "orders", "notifications", "ops"] {
        assert_ne!(up.address(name).port(), 0, "{name}");
    }
    let tries = up.output().lines().skip_while(|line| *line != "Try:").skip(1).take_while(|line| !line.is_empty());
    assert_eq!(tries.count(), 3, "{}", up.output());
    assert!(up.output().trim_end().ends_with(" ms"), "{}", up.output());
}

#[test]
fn the_ops_port_tells_life_and_readiness() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    for path in ["livez", "readyz"] {
        let answer = http_get(up.address("ops"), path);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
}

#[test]
fn the_ops_port_shows_what_the_callers_of_each_service_have() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let metrics = http_get(up.address("ops"), "metrics");
    let value = |family: &str, service: &str, resource: &str| {
        let sample = format!("meshwork_budget_{family}{{server=\"{service}\",resource=\"{resource}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&sample));
        value.unwrap_or_else(|| panic!("no {sample}in {metrics}")).parse::<u64>().unwrap()
    };
    for service in ["gateway", "users", "products", "orders", "notifications"] {
        for resource in ["calls", "streams", "watches", "connections", "arriving_bytes", "unread_bytes"] {
            value("in_use", service, resource);
            assert_eq!(value("refused_total", service, resource), 0, "{service}: {resource}");
        }
    }
    // The others have fetched its keys.
    assert!(value("in_use", "users", "connections") > 0, "{metrics}");
    assert_eq!(metrics.matches("# TYPE meshwork_budget_in_use gauge").count(), 1, "{metrics}");
}

/// The whole answer to an HTTP request.
pub fn http_get(address: std::net::SocketAddr, path: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn config_shows_every_setting_with_its_meaning_and_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("meshwork.toml");
    std::fs::write(&file, "[gateway.rate_limit]\nburst = 7\n").unwrap();
    let output = command(folder.path())
        .args(["config", "--data", "elsewhere", "--config"])
        .arg(&file)
        .env("MESHWORK_OPS", "127.0.0.1:9999")
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for line in [
        "data = \"elsewhere\" # flag --data".to_owned(),
        "ops = \"127.0.0.1:9999\" # environment".to_owned(),
        format!("burst = 7 # file {}", file.display()),
        "data = \"elsewhere/orders\" # default".to_owned(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in\n{printed}");
    }
    let (mut meant, mut settings) = (false, 0);
    for line in printed.lines() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(meant, "{line} has no meaning");
            settings += 1;
        }
        meant = line.starts_with("# ");
    }
    assert!(settings > 20, "{printed}");

    // What it prints is itself a settings file.
    std::fs::write(&file, &printed).unwrap();
    let again = command(folder.path()).arg("config").arg("--config").arg(&file).output().unwrap();
    assert!(again.status.success(), "{}", text(&again.stderr));
}

#[test]
fn unknown_settings_and_bad_values_are_named_with_what_would_be_right() {
    let unknown = refused(&["config"], &[("MESHWORK_ORDERS__WATCHDOG", "1s")]);
    assert!(unknown.contains("orders.watchdog") && unknown.contains("watchdog_interval"), "{unknown}");
    assert!(unknown.contains("environment"), "{unknown}");
    let bad = refused(&["config"], &[("MESHWORK_GATEWAY__RATE_LIMIT__BURST", "many")]);
    assert!(bad.contains("gateway.rate_limit.burst") && bad.contains("many"), "{bad}");
    let file = refused(&["config", "--config", "nowhere.toml"], &[]);
    assert!(file.contains("nowhere.toml"), "{file}");
    let filter = refused(&["up", "--port", "0", "--ops-port", "0"], &[("MESHWORK_LOG__FILTER", "a=b=c")]);
    assert!(filter.contains("log.filter"), "{filter}");
}

#[test]
fn faults_say_the_value_and_in_words_what_would_be_right() {
    for (name, value, words) in [
        ("MESHWORK_OPS", "abc", "the setting ops (environment) is \"abc\", and must be HOST:PORT"),
        ("MESHWORK_ORDERS__LISTEN", "8083", "orders.listen (environment) is 8083, and must be HOST:PORT"),
        ("MESHWORK_GATEWAY__RATE_LIMIT__BURST", "0", "is 0, and must be a whole number from 1 to"),
        ("MESHWORK_GATEWAY__RATE_LIMIT__BURST", "-1", "is -1, and must be a whole number from 1 to"),
        ("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", "many", "is \"many\", and must be a number"),
        ("MESHWORK_LOG__FORMAT", "xml", "is \"xml\", and must be text or json"),
        ("MESHWORK_ORDERS__WATCHDOG_INTERVAL", "soon", "is \"soon\", and must be a duration like"),
        ("MESHWORK_LOG", "debug", "the setting log (environment) is \"debug\", and must be a table"),
        // Ranges are looked at before anything starts.
        ("MESHWORK_USERS__ACCESS_TOKEN_TTL", "0s", "the setting users.access_token_ttl is 0s"),
        ("MESHWORK_PRODUCTS__RESERVATION_TTL", "0s", "the setting products.reservation_ttl is 0s"),
        ("MESHWORK_GATEWAY__RATE_LIMIT__PER_SECOND", "0", "the setting gateway.rate_limit.per_second"),
    ] {
        let error = refused(&["config"], &[(name, value)]);
        assert!(error.contains(words), "{words} is not in {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.toml");
    std::fs::write(&file, "# fine\nops = 127.0.0.1:1\n").unwrap();
    let error = refused(&["config", "--config", file.to_str().unwrap()], &[]);
    assert!(error.contains(&format!("{}:2:", file.display())), "{error}");
}

#[test]
fn variables_that_kubernetes_makes_are_not_settings() {
    let folder = tempfile::tempdir().unwrap();
    let made = [
        ("MESHWORK_PORT", "tcp://10.0.0.1:8080"),
        ("MESHWORK_SERVICE_HOST", "10.0.0.1"),
        ("MESHWORK_USERS_SERVICE_HOST", "10.0.0.2"),
        ("MESHWORK_USERS_PORT", "tcp://10.0.0.2:8081"),
        ("MESHWORK_USERS_PORT_8081_TCP_ADDR", "10.0.0.2"),
        ("MESHWORK_NATS_PORT", "tcp://10.0.0.3:4222"),
        ("MESHWORK_NATS_SERVICE_HOST", "10.0.0.3"),
    ];
    let output = command(folder.path()).arg("config").envs(made).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("10.0.0."), "{}", text(&output.stdout));
}

#[test]
fn a_nats_is_one_setting_for_all_services_and_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let of = |args: &[&str], settings: &[(&str, &str)]| {
        let mut command = command(folder.path());
        command.args(args).arg("--data").arg(folder.path().join("data")).envs(settings.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let url = "url = \"nats://127.0.0.1:4222\"";
    let flag = of(&["config", "--nats", "nats://127.0.0.1:4222"], &[]);
    assert_eq!(flag.matches(&format!("{url} # flag --nats")).count(), 5, "{flag}");
    let settings = [("MESHWORK_NATS_URL", "nats://127.0.0.1:4222"), ("MESHWORK_NATS_USER", "shop")];
    let secret = [settings[0], settings[1], ("MESHWORK_NATS_PASSWORD", "hidden")];
    let environment = of(&["config"], &secret);
    assert_eq!(environment.matches(&format!("{url} # environment")).count(), 5, "{environment}");
    assert!(!environment.contains("hidden"), "{environment}");
    // To migrate is to declare the streams there.
    let nats = Nats::start();
    let printed = of(&["migrate"], &[("MESHWORK_NATS_URL", &nats.url())]);
    assert!(!printed.lines().any(|line| line.starts_with("bus ")), "{printed}");
    assert!(!folder.path().join("data/bus").exists());
    for stream in ["USERS", "PRODUCTS", "ORDERS"] {
        let info = nats.api(&format!("STREAM.INFO.{stream}"), "");
        assert_eq!(info["config"]["name"], stream, "{info}");
    }
    let away = refused(&["migrate", "--patience", "0s"], &[("MESHWORK_NATS_URL", "nats://127.0.0.1:9")]);
    assert!(away.contains("127.0.0.1:9"), "{away}");

    for (name, value, words) in [
        (
            "MESHWORK_NATS_URL",
            "nats://anna:hidden@host:4222",
            "the setting nats.url is a URL with a user or a password",
        ),
        ("MESHWORK_NATS_URL", "kafka://host", "the setting nats.url is \"kafka://host\""),
        ("MESHWORK_NATS_REPLICAS", "2", "the setting nats.replicas is 2"),
        ("MESHWORK_ORDERS__NATS__MAX_BYTES", "1", "the setting orders.nats.max_bytes is 1"),
        // A password of digits is none in quotes.
        ("MESHWORK_NATS_PASSWORD", "4711", "the setting nats.password (environment) must be a text in quotes"),
    ] {
        let error = refused(&["config"], &[(name, value)]);
        assert!(error.contains(words) && !error.contains("hidden") && !error.contains("4711"), "{words}: {error}");
    }
}

#[test]
fn a_replica_is_one_setting_of_all_services_with_its_primary_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let replicas = ["--replica", "postgres://anna:hidden@a/shop", "--replica", "postgres://anna:hidden@b/shop"];
    let mut config = command(folder.path());
    config.args(["config", "--postgres", "postgres://h/shop"]).args(replicas).current_dir(folder.path());
    let output = config.output().unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = printed.lines().filter(|line| line.starts_with("replicas = [") && line.ends_with("# flag --replica"));
    assert_eq!(lines.count(), 4, "users, products, orders, notifications: {printed}");
    assert_eq!(printed.matches("# flag --postgres").count(), 4, "{printed}");
    assert!(!printed.contains("hidden"), "{printed}");

    let alone = refused(&["config", "--replica", "postgres://anna:hidden@a/shop"], &[]);
    assert!(alone.contains("--postgres") && !alone.contains("hidden"), "{alone}");
    let wrong = refused(&["config", "--postgres", "postgres://h/shop", "--replica", "mysql://anna:hidden@a/shop"], &[]);
    assert!(wrong.contains("postgres.replicas") && !wrong.contains("hidden"), "{wrong}");
}

#[test]
fn a_redis_is_one_setting_of_caches_and_the_rate_limit_and_is_not_shown() {
    let of = |args: &[&str], settings: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path());
        let output = command.arg("config").args(args).envs(settings.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let (url, flag) = ("redis://anna:hidden@a:6379", ["--redis", "redis://anna:hidden@b:6379"]);
    let printed = of(&flag, &[("MESHWORK_REDIS_URL", url), ("MESHWORK_REDIS_PREFIX", "shop")]);
    // redis.url, users.redis.url and products.redis.url; and gateway.rate_limit.redis.
    for (line, count) in [
        ("url = \"[redacted]\" # flag --redis", 3),
        ("redis = \"[redacted]\" # flag --redis", 1),
        ("prefix = \"shop\" # environment", 4),
    ] {
        let found = printed.lines().filter(|printed| *printed == line).count();
        assert_eq!(found, count, "{line} is not as often in\n{printed}");
    }
    assert_eq!(printed.matches("# flag --redis").count(), 4, "{printed}");
    assert!(!printed.contains("hidden"), "{printed}");
}

#[test]
fn up_takes_the_ports_that_are_set_and_refuses_targets() {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let users = free();
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[("MESHWORK_USERS__LISTEN", &users)]);
    assert_eq!(up.address("users").to_string(), users);
    assert_ne!(up.address("orders").port(), 8083);
    for (name, key) in [
        ("MESHWORK_ORDERS__PRODUCTS", "orders.products"),
        ("MESHWORK_NOTIFICATIONS__AUTH__USERS", "notifications.auth.users"),
        ("MESHWORK_GATEWAY__UPSTREAMS__ORDERS", "gateway.upstreams.orders"),
    ] {
        let error = refused(&["up", "--port", "0", "--ops-port", "0"], &[(name, "http://10.0.0.1:1")]);
        assert!(error.contains(key) && error.contains("meshwork serve"), "{error}");
    }
}

#[test]
fn a_demo_that_fails_prints_what_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let staff = folder.path().join("staff.json");
    std::fs::write(&staff, r#"{"email": "staff@example.com", "password": "a password"}"#).unwrap();
    let mut demo = command(folder.path());
    demo.args(["demo", "--output", "json", "--target", "http://127.0.0.1:9", "--staff-credentials"]).arg(&staff);
    let output = demo.output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).starts_with("error: could not sign up"));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(outcome["state"].is_null() && outcome["steps"].as_array().is_some_and(Vec::is_empty), "{outcome}");
    // The account of an `up` here is not sent elsewhere.
    let elsewhere = refused(&["demo", "--target", "http://shop.example:8080"], &[]);
    assert!(elsewhere.contains("not on this machine") && elsewhere.contains("--staff-credentials"), "{elsewhere}");
}

#[test]
fn migrate_locks_and_names_what_lies_outside_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let bus = folder.path().join("bus");
    let mut migrate = command(folder.path());
    migrate.args(["migrate", "--data"]).arg(&data).env("MESHWORK_ORDERS__BUS", &bus);
    migrate.env("MESHWORK_ORDERS__DATA", folder.path().join("orders"));
    let output = migrate.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let lines: Vec<_> = printed.lines().filter(|line| line.starts_with("bus ")).collect();
    assert!(lines.len() >= 2 && lines.len() % 2 == 0, "two buses: {printed}");
    assert!(folder.path().join("orders/lock").is_file() && bus.is_dir());
}

#[test]
fn migrate_can_be_run_again_and_names_what_stands() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let run = || command(folder.path()).args(["migrate", "--data"]).arg(&data).output().unwrap();
    let (first, second) = (run(), run());
    assert!(first.status.success() && second.status.success(), "{}", text(&second.stderr));
    assert_eq!(first.stdout, second.stdout);
    for name in ["users", "products", "orders", "notifications", "bus", "up to date"] {
        assert!(text(&first.stdout).contains(name), "{}", text(&first.stdout));
    }
    // And `up` takes the folder as it is.
    Up::start(folder.path(), &[]);
}

#[test]
fn healthcheck_tells_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let gateway = up.address("gateway").to_string();
    assert!(up.run(["healthcheck", &gateway]).status.success());
    let orders = "meshwork.orders.v1.OrderService";
    assert!(up.run(["healthcheck", &up.address("orders").to_string(), "--service", orders]).status.success());
    let unknown = refused(&["healthcheck", &gateway, "--service", "no.Such"], &[]);
    assert!(unknown.contains("no.Such"), "{unknown}");
    refused(&["healthcheck", "127.0.0.1:9"], &[]);
    // One that takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let asked = std::time::Instant::now();
    let late = refused(&["healthcheck", &address, "--timeout", "500ms"], &[]);
    assert!(late.contains("no answer within 500ms"), "{late}");
    assert!(asked.elapsed().as_secs() < 30, "{:?}", asked.elapsed());
}

#[test]
fn help_and_completions_read_well() {
    let help = said(&["--help"]);
    assert!(help.starts_with("The Meshwork back end"), "{help}");
    assert!(!help.contains("--data"), "{help}");
    for command in [
        "up",
        "serve",
        "demo",
        "load",
        "projections",
        "deadletters",
        "events",
        "audit",
        "shards",
        "config",
        "migrate",
        "healthcheck",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(command)), "{command} is not in\n{help}");
    }
    assert!(said(&["up", "--help"]).contains("--ops-port"));
    assert!(said(&["events", "tail", "--help"]).contains("--nats"));
    for command in ["status", "plan", "move", "split"] {
        let help = said(&["shards", command, "--help"]);
        assert!(help.contains("--config") && !help.starts_with("Where settings"), "{command}: {help}");
    }
    let of_a_target = ["demo", "load", "projections", "deadletters", "audit", "healthcheck"];
    for command in ["up", "serve", "config", "migrate"].into_iter().chain(of_a_target) {
        let help = said(&[command, "--help"]);
        assert!(!help.starts_with("Where settings"), "{help}");
        let takes = !of_a_target.contains(&command);
        assert_eq!(help.contains("--data") && help.contains("--config"), takes, "{command}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&["completions", shell]).contains("healthcheck"), "{shell}");
    }
}
