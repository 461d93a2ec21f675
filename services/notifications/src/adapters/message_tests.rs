use mail_parser::{MessageParser, MimeHeaders as _};
use proptest::prelude::*;
use time::OffsetDateTime;
use uuid::Uuid;

use super::*;
use crate::domain::Occasion;
use crate::ports::Recipient;

fn letter(email: &str, display_name: &str, reason: &str) -> Letter {
    let occasion = Occasion::OrderCancelled { order: "orders/7f1c".parse().unwrap(), reason: reason.to_owned() };
    Letter {
        id: Uuid::from_u128(7),
        to: Recipient { email: email.to_owned(), display_name: display_name.to_owned() },
        subject: occasion.subject(),
        body: occasion.body(display_name),
        date: OffsetDateTime::UNIX_EPOCH,
    }
}

fn formatted(letter: &Letter) -> String {
    String::from_utf8(Sender::new("shop@example.com").unwrap().message(letter).unwrap().formatted()).unwrap()
}

/// The text and the HTML of a message, as another implementation reads them.
fn parts(message: &str) -> (String, String) {
    let message = MessageParser::default().parse(message.as_bytes()).unwrap();
    assert_eq!(message.content_type().unwrap().subtype(), Some("alternative"));
    assert_eq!((message.text_body.len(), message.html_body.len(), message.attachments.len()), (1, 1, 0));
    assert_eq!(message.parts.len(), 3);
    let unix = |text: &str| text.replace("\r\n", "\n");
    (unix(&message.body_text(0).unwrap()), unix(&message.body_html(0).unwrap()))
}

/// The HTML with what was put into it cut out.
fn skeleton(html: &str) -> Vec<&str> {
    html.split('<').skip(1).map(|tag| tag.split_once('>').expect("a tag ends").0).collect()
}

#[test]
fn a_letter_says_the_same_in_text_and_html() {
    let message = formatted(&letter("anna@example.com", "Anna & Zoë", "too late"));
    for line in [
        "From: shop@example.com",
        "Subject: Your order 7f1c was cancelled",
        "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>",
        "Auto-Submitted: auto-generated",
    ] {
        assert!(message.lines().any(|found| found == line), "{line} in {message}");
    }
    assert!(message.contains("Date: Thu, 01 Jan 1970 00:00:00"), "{message}");
    assert!(message.is_ascii());
    let (text, html) = parts(&message);
    let expected =
        "Hello Anna & Zoë,\n\nYour order was cancelled.\n\nOrder: 7f1c\nReason: too late\n\nYours,\nMeshwork\n";
    assert_eq!(text, expected);
    for piece in [
        "<html lang=\"en\">",
        "<title>Your order 7f1c was cancelled</title>",
        "<p>Your order was cancelled.</p>",
        "<tr><th scope=\"row\">Order</th><td>7f1c</td></tr>",
        "<tr><th scope=\"row\">Reason</th><td>too late</td></tr>",
    ] {
        assert!(html.contains(piece), "{piece} in {html}");
    }
    assert!(html.contains("Zoë,</p>") && !html.contains("Anna & Zoë"), "{html}");
    for remote in ["<img", "<script", "http:", "https:", "url("] {
        assert!(!html.contains(remote), "{remote} in {html}");
    }
}

#[test]
fn a_letter_without_facts_has_no_empty_table() {
    let occasion = Occasion::Welcome { user: "users/anna".parse().unwrap() };
    let letter = Letter { subject: occasion.subject(), body: occasion.body(""), ..letter("anna@example.com", "", "") };
    let (text, html) = parts(&formatted(&letter));
    assert_eq!(text, "Hello,\n\nYour account is ready. You can order from now on.\n\nYours,\nMeshwork\n");
    assert!(!html.contains("<table"), "{html}");
}

#[test]
fn a_confirmed_order_has_two_paragraphs() {
    let occasion = Occasion::OrderConfirmed { order: "orders/7f1c".parse().unwrap(), total: None };
    let letter = Letter { body: occasion.body("Anna"), ..letter("anna@example.com", "Anna", "") };
    let (text, _) = parts(&formatted(&letter));
    let expected = "Hello Anna,\n\nYour order is confirmed, and all of its pieces are set aside for you.\n\nWe write again \
                    when it leaves our warehouse.\n\nOrder: 7f1c\n\nYours,\nMeshwork\n";
    assert_eq!(text, expected);
}

#[test]
fn the_same_letter_is_the_same_message() {
    let letter = letter("anna@example.com", "Zoë", "why");
    assert_eq!(formatted(&letter), formatted(&letter));
}

#[test]
fn names_and_addresses_may_be_of_all_scripts() {
    let message = formatted(&letter("anna@bücher.example", "李 Zoë \"x\" <a@b>, c", "почему"));
    assert!(message.contains("<anna@xn--bcher-kva.example>"), "{message}");
    let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
    let to = parsed.to().unwrap();
    assert_eq!(to.iter().count(), 1);
    let to = to.first().unwrap();
    assert_eq!((to.name(), to.address()), (Some("李 Zoë \"x\" <a@b>, c"), Some("anna@xn--bcher-kva.example")));
    assert!(parts(&message).0.contains("\nReason: почему\n"));
    let sender = Sender::new("shop@bücher.example").unwrap();
    assert_eq!(sender.address().to_string(), "shop@xn--bcher-kva.example");
}

#[test]
fn what_is_no_address_is_refused_and_not_shown() {
    for email in
        ["nowhere", "", "anna@", "a b@example.com", "anna@exa mple.com", "anna@example.com\r\nBcc: e@example.com"]
    {
        let error = Sender::new("shop@example.com").unwrap().message(&letter(email, "Anna", "")).unwrap_err();
        assert!(matches!(error, MailError::Refused(_)), "{error}");
        assert!(email.is_empty() || !error.to_string().contains(email), "{error}");
    }
    assert!(Sender::new("shop").is_err());
}

#[test]
fn a_text_that_looks_like_the_end_of_a_part_is_a_text() {
    let end = "--=_00000000000000000000000000000007";
    let reasons = [end.to_owned(), format!("\r\n{end}--\r\n"), format!("{} {end}", "x".repeat(67)), format!("é{end}")];
    for reason in reasons {
        let message = formatted(&letter("anna@example.com", end, &reason));
        assert_eq!(message.matches(end).count(), 3, "{message}");
        let (text, _) = parts(&message);
        assert!(
            text.starts_with(&format!("Hello {end},\n")) && text.contains(&format!("Reason: {}\n", Line::of(&reason)))
        );
    }
}

proptest! {
    #[test]
    fn no_text_of_others_makes_a_header_a_line_a_part_or_a_tag(
        name in "(?s).{0,250}|(\\PC|[\\r\\n<>&'\"=_-]){0,60}|(--=_00000000000000000000000000000007(--)?|\\r\\n|Bcc: e@e\\.e| ){0,6}",
        reason in "(?s).{0,250}|(\\PC|[\\r\\n<>&'\"/=_-]){0,60}|(<script>|</td>|<!--|\\r\\n--=_00000000000000000000000000000007| ){0,6}",
    ) {
        let message = formatted(&letter("a@example.com", &name, &reason));
        let (headers, _) = message.split_once("\r\n\r\n").unwrap();
        let unfolded = |line: &&str| !line.starts_with([' ', '\t']);
        let mut names: Vec<_> = headers.split("\r\n").filter(unfolded).map(|line| line.split(':').next().unwrap()).collect();
        names.sort_unstable();
        let expected =
            ["Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"];
        prop_assert_eq!(names, expected);
        let (text, html) = parts(&message);
        let facts = if Line::of(&reason).is_empty() { 1 } else { 2 };
        prop_assert_eq!(text.lines().count(), 7 + facts, "{}", text);
        let plain = parts(&formatted(&letter("a@example.com", "Anna", if facts == 1 { "" } else { "why" })));
        prop_assert_eq!(skeleton(&html), skeleton(&plain.1));
        prop_assert_eq!(html.lines().count(), plain.1.lines().count());
    }

    #[test]
    fn what_others_wrote_is_read_as_they_wrote_it(name in "[\\PC&&[^ ]]{1,80}") {
        let line = Line::of(&name);
        prop_assume!(!line.is_empty());
        let message = formatted(&letter("a@example.com", &name, ""));
        let hello = format!("Hello {line},");
        let (text, _) = parts(&message);
        prop_assert_eq!(text.lines().next(), Some(hello.as_str()));
        let parsed = MessageParser::default().parse(message.as_bytes()).unwrap();
        prop_assert_eq!(parsed.to().unwrap().first().unwrap().name(), Some(line.as_str()));
    }
}
