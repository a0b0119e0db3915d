//! Tokens.

use super::time;
use crate::answer::{Token, TokenMembers, TokenScope};
use crate::output::{Cell, Colour, Details, Style, Table, day_and_time};
use crate::settings::is_local;

/// Many of them.
pub fn token_table(tokens: &[Token], style: Style) -> String {
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "ROLE",
        "SCOPE",
        "STATE",
        "CREATED",
        "EXPIRES",
        "ENDS WITH",
    ]);
    for token in tokens {
        let members = &token.properties;
        table.row([
            token.name.as_str().into(),
            members.display_name.as_str().into(),
            members.role.as_str().into(),
            scope(members).into(),
            Cell::coloured(members.state.as_str(), colour(&members.state)),
            time(members.created_at).into(),
            time(members.expires_at).into(),
            members.last_four.as_str().into(),
        ]);
    }
    table.render(style, "no tokens")
}

/// What there is to know about a token that was just made; not the token.
pub fn new_token(token: &Token, style: Style) -> String {
    let members = &token.properties;
    let mut details = Details::default();
    details
        .add("token", token.name.as_str())
        .add_some(
            "name",
            Some(members.display_name.as_str()).filter(|name| !name.is_empty()),
        )
        .add("role", members.role.as_str())
        .add("scope", scope(members))
        .add_some(
            "uses",
            members.uses_left.map(|uses| format!("{uses} machines")),
        )
        .add(
            "expires",
            members.expires_at.map_or("never".into(), day_and_time),
        );
    details.render(style) + "\nIt is shown this once; keep it like a password:"
}

/// What to do with a token that lets machines join; `url` is the daemon that made it.
pub fn how_to_join(url: &str) -> String {
    let url = if is_local(url) {
        "URL-OF-THIS-DAEMON"
    } else {
        url
    };
    format!(
        "On the machine that is to join, keep it out of the command line, which others can see:\n\
         \x20 read -rs LOTE_JOIN_TOKEN && export LOTE_JOIN_TOKEN    # paste it\n\
         \x20 lote node --join {url} …\n\
         or put it into a file (mode 600) and give --join-token-file FILE."
    )
}

fn scope(members: &TokenMembers) -> String {
    match &members.scope {
        None => "everything".into(),
        Some(TokenScope {
            group,
            workspace: None,
        }) => group.clone(),
        Some(TokenScope {
            group,
            workspace: Some(workspace),
        }) => format!("{group}/{workspace}"),
    }
}

fn colour(state: &str) -> Option<Colour> {
    match state {
        "active" => Some(Colour::Green),
        "revoked" | "expired" | "used" => Some(Colour::Dim),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::read;
    use serde_json::json;

    #[test]
    fn tokens() {
        let tokens: Vec<Token> = read(&json!([
            {"id": "/v1/tokens/00000000000000a1", "name": "00000000000000a1", "properties": {
                "displayName": "root", "role": "admin", "state": "active", "lastFour": "wxyz",
                "createdAt": "2026-08-04T10:15:30Z", "createdBy": "open"}},
            {"id": "/v1/tokens/00000000000000b2", "name": "00000000000000b2", "properties": {
                "displayName": "", "role": "contributor", "state": "expired", "lastFour": "AB-_",
                "scope": {"group": "lab", "workspace": "vision"},
                "createdAt": "2026-08-04T10:15:30Z", "createdBy": "00000000000000a1 (root)",
                "expiresAt": "2026-09-03T10:15:30Z"}}]))
        .unwrap();
        insta::assert_snapshot!(token_table(&tokens, Style::Plain), @r"
        ID                NAME  ROLE         SCOPE       STATE    CREATED               EXPIRES               ENDS WITH
        00000000000000a1  root  admin        everything  active   2026-08-04 10:15:30Z                        wxyz
        00000000000000b2        contributor  lab/vision  expired  2026-08-04 10:15:30Z  2026-09-03 10:15:30Z  AB-_
        ");
        insta::assert_snapshot!(how_to_join("https://10.0.0.1:8471"), @r"
        On the machine that is to join, keep it out of the command line, which others can see:
          read -rs LOTE_JOIN_TOKEN && export LOTE_JOIN_TOKEN    # paste it
          lote node --join https://10.0.0.1:8471 …
        or put it into a file (mode 600) and give --join-token-file FILE.
        ");
        let local = how_to_join("http://127.0.0.1:8471");
        assert!(local.contains("--join URL-OF-THIS-DAEMON"), "{local}");
        insta::assert_snapshot!(new_token(&tokens[1], Style::Plain), @r"
        token    00000000000000b2
        role     contributor
        scope    lab/vision
        expires  2026-09-03 10:15:30Z

        It is shown this once; keep it like a password:
        ");
    }
}
