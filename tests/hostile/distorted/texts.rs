//! Values that are wrong for most fields.

/// A text that is wrong in some way, made of one that is right.
pub(crate) type Distort = fn(&str) -> String;

/// How texts are distorted.
pub(crate) const TEXTS: &[(&str, Distort)] = &[
    ("empty", |_| String::new()),
    ("1 MiB", |_| "x".repeat(1 << 20)),
    ("longer by 1,000", |text| format!("{text}{}", "y".repeat(1000))),
    ("100,000 of é", |_| "é".repeat(100_000)),
    ("100,000 of zero width", |_| "\u{200b}".repeat(100_000)),
    ("100,000 overrides of direction", |_| "\u{202e}".repeat(100_000)),
    ("100,000 Arabic letters", |_| "ب".repeat(100_000)),
    ("100,000 marks", |text| format!("{text}{}", "\u{301}".repeat(100_000))),
    ("30 letters of many characters when composed otherwise", |_| "\u{fdfa}".repeat(30)),
    ("200 of é", |_| "é".repeat(200)),
    ("70 emoji", |_| "👩\u{200d}👩\u{200d}👧".repeat(70)),
    ("NUL", |_| "\0".to_owned()),
    ("NUL behind", |text| format!("{text}\0")),
    ("100,000 NULs", |_| "\0".repeat(100_000)),
    ("control characters", |text| format!("\u{1}\u{1b}[31m{text}\r\n\u{85}\u{7f}")),
    ("lines", |text| format!("{text}\r\nBcc: everybody@example.com")),
    ("an override of direction", |text| format!("\u{202e}{text}")),
    ("a zero width within", |text| format!("{text}\u{200b}\u{feff}")),
    ("nothing to be seen", |_| "\u{3164}\u{2800}\u{ad}".to_owned()),
    ("no character of Unicode", |_| "\u{ffff}\u{10ffff}\u{e000}".to_owned()),
    ("unnormalised", |text| format!("e\u{301}{text}")),
    ("full width", |text| format!("ａｂｃ{text}")),
    ("upper case", |text| text.to_uppercase()),
    ("spaces around", |text| format!("  {text}\t ")),
    ("a folder above", |text| format!("{text}/../../etc/passwd")),
    ("only folders above", |_| "../".repeat(40)),
    ("percent codes", |text| format!("{text}%00%2e%2e%2f")),
    ("quotes", |text| format!("{text}' OR '1'='1'; -- \"")),
    ("braces", |_| "{}%s${x}{{0}}<script>".to_owned()),
    ("twice", |text| format!("{text}{text}")),
    ("a slash behind", |text| format!("{text}/")),
    ("slashes alone", |_| "/".repeat(5000)),
    ("a large number", |_| "99999999999999999999999999".to_owned()),
    ("the nil UUID", |_| uuid::Uuid::nil().to_string()),
    ("the max UUID", |_| uuid::Uuid::max().to_string()),
    ("a UUID without hyphens", |_| "7f1c2c3e4a0b4c539d0e2f6f0a1b2c3d".to_owned()),
    ("an etag", |_| "\"v9223372036854775807\"".to_owned()),
    ("another etag", |_| "\"v-1\"".to_owned()),
    ("garbage in base64", |_| "AAAA".repeat(100)),
    // {"c":"\u0000","q":""}, and {"c":"9:9","q":"x"}.
    ("a page token of NUL", |_| "eyJjIjoiXHUwMDAwIiwicSI6IiJ9".to_owned()),
    ("a page token of another list", |_| "eyJjIjoiOTo5IiwicSI6IngifQ".to_owned()),
    ("JSON", |_| "{\"a\":".repeat(2000)),
    ("a filter of unknown fields", |_| (0..60).map(|at| format!("f{at} = x")).collect::<Vec<_>>().join(" AND ")),
    ("a filter with a long value", |_| format!("state = {}", "z".repeat(900))),
    ("a filter with a NUL", |_| "customer = \"users/a\0\" AND subject = \"\0\"".to_owned()),
    ("a filter without its end", |_| "state = \"".to_owned()),
];

/// The paths of a mask.
pub(crate) type Paths = fn() -> Vec<String>;

/// How masks are distorted: their paths.
pub(crate) const MASKS: &[(&str, Paths)] = &[
    ("1,000 unknown paths", || (0..1000).map(|at| format!("unknown_{at}")).collect()),
    ("100 unknown paths", || (0..100).map(|at| format!("{at}{}", "u".repeat(70))).collect()),
    ("a path of 1 MiB", || vec!["p".repeat(1 << 20)]),
    ("a path of control characters", || vec!["display_name\0\u{1b}".to_owned(), "é".repeat(500)]),
    ("an empty path", || vec![String::new()]),
    ("everything", || vec!["*".to_owned()]),
    ("everything and more", || vec!["*".to_owned(), "name".to_owned()]),
    ("a path twice", || vec!["display_name".to_owned(); 2]),
    ("a path too deep", || vec!["display_name.x.y.z".to_owned()]),
];

/// Seconds and nanoseconds of times and durations, at the ends of their ranges and beyond.
pub(crate) const MOMENTS: &[(i64, i32)] = &[
    (0, 0),
    (i64::MIN, 0),
    (i64::MAX, 0),
    (i64::MAX, i32::MAX),
    (i64::MIN, i32::MIN),
    // The year 0, and the year 10,000.
    (-62_135_596_801, 0),
    (253_402_300_800, 0),
    (1, -1),
    (1, 1_000_000_000),
];
